"""Running a network over many items in batches of few sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

BATCH = 8
"""Utterances that a device encodes at once."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_batches(
    encode: Callable[[list[Item]], Iterable[Result]], items: Sequence[Item], most: int = BATCH
) -> list[Result]:
    """`encode` over the items, at most `most` at once; results in the items' order.

    A batch that is not full repeats its last item up to a power of two, so that few sizes are compiled.
    """
    results: list[Result] = []
    for start in range(0, len(items), most):
        batch = list(items[start : start + most])
        room = 1 << (len(batch) - 1).bit_length()
        results += list(encode(batch + batch[-1:] * (room - len(batch))))[: len(batch)]
    return results
