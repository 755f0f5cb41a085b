"""The networks that MediaPipe publishes as data files of the package `mediapipe` (Apache-2.0), run by LiteRT.

Nothing of that package is imported. Both packages are optional.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INSTALL = "pip install 'empatheia-jax[faces]' && pip install --no-deps -r requirements/faces.txt"


def folder() -> Path | None:
    """Where the package with the networks lies, or None."""
    spec = importlib.util.find_spec("mediapipe")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def has(*files: str) -> bool:
    """Whether the runtime and these files of the package are there."""
    found = folder()
    runtime = importlib.util.find_spec("ai_edge_litert") is not None
    return runtime and found is not None and all((found / each).is_file() for each in files)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Around the start of an interpreter, which writes a note to the process's stderr."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@functools.cache
def interpreter(file: str) -> Any:
    """A network that is ready to run, by its file in the package; `has(file)` must be true."""
    from ai_edge_litert.interpreter import Interpreter

    found = folder()
    assert found is not None
    with _quiet():
        made = Interpreter(model_path=str(found / file), num_threads=1)
        made.allocate_tensors()
    return made
