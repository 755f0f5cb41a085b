"""A release, or a weights folder of kind `empatheia`, as a run that continues training here."""

from __future__ import annotations

import fnmatch
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from converters import interpreter
from converters.registry import find_conversion
from converters.release import layout
from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import STAGES
from empatheia_jax.training.checkpoints import Checkpoints
from empatheia_jax.training.stages import TRAINABLE
from empatheia_jax.training.step import TrainState


def read(folder: Path) -> dict[str, np.ndarray]:
    """{path in `Empatheia`: array} of a release or of a weights folder of its kind.

    Raises: UserError where it is neither, or does not fit.
    """
    if (folder / weights.PARAMS_FOLDER).is_dir():
        kind, _, flat = weights.load(folder)
        if kind != layout.KIND:
            raise UserError(f"{folder} holds weights of the kind {kind!r}, expected {layout.KIND!r}")
        return flat
    conversion = find_conversion(layout.KIND)
    layout.read_config(folder)
    source = conversion.open(folder)
    _, table, abstract = conversion.describe(folder, source)
    return interpreter.load(source, table, abstract)


def write_stage(run: Run, stage: str, trained: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Makes a stage of a run that is complete with these parameters; there is no optimizer to go on from.

    Args:
      run: the run that the stage belongs to.
      stage: its name.
      trained: path → parameter.
      record: `fingerprint`, `metadata` and `complete` (with `step`), as `stages.json` of a release has them.
    """
    done = dict(record["complete"])
    step = int(done.pop("step"))
    state = TrainState(
        trainable={path: jnp.asarray(value) for path, value in trained.items()},
        optimizer={"none": jnp.zeros(())},
        step=jnp.asarray(step, jnp.int32),
        rng=jax.random.key_data(jax.random.key(0)),
        bad_step=jnp.asarray(-1, jnp.int32),
        ema=None,
    )
    done.pop("ended", None)
    folder = run.stage_folder(stage)
    with Checkpoints(folder, fingerprint=record["fingerprint"], metadata=record["metadata"]) as checkpoints:
        checkpoints.save(state, None, step=step, wait=True)
        checkpoints.mark_complete(step, **done)


def run(source: Path, workdir: Path) -> Run:
    """Makes the run's folder; it appears complete or not at all.

    Args:
      source: a release, or the weights folder that it was converted to.
      workdir: the folder to make; it must not exist, or be empty.

    Raises: UserError where the source does not fit, says nothing of its training, or the folder is not empty.
    """
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UserError(f"--workdir={workdir} is not empty; choose another folder, or remove it")
    flat = read(source)
    config = read_json_object(source / layout.TRAINING_FILE, "the configuration of the training, which a release has")
    records = read_json_object(source / layout.STAGES_FILE, "the stages of the training, which a release has")
    for name in (layout.TRAINING_FILE, layout.STAGES_FILE):
        layout.require_file(source, name)
    if not records:
        raise UserError(
            f"{source} says of no stage how it was trained, so no run can be made of it; convert it, and start "
            "a training from that with --config.networks.adapter=FOLDER"
        )
    wrong = [stage for stage, each in records.items() if stage not in STAGES or not _is_record(each)]
    if wrong:
        raise UserError(f"{source / layout.STAGES_FILE} cannot be read: {wrong[0]}; copy the release again")
    temporary = workdir.parent / f".{workdir.name}.{uuid.uuid4().hex[:8]}.tmp"
    made = Run(temporary)
    try:
        for stage in (stage for stage in STAGES if stage in records):
            trained = {p: v for p, v in flat.items() if any(fnmatch.fnmatchcase(p, glob) for glob in TRAINABLE[stage])}
            write_stage(made, stage, trained, records[stage])
        made.write_config(json.loads(json.dumps(config)))
        if workdir.exists():
            workdir.rmdir()
        workdir.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(workdir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Run(workdir)


def _is_record(each: Any) -> bool:
    kinds = {"fingerprint": dict, "metadata": dict, "complete": dict}
    return (
        isinstance(each, dict)
        and all(isinstance(each.get(key), kind) for key, kind in kinds.items())
        and (isinstance(each["complete"].get("step"), int))
    )
