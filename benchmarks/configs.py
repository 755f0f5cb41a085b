"""A config by its file, as the launcher reads it."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from empatheia_jax.errors import UserError


def load(path: str | os.PathLike) -> Any:
    """What `get_config()` of a file gives. Raises `UserError` where the file is no Python file or is not there."""
    spec = importlib.util.spec_from_file_location("config", path)
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise UserError(f"--config={path} is no config; expected configs/quickstart.py, say")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
