"""Which examples stand in which batch: a pure function of (lengths, seed, epoch), the same on every host.

A plan is made for the *global* batch and each host then takes the rows of its part (`parallel.mesh.Part`). Therefore the
batches do not depend on the number of hosts, every host has the same bucket (shape) at the same step, the union over hosts is
the whole set with each example once per epoch, and the position in the stream is one number.

Example, 5 examples with lengths 3 9 4 8 2, buckets 4 and 10, batches of 2: bucket 4 gets 0 2 4, bucket 10 gets 1 3;
0 and 2 make a batch of length 4; 4 is left over and moves up: [1 3] and [4 ·] of length 10, the dot an empty place
whose row will have weight 0.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from empatheia_jax.errors import UserError
from empatheia_jax.nn.packed_attention import MOST_SEGMENTS

EMPTY = -1
"""In the place of an example index: a row with weight 0."""


@dataclass(frozen=True)
class Planned:
    """One global batch: per row the indices of its examples (several only when packed), and the length of all rows."""

    rows: tuple[tuple[int, ...], ...]
    length: int


class Plan:
    """Batches by position in an endless (or, in evaluation, single) pass over the set.

    Args:
        lengths: tokens per example.
        batch: rows of the global batch.
        buckets: allowed row lengths; every example must fit into the largest.
        seed: None = the order of the set (evaluation).
        pack: put several examples into one row (first fit), as many as fused attention takes; uses the largest bucket alone.
    """

    def __init__(
        self, lengths: Sequence[int], batch: int, buckets: Sequence[int], seed: int | None = None, pack: bool = False
    ):
        self.lengths = np.asarray(lengths, np.int64)
        self.batch, self.buckets = batch, sorted(set(buckets))
        self.seed, self.pack = seed, pack
        if not len(self.lengths):
            raise UserError("there is no example to make batches of; see the quarantine report")
        if batch < 1:
            raise UserError(f"batch size {batch}; expected at least 1")
        if self.lengths.max() > self.buckets[-1]:
            raise UserError(f"an example has {self.lengths.max()} tokens, more than the longest row {self.buckets[-1]}")
        self._starts = [0]  # number of batches before each epoch
        self._cached: tuple[int, list[Planned]] | None = None
        self._lock = threading.RLock()  # reader threads share a plan

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state, _lock=threading.RLock())

    def epoch(self, number: int) -> list[Planned]:
        """The batches of one epoch, in order."""
        with self._lock:
            if self._cached is None or self._cached[0] != number:
                self._cached = number, self._make(number)
            return self._cached[1]

    def __getitem__(self, position: int) -> tuple[int, Planned]:
        """(epoch, batch) at a position of the endless stream."""
        with self._lock:
            while position >= self._starts[-1]:
                self._starts.append(self._starts[-1] + len(self.epoch(len(self._starts) - 1)))
        number = bisect.bisect_right(self._starts, position) - 1
        return number, self.epoch(number)[position - self._starts[number]]

    def _make(self, number: int) -> list[Planned]:
        count = len(self.lengths)
        if self.seed is None:
            shuffle, order = None, np.arange(count)
        else:
            shuffle = np.random.Generator(np.random.Philox(key=[self.seed, number]))
            order = shuffle.permutation(count)
        batches = self._packed(order) if self.pack else self._bucketed(order)
        if shuffle is not None:
            batches = [batches[i] for i in shuffle.permutation(len(batches))]
        return batches

    def _cut(self, rows: list[tuple[int, ...]], length: int) -> list[Planned]:
        full = len(rows) // self.batch * self.batch
        cut = [Planned(tuple(rows[i : i + self.batch]), length) for i in range(0, full, self.batch)]
        if full < len(rows):
            rest = rows[full:]
            cut.append(Planned(tuple(rest + [(EMPTY,)] * (self.batch - len(rest))), length))
        return cut

    def _bucketed(self, order: np.ndarray) -> list[Planned]:
        members: list[list[int]] = [[] for _ in self.buckets]
        for bucket, index in zip(np.searchsorted(self.buckets, self.lengths[order]), order):
            members[bucket].append(int(index))
        batches: list[Planned] = []
        left: list[tuple[int, ...]] = []
        for here, length in zip(members, self.buckets):
            rows = [*left, *((index,) for index in here)]
            keep = len(rows) // self.batch * self.batch if length != self.buckets[-1] else len(rows)
            batches += self._cut(rows[:keep], length)
            left = rows[keep:]
        return batches

    def _packed(self, order: np.ndarray) -> list[Planned]:
        # First fit over the rows that are still open; 64 are enough to fill nearly as well as all of them.
        longest = self.buckets[-1]
        done: list[tuple[int, ...]] = []
        open_rows: list[tuple[int, list[int]]] = []
        for index in order:
            need = int(self.lengths[index])
            for place, (room, row) in enumerate(open_rows):
                if need <= room and len(row) < MOST_SEGMENTS:
                    row.append(int(index))
                    open_rows[place] = room - need, row
                    break
            else:
                open_rows.append((longest - need, [int(index)]))
                if len(open_rows) > 64:
                    fullest = min(range(len(open_rows)), key=lambda i: open_rows[i][0])
                    done.append(tuple(open_rows.pop(fullest)[1]))
        done += [tuple(row) for _, row in open_rows]
        return self._cut(done, longest)
