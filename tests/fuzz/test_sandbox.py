"""The sandbox itself: it tells a result from a refusal, a traceback, a crash, a hang and a flood of memory."""

from __future__ import annotations

import concurrent.futures
import ctypes
import threading
import time

import numpy as np
import pytest

from empatheia_jax.errors import UserError
from tests.fuzz.damage import Edit
from tests.fuzz.sandbox import Sandbox


def reader(path: str) -> np.ndarray:
    """Does what the name says."""
    if path == "refuse":
        raise UserError("found this; expected that")
    if path == "lines":
        raise UserError("two\nlines")
    if path == "raise":
        raise KeyError(path)
    if path == "crash":
        ctypes.string_at(0)
    if path == "hang":
        time.sleep(60)
    if path == "flood":
        return np.zeros(2**31).shape
    if path == "threads":
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            together = threading.Barrier(64)
            list(pool.map(lambda size: (together.wait(), bytearray(size))[1], [1000] * 64))
    return np.arange(3.0)


def test_each_outcome_is_told_from_the_others():
    with Sandbox("tests.fuzz.test_sandbox:reader", seconds=3, megabytes=500) as sandbox:
        good = sandbox.call("read")
        assert good.digest == sandbox.call("again").digest and good.shape["shape"] == [3]
        assert sandbox.call("refuse").refusal == "found this; expected that"
        for name, message in (
            ("lines", "one line"),
            ("raise", "KeyError"),
            ("flood", "MemoryError"),
            ("crash", "killed its process"),
            ("hang", "hangs"),
        ):
            with pytest.raises(AssertionError, match=message):
                sandbox.call(name)
        assert sandbox.call("read") == good  # and the next call works


def test_the_heaps_of_threads_are_no_flood():
    with Sandbox("tests.fuzz.test_sandbox:reader", megabytes=700) as sandbox:
        assert sandbox.call("threads") == sandbox.call("read")


def test_edits_do_what_their_names_say():
    data = bytes(range(10))
    assert Edit("flip", 0.5, 3).apply(data) == bytes([0, 1, 2, 3, 4, 5 ^ 8, 6, 7, 8, 9])
    assert Edit("number", 0.0, 258, 4, True).apply(data) == bytes([0, 0, 1, 2, 4, 5, 6, 7, 8, 9])
    assert Edit("cut", 0.8, 0, 64).apply(data) == data[:8]
    assert Edit("repeat", 0.2, 0, 2).apply(data) == bytes([0, 1, 2, 3, 2, 3, 4, 5, 6, 7, 8, 9])
    assert Edit("end", 0.3).apply(data) == data[:3] and Edit("flip", 0.3).apply(b"") == b""
