"""Makes the folder of a run without training it: its stage `coe` holds the adapters as they are made."""

from __future__ import annotations

from pathlib import Path

import jax

from empatheia_jax import assemble
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Experiment, plain
from empatheia_jax.training import partition, schedule, stages
from empatheia_jax.training.checkpoints import Checkpoints


def untrained(config: Experiment, folder: Path) -> Run:
    """A run of `config` in `folder` that is complete at step 1, by the trainer's own hands."""
    run, mesh = Run(folder), make_mesh(1, 1, 1, devices=jax.devices()[:1])
    assembly = assemble.empatheia(config, mesh)
    cut = partition.split(assembly.model, stages.TRAINABLE["coe"])
    phase = schedule.phase(config, "coe", weights=assembly.hashes)
    state = phase.build_step(cut, mesh, {}).init(cut.trainable, phase.seed)
    known = {"weights": dict(assembly.hashes)}
    with Checkpoints(run.stage_folder("coe"), fingerprint=phase.fingerprint, metadata=known) as checkpoints:
        checkpoints.save(state, {"batches": 1}, step=1, wait=True, first_loss=1.0)
        checkpoints.mark_complete(1, first_loss=1.0, last_loss=1.0, seconds=0.0)
    run.write_config(plain(config))
    return run
