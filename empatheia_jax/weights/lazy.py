"""Arrays that are made when asked for, so that a model of any size passes through memory one parameter at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Lazy:
    """An array that is made when asked for: its shape and type are known, `read()` computes or loads it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


def read_leaf(leaf: Any) -> np.ndarray:
    """The NumPy array of an array or a `Lazy`."""
    return leaf.read() if isinstance(leaf, Lazy) else np.asarray(leaf)
