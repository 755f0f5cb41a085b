"""What could not be used, and why: nothing is dropped without a line here, and too much of it stops the run."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from empatheia_jax.errors import UserError
from empatheia_jax.files import write_json


@dataclass(frozen=True)
class Entry:
    """One thing set aside: its id, the kind of trouble, and the reason in a sentence."""

    id: str
    kind: str
    reason: str


class Quarantine:
    """A list of entries, counted against the number of things seen.

    Args:
        limit: largest fraction of bad items that a run may go on with; 0 = every bad item stops it.

    Informational entries (`counts=False`), for instance conversations without turns, are listed but not held against
    the limit.
    """

    def __init__(self, limit: float = 0.01):
        if not 0 <= limit <= 1:
            raise UserError(f"quarantine limit {limit} is no fraction; expected 0 to 1")
        self.limit = limit
        self.seen = 0
        self.entries: list[Entry] = []
        self._bad: set[str] = set()

    def saw(self, count: int = 1) -> None:
        """Counts items looked at, good or bad."""
        self.seen += count

    def add(self, item: str, kind: str, reason: str | Exception, counts: bool = True) -> None:
        """Sets an item aside. An item with several troubles counts once."""
        self.entries.append(Entry(item, kind, str(reason)))
        if counts:
            self._bad.add(item)

    @property
    def bad(self) -> int:
        """Number of items held against the limit."""
        return len(self._bad)

    @property
    def fraction(self) -> float:
        """Bad items over items seen."""
        return self.bad / max(self.seen, self.bad, 1)

    @property
    def counts(self) -> dict[str, int]:
        """Entries by kind, the most frequent first."""
        return dict(collections.Counter(entry.kind for entry in self.entries).most_common())

    def summary(self) -> str:
        """One line: how many, of what kind."""
        kinds = ", ".join(f"{count} × {kind}" for kind, count in self.counts.items()) or "nothing"
        return (
            f"set aside: {kinds}; {self.bad} of {self.seen} items ({self.fraction:.2%}) count against {self.limit:.2%}"
        )

    def enforce(self) -> None:
        """Raises `UserError` where the fraction of bad items is above the limit."""
        if self.fraction > self.limit:
            examples = "; ".join(f"{each.id}: {each.reason}" for each in self.entries[:3])
            raise UserError(f"{self.summary()}; mend the data or raise the limit (first: {examples})")

    def _report(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "bad": self.bad,
            "fraction": self.fraction,
            "limit": self.limit,
            "counts": self.counts,
            "entries": [asdict(entry) for entry in self.entries],
        }

    def write(self, path: str | os.PathLike) -> None:
        """Writes the report as JSON, whole or not at all."""
        write_json(path, self._report())

    @staticmethod
    def write_all(path: str | os.PathLike, each: Iterable[tuple[str, Quarantine]]) -> None:
        """Writes the reports of several lists by name, whole or not at all."""
        write_json(path, {name: quarantine._report() for name, quarantine in each})
