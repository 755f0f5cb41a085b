"""Makes the folder of a run without training it."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from converters.release.import_run import write_stage
from empatheia_jax import assemble, weights
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.runs import fit
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Experiment, plain
from empatheia_jax.training import partition, schedule, stages
from empatheia_jax.training.checkpoints import Checkpoints


def untrained(config: Experiment, folder: Path) -> Run:
    """A run of `config` in `folder` that is complete at step 1, by the trainer's own hands: its stage `coe` holds the adapters as
    they are made.
    """
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


def made_up(config: Experiment, folder: Path, seed: int = 0, scale: float = 0.1) -> Run:
    """A run of `config` in `folder` whose stages are all complete at step 1, with noise of this scale on all that trains."""
    run, mesh = Run(folder), make_mesh(1, 1, 1, devices=jax.devices()[:1])
    assembly = assemble.empatheia(config, mesh)
    random = np.random.default_rng(seed)
    after: dict[str, str] = {}
    for stage in config.schedule:
        cut = partition.split(assembly.model, stages.TRAINABLE[stage])
        trained = {
            path: jax.numpy.asarray(np.asarray(value) + scale * random.standard_normal(value.shape).astype(np.float32))
            for path, value in cut.trainable.items()
        }
        phase = schedule.phase(config, stage, weights=assembly.hashes, after=after)
        complete = {"step": 1, "first_loss": 1.0, "last_loss": 1.0, "seconds": 0.0}
        record = {
            "fingerprint": phase.fingerprint,
            "metadata": {"weights": dict(assembly.hashes)},
            "complete": complete,
        }
        write_stage(run, stage, trained, record)
        after[stage] = fit.digest(phase.fingerprint)
        weights.overlay(assembly.model, trained)
    run.write_config(plain(config))
    return run
