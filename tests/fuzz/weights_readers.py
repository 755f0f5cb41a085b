"""The reader of weights files for the sandbox, in a module that imports no PyTorch."""

from __future__ import annotations

import numpy as np

from converters.sources import open_source


def read(path: str) -> dict[str, np.ndarray]:
    """Every tensor of a weights file."""
    source = open_source(path)
    return {key: source.read(key) for key in source}
