"""The checkpoints of one stage, `checkpoints/<stage>/`, as a reader sees them: which steps are there, which one counts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from empatheia_jax.errors import UserError


def steps_on_disk(folder: str | os.PathLike) -> list[int]:
    """Steps with a finished checkpoint, ascending."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    # Orbax writes into a folder with another name and renames it at the end.
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit() and path.is_dir())


def completion(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The completion mark of a stage's folder (`{"step": …, "first_loss": …, …}`), or None while it is not done."""
    path = Path(folder) / "complete.json"
    return json.loads(path.read_text()) if path.exists() else None


def current_step(folder: str | os.PathLike) -> int | None:
    """The step that counts: the one that completed the stage, else the newest; None where there is none."""
    done, steps = completion(folder), steps_on_disk(folder)
    return done["step"] if done else steps[-1] if steps else None


def load_trainable(
    folder: str | os.PathLike,
    step: int | None = None,
    *,
    average: bool = True,
    shardings: Mapping[str, Any] | None = None,
) -> dict[str, jax.Array]:
    """What a stage has trained, path → array: all that the next stage, a reply or an export needs.

    Of several processes each reads by itself.

    Args:
      folder: `<workdir>/checkpoints/<stage>`.
      step: None takes the one that completed the stage, else the newest.
      average: the moving average where one is kept, which is also what was evaluated; False = the raw parameters.
      shardings: the place of each path; without it everything goes to the first device.

    Raises:
      UserError: nothing there.
    """
    folder = Path(folder).absolute()
    step = current_step(folder) if step is None else step
    if step not in steps_on_disk(folder):
        wanted = "" if step is None else f" of step {step}"
        raise UserError(f"{folder} has no checkpoint{wanted}; train that stage first")
    found = ocp.checkpointables_metadata(folder / str(step)).metadata
    name = "ema" if average and "ema" in found else "trainable"
    single = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = {
        path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=single if shardings is None else shardings[path])
        for path, leaf in found[name].items()
    }
    me = jax.process_index()  # orbax would wait for the other processes
    alone = ocp.Context()
    alone.multiprocessing.primary_host = me
    alone.multiprocessing.active_processes = {me}
    alone.multiprocessing.barrier_sync_key_prefix = f"reader{me}"
    with alone:
        return ocp.load_checkpointables(folder / str(step), {name: abstract})[name]
