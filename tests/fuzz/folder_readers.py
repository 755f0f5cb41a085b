"""What the fuzz tests of folders call in the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from empatheia_jax import weights
from empatheia_jax.runs import checkpoint


def stage(path: str) -> dict[str, Any]:
    """What the next stage, a reply or an export takes from the checkpoints of a stage."""
    folder = Path(path)
    step = checkpoint.current_step(folder)
    trained = checkpoint.load_trainable(folder)
    return {
        "step": step,
        "fingerprint": checkpoint.belongs_to(folder)["fingerprint"],
        "trained": {name: np.asarray(value) for name, value in trained.items()},
    }


def network(path: str) -> dict[str, Any]:
    """What is read from a folder of converted weights."""
    kind, config, values = weights.load(path)
    return {"kind": kind, "config": repr(config), "values": {name: np.asarray(value) for name, value in values.items()}}


def read(argument: str) -> object:
    """`"stage:PATH"` → `stage(PATH)`: one process for all readers of this module."""
    name, _, path = argument.partition(":")
    return globals()[name](path)
