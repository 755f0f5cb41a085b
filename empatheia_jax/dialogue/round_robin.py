"""A queue in which the senders take turns: who sends much does not keep the others waiting."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class RoundRobin(Generic[Item]):
    """Items by sender. Each sender's items keep their order; after each item it is the next sender's turn."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, deque[Item]] = OrderedDict()  # the first sender is next

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def add(self, sender: str, item: Item) -> None:
        """Puts an item behind the others of its sender."""
        self._items.setdefault(sender, deque()).append(item)

    def next(self) -> Item:
        """Takes out the next item; there must be one."""
        sender, items = next(iter(self._items.items()))
        item = items.popleft()
        del self._items[sender]
        if items:
            self._items[sender] = items  # behind the other senders
        return item

    def remove(self, sender: str, item: Item) -> None:
        """Takes out an item where it waits."""
        items = self._items.get(sender, deque())
        if item in items:
            items.remove(item)
            if not items:
                del self._items[sender]
