"""Senders take turns."""

from __future__ import annotations

from empatheia_jax.dialogue.round_robin import RoundRobin


def emptied(queue: RoundRobin[int]) -> list[int]:
    return [queue.next() for _ in range(len(queue))]


def filled() -> RoundRobin[int]:
    queue: RoundRobin[int] = RoundRobin()
    for sender, item in (("a", 1), ("a", 2), ("a", 3), ("b", 10), ("c", 20), ("c", 21)):
        queue.add(sender, item)
    return queue


def test_who_sends_much_keeps_nobody_waiting():
    assert emptied(filled()) == [1, 10, 20, 2, 21, 3]


def test_what_is_removed_does_not_come_and_its_senders_others_do():
    queue = filled()
    for sender, item in (("a", 2), ("b", 10), ("b", 10), ("nobody", 1)):
        queue.remove(sender, item)
    assert len(queue) == 4 and emptied(queue) == [1, 20, 3, 21]
    queue.add("b", 11)
    assert emptied(queue) == [11] and not queue
