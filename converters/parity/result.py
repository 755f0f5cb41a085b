"""What one comparison of an array says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

FLOAT32_BOUND = 1e-4
FLOAT64_BOUND = 1e-6


@dataclasses.dataclass(frozen=True)
class Result:
    """One array compared: differences are in the array's own units, `rel` is relative to the largest expected value."""

    file: str
    array: str
    max_abs: float
    rel: float
    bound: float
    note: str = ""
    left_out: bool = False

    @property
    def passed(self) -> bool:
        return self.max_abs <= self.bound  # False for NaN


def bound_of(float64: bool, float32_bound: float = FLOAT32_BOUND) -> float:
    """Bound of the run: `FLOAT64_BOUND` in float64, else the one given."""
    return FLOAT64_BOUND if float64 else float32_bound


def left_out(file: str, array: str, reason: str) -> Result:
    """An array that cannot be compared here for a reason that is no fault of either side."""
    return Result(file, array, 0.0, 0.0, np.inf, reason, left_out=True)


def compare(file: str, array: str, ours: Any, expected: Any, bound: float) -> Result:
    """Compares in float64. A shape that differs, or a value that is not finite on one side only, is an infinite
    difference.
    """
    ours, expected = np.asarray(ours), np.asarray(expected)
    if ours.shape != expected.shape:
        return Result(file, array, np.inf, np.inf, bound, f"shape {ours.shape}, expected {expected.shape}")
    if expected.size == 0:
        return Result(file, array, 0.0, 0.0, bound)
    ours, expected = ours.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(ours == expected, 0.0, np.abs(ours - expected))
    largest = float(np.max(np.where(np.isfinite(difference), difference, np.inf)))
    scale = float(np.max(np.abs(expected)))
    return Result(file, array, largest, largest / scale if scale else largest, bound)
