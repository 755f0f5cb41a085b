"""Damage to the bytes of a file, as Hypothesis strategies that print the damage and not the bytes."""

from __future__ import annotations

import dataclasses
import functools
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_SECONDS", 0))
"""How long each test runs by hand, with new seeds; 0 = a fixed number of examples with a fixed seed."""
_NUMBERS = (
    0,
    1,
    -1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


@dataclasses.dataclass(frozen=True)
class Edit:
    """One change to bytes. `at` is a place from 0 to 1 of the length; what it does is `kind`.

    flip        one bit, number `value` % 8
    byte        set to `value` % 256
    number      `size` (1, 2, 4 or 8) bytes become `value`, big endian where `big`
    cut         drop `size` bytes
    repeat      write `size` bytes twice
    insert      put `size` zeros in
    end         drop everything from here on
    """

    kind: str
    at: float
    value: int = 0
    size: int = 1
    big: bool = False

    def apply(self, data: bytes) -> bytes:
        """The changed bytes."""
        if not data:
            return data
        place = min(int(self.at * len(data)), len(data) - 1)
        before, piece, after = data[:place], data[place : place + self.size], data[place + self.size :]
        if self.kind == "flip":
            return before + bytes([data[place] ^ (1 << self.value % 8)]) + data[place + 1 :]
        if self.kind == "byte":
            return before + bytes([self.value % 256]) + data[place + 1 :]
        if self.kind == "number":
            width = {1: "B", 2: "H", 4: "I", 8: "Q"}[self.size]
            packed = struct.pack((">" if self.big else "<") + width, self.value % 2 ** (8 * self.size))
            return before + packed[: len(piece)] + after
        return {
            "cut": before + after,
            "repeat": before + piece + piece + after,
            "insert": before + bytes(self.size) + piece + after,
            "end": before,
        }[self.kind]


def edits(head: float = 1.0) -> st.SearchStrategy[Edit]:
    """Single edits. `head` = share of the file, from its start, where half of them fall: where the headers are."""
    places = st.one_of(st.floats(0, head), st.floats(0, 1))
    return st.one_of(
        st.builds(Edit, st.just("flip"), places, st.integers(0, 7)),
        st.builds(Edit, st.just("byte"), places, st.integers(0, 255)),
        st.builds(
            Edit, st.just("number"), places, st.sampled_from(_NUMBERS), st.sampled_from((1, 2, 4, 8)), st.booleans()
        ),
        st.builds(Edit, st.sampled_from(("cut", "repeat", "insert")), places, st.just(0), st.integers(1, 64)),
        st.builds(Edit, st.just("end"), places),
    )


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A damaged copy: what was done, and the bytes."""

    edits: tuple[Edit, ...]
    data: bytes = dataclasses.field(repr=False)


def damaged(original: bytes, *, head: float = 1.0, most: int = 3) -> st.SearchStrategy[Damaged]:
    """Copies of `original` with one to `most` edits; a copy may by chance equal the original."""

    def apply(chosen: Sequence[Edit]) -> Damaged:
        data = original
        for edit in chosen:
            data = edit.apply(data)
        return Damaged(tuple(chosen), data)

    return st.lists(edits(head), min_size=1, max_size=most).map(apply)


def check(claim: Callable[..., None], *strategies: st.SearchStrategy[Any], examples: int) -> None:
    """Runs `claim` on drawn values: `examples` of them with a fixed seed, or as many as fit into `FUZZ_SECONDS`.

    Raises what `claim` raises, for the simplest example found. Prints how many were tried (`pytest -rP` shows it).
    """
    tried = 0

    @functools.wraps(claim)
    def counted(*values: Any, **named: Any) -> None:
        nonlocal tried
        tried += 1
        claim(*values, **named)

    run = settings(
        max_examples=examples,
        derandomize=not SECONDS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(given(*strategies)(counted))
    end = time.monotonic() + SECONDS
    try:
        while True:
            run()
            if time.monotonic() >= end:
                return
    finally:
        print(f"{tried} damaged copies tried")
