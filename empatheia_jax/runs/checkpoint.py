"""The checkpoints of one stage, `checkpoints/<stage>/`, as a reader sees them: which steps are there, which one counts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from empatheia_jax.errors import UserError, first_line
from empatheia_jax.runs.integrity import Damaged, check_step, items_of, read_record

RUN_FILE = "run.json"
"""What the checkpoints belong to: fingerprint and metadata of the run."""
COMPLETE_FILE = "complete.json"
"""The step that completed the stage."""


def steps_on_disk(folder: str | os.PathLike) -> list[int]:
    """Steps with a finished checkpoint, ascending."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    # Orbax writes into a folder with another name and renames it at the end.
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())


def completion(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The completion mark of a stage's folder (`step`, `first_loss`, `last_loss`, `seconds`), or None while it is not done.

    A mark whose step is not there is not believed: the stage is not complete (`lost_step`).

    Raises:
      UserError: the mark is damaged.
    """
    mark = _mark(Path(folder))
    return mark if mark is not None and mark["step"] in steps_on_disk(folder) else None


def lost_step(folder: str | os.PathLike) -> int | None:
    """The step that the completion mark names where its checkpoint is gone, or None. Raises `UserError` as `completion`."""
    mark = _mark(Path(folder))
    return mark["step"] if mark is not None and mark["step"] not in steps_on_disk(folder) else None


def _mark(folder: Path) -> dict[str, Any] | None:
    path, numbers = folder / COMPLETE_FILE, (int, float)
    if not path.exists():
        return None
    kinds: dict[str, type | tuple[type, ...]] = {"step": int, "first_loss": numbers, "last_loss": numbers}
    return read_record(path, kinds, "remove it and start the training again, which goes on from the newest checkpoint")


def belongs_to(folder: str | os.PathLike) -> dict[str, Any]:
    """What `run.json` of a stage's folder says: `fingerprint`, `metadata`, `versions`. Raises `UserError`: it is damaged."""
    path = Path(folder) / RUN_FILE
    advice = f"the checkpoints beside it cannot be trusted: remove {folder}, or choose another --workdir"
    return read_record(path, {"fingerprint": dict, "metadata": dict, "versions": dict}, advice)


def current_step(folder: str | os.PathLike) -> int | None:
    """The step that counts: the one that completed the stage, else the newest; None where there is none.

    Raises:
      UserError: the step that completed the stage is lost.
    """
    steps = steps_on_disk(folder)
    if (lost := lost_step(folder)) is not None:
        found = f"the newest there is {steps[-1]}" if steps else "there is none"
        raise UserError(
            f"{folder}: the checkpoint of step {lost}, which completed the stage, is lost ({found}); start the training "
            f"again, which makes it anew"
        )
    done = completion(folder)
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
      UserError: nothing there, or it is damaged.
    """
    folder = Path(folder).absolute()
    step = current_step(folder) if step is None else step
    if step not in steps_on_disk(folder):
        wanted = "" if step is None else f" of step {step}"
        raise UserError(f"{folder} has no checkpoint{wanted}; train that stage first")
    place = folder / str(step)
    try:
        name = "ema" if average and "ema" in items_of(place) else "trainable"
        check_step(place, [name])
    except Damaged as error:
        raise Damaged(f"{error}; {what_is_left(folder, step)}") from None
    try:
        found = ocp.checkpointables_metadata(place).metadata
        single = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = {
            path: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=single if shardings is None else shardings[path]
            )
            for path, leaf in found[name].items()
        }
        me = jax.process_index()  # orbax would wait for the other processes
        alone = ocp.Context()
        alone.multiprocessing.primary_host = me
        alone.multiprocessing.active_processes = {me}
        alone.multiprocessing.barrier_sync_key_prefix = f"reader{me}"
        with alone:
            return ocp.load_checkpointables(place, {name: abstract})[name]
    except Exception as error:
        raise Damaged(f"{place} cannot be read ({first_line(error)}); {what_is_left(folder, step)}") from error


def what_is_left(folder: Path, step: int) -> str:
    """What to do where the checkpoint of a step is damaged: the end of a message."""
    earlier = [each for each in steps_on_disk(folder) if each < step]
    if earlier:
        return (
            f"remove {folder / str(step)} and start the training again to go on from step {earlier[-1]}, "
            "or choose another --workdir"
        )
    return f"there is no earlier step: remove {folder} to train that stage again, or choose another --workdir"
