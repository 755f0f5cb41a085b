"""Vector sets: arrays of a reference beside the config and the list of tensors of its network."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class VectorSet:
    """`NAME.npz` with its `NAME.config.json` and `NAME.manifest.json`; `arrays` are read when asked for."""

    folder: Path
    name: str
    config: dict[str, Any]
    manifest: dict[str, dict[str, Any]]
    arrays: Any

    @property
    def file(self) -> str:
        return f"{self.name}.npz"


def vector_sets(folder: Path, *model_types: str) -> Iterator[VectorSet]:
    """The vector sets of `folder` whose `NAME.config.json` has one of the `model_types`, by name."""
    for path in sorted(folder.glob("*.config.json")):
        name = path.name.removesuffix(".config.json")
        manifest, arrays = folder / f"{name}.manifest.json", folder / f"{name}.npz"
        if not (manifest.is_file() and arrays.is_file()):
            continue
        config = json.loads(path.read_text())
        if config.get("model_type") in model_types:
            yield VectorSet(folder, name, config, json.loads(manifest.read_text()), np.load(arrays))
