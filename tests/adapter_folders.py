"""PEFT adapters as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from converters.tables.peft import CONFIG_FILE, TENSOR_FILE


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Path:
    folder.mkdir()
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, folder / TENSOR_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(dict(config)))
    return folder
