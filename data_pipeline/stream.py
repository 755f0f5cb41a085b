"""Batches in order, read ahead by grain in threads or worker processes, from a position that can be saved and restored.

The position is the number of batches taken, so it can be restored on any number of hosts and workers, and what follows is
bit-identical to the uninterrupted stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grain
from absl import flags

from data_pipeline.batches import BatchMaker
from empatheia_jax.batch import Batch
from empatheia_jax.errors import UserError


class _From:
    """Positions `start`, `start + 1`, … as a grain source."""

    def __init__(self, start: int, count: int):
        self.start, self.count = start, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return self.start + index


class Stream(Iterator[Batch]):
    """Batches in order, read ahead, with a position that can be saved and restored.

    Args:
        maker: builds the batch of a position.
        workers: worker processes; 0 = threads of this process.
        ahead: batches prepared ahead.
    """

    def __init__(self, maker: BatchMaker, workers: int = 0, ahead: int = 4):
        self.maker, self.workers, self.ahead = maker, workers, ahead
        self._start(0)

    def _start(self, position: int) -> None:
        self._position = position
        left = max(0, len(self.maker) - position)
        data = grain.MapDataset.source(_From(position, left)).map(self.maker.__getitem__)
        threads = min(self.ahead, 4) if not self.workers else 1
        data = data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=self.ahead))
        if self.workers:
            if not flags.FLAGS.is_parsed():  # grain reads its own flags there; ours live elsewhere
                flags.FLAGS.mark_as_parsed()
            data = data.mp_prefetch(grain.MultiprocessingOptions(num_workers=self.workers, per_worker_buffer_size=2))
        self._iterator = iter(data)

    def __next__(self) -> Batch:
        batch = next(self._iterator)
        self._position += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """JSON values: batches taken so far, and which data and settings that counts."""
        return {"batches": self._position, "identity": self.maker.identity}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on after `state`. Raises `UserError` where it counts batches of other data or settings."""
        if state["identity"] != self.maker.identity:
            raise UserError("the checkpoint's data position belongs to other data or settings; start a new run folder")
        self._start(int(state["batches"]))
