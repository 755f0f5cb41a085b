"""Batches that are drawn at random, for trainings whose data lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class RandomBatches:
    """Endless batches out of one random generator, whose state is the position: a `trainer.Data` without validation.

    Args:
      seed: of the generator, as `numpy.random.default_rng` takes it.
      draw: makes a batch with the generator; it keeps nothing that a batch depends on.
    """

    def __init__(self, seed: Any, draw: Callable[[np.random.Generator], Any]):
        self._random, self._draw = np.random.default_rng(seed), draw

    def train(self) -> RandomBatches:
        """The batches."""
        return self

    def validation(self) -> Iterator[Any]:
        """Nothing."""
        return iter(())

    def __iter__(self) -> RandomBatches:
        return self

    def __next__(self) -> Any:
        return self._draw(self._random)

    def get_state(self) -> dict[str, Any]:
        """JSON values of the generator."""
        return dict(self._random.bit_generator.state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on after `state`."""
        self._random.bit_generator.state = state
