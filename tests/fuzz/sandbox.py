"""A reader called in a process of its own, so that a crash, a hang or a flood of memory fails a test and not the suite."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import resource
import selectors
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a reader made of a file: the digest of its result, or the one line of its refusal."""

    digest: str | None
    refusal: str | None
    shape: Any = None  # a short description of the result, see `describe`


def digest(value: Any) -> str:
    """SHA-256 of a result: arrays with type, shape and bytes; mappings, sequences and plain values in order."""
    state = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Mapping):
            state.update(b"{")
            for key in sorted(value, key=str):
                add(str(key))
                add(value[key])
        elif isinstance(value, (list, tuple)):
            state.update(b"[")
            for each in value:
                add(each)
        elif isinstance(value, (str, bytes, int, float, bool, type(None))):
            state.update(repr(value).encode("utf-8", "backslashreplace") + b";")
        else:
            array = np.asarray(value)
            state.update(f"{array.dtype}{array.shape}".encode())
            state.update(np.ascontiguousarray(array).tobytes())

    add(value)
    return state.hexdigest()


def describe(value: Any) -> Any:
    """Types and shapes of a result as JSON values."""
    if isinstance(value, Mapping):
        return {str(key): describe(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(each) for each in value[:8]]
    if hasattr(value, "dtype"):
        array = np.asarray(value)
        finite = bool(np.isfinite(array).all()) if array.dtype.kind == "f" else True
        return {"dtype": str(array.dtype), "shape": list(array.shape), "finite": finite}
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__


class Sandbox:
    """Calls `module:function` with a path, again and again, in a child process.

    Args:
        target: the reader; it takes a path and returns arrays, mappings, sequences or plain values.
        seconds: longest time of one call.
        megabytes: what one call may allocate beyond what the process has after importing the reader. It is a limit of address
            space, and the stacks of threads count too: 8 MB each, so 512 MB for the 64 threads with which ArrayRecord opens
            its first file. The heaps of threads would count with 64 MB each, for up to 8 threads a core; ArrayRecord then waits
            for ever where a thread cannot be started. So all threads share one heap here.

    Use it as a context. `call` raises `AssertionError` where the reader crashes, hangs, floods memory, or raises anything but a
    `UserError` of one line.
    """

    def __init__(self, target: str, *, seconds: float = 20.0, megabytes: int = 1500):
        self.target, self.seconds, self.megabytes = target, seconds, megabytes
        self._child: subprocess.Popen | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child.stdin.close()
            self._child.stdout.close()
            self._child = None

    def _start(self) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "MALLOC_ARENA_MAX": "1"}
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.sandbox", self.target, str(self.megabytes)],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if self._answer(child, 300.0) != "ready":
            child.kill()
            raise AssertionError(f"{self.target} cannot be imported")
        return child

    @staticmethod
    def _answer(child: subprocess.Popen, seconds: float) -> Any:
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        line = child.stdout.readline()
        return json.loads(line) if line else {"died": child.wait()}

    def call(self, path: str | os.PathLike) -> Outcome:
        """The reader's outcome on a file."""
        if self._child is None:
            self._child = self._start()
        self._child.stdin.write((json.dumps(os.fspath(path)) + "\n").encode())
        self._child.stdin.flush()
        answer = self._answer(self._child, self.seconds)
        if answer is None or "died" in answer:
            self._stop()
        assert answer is not None, f"{self.target} hangs: no answer after {self.seconds} s"
        assert "died" not in answer, f"{self.target} killed its process: exit {answer['died']}"
        assert "traceback" not in answer, f"{self.target} ends in a traceback:\n{answer['traceback']}"
        refusal = answer["refusal"]
        assert refusal is None or (refusal.strip() and "\n" not in refusal), f"a refusal is one line: {refusal!r}"
        return Outcome(answer["digest"], refusal, answer["shape"])


def _serve(target: str, megabytes: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a reader prints is no answer
    module, _, name = target.partition(":")
    reader = getattr(importlib.import_module(module), name)
    from empatheia_jax.errors import UserError

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        answer = {"digest": None, "refusal": None, "shape": None}
        try:
            result = reader(json.loads(line))
            answer |= {"digest": digest(result), "shape": describe(result)}
        except UserError as error:
            answer["refusal"] = str(error)
        except Exception:
            answer["traceback"] = traceback.format_exc(limit=-8)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
