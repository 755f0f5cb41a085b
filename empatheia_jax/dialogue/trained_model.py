"""The model that answers: that of a run's trained stages, or of the leaves that a config begins from."""

from __future__ import annotations

import sys

import jax

from empatheia_jax import assemble, requirements, weights
from empatheia_jax.core.lora import merge_and_unload
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import local_mesh
from empatheia_jax.runs import fit
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Experiment


def trained(config: Experiment, run: Run | None, *, draw: bool = True) -> assemble.Assembly:
    """The model of a run with its tokenizer; without a trained stage, that of the leaves that `config.start` names.

    Args:
      config: of the model.
      run: the run whose trained stages answer, if it has any.
      draw: whether parameters that the leaves lack get their initial values where no stage is trained, as in
        `assemble.empatheia`.

    Raises:
      UserError: weights or checkpoints are missing, or they belong to another network.
    """
    requirements.require(config, data=False)
    stages = [] if run is None else run.trained_stages()
    if not stages and not config.start:
        raise UserError(
            f"{run.folder if run else 'this config'} holds no trained stage; train first: the same command with --mode=train "
            "(or point --workdir at a run, or begin from trained leaves with --config.start=starter)"
        )
    if config.start:
        fit.require_start(weights.open_start(config.start), config, prompts=not stages)
    assembly = assemble.empatheia(config, local_mesh(*config.mesh.sizes), draw=draw or bool(stages))
    if run is not None and stages:
        fit.require_usable(run, config, assembly.hashes)
        run.load_into(assembly.model)
    elif run is not None:
        print(f"{run.folder} holds no trained stage; the answer is that of start={config.start}", file=sys.stderr)
    return assembly


def answering(config: Experiment, run: Run | None, *, draw: bool = True) -> assemble.Assembly:
    """The model of `trained`, changed so that it only writes answers.

    On a single device the adapters are folded into float32 weights, since each of them would otherwise cost two small products at
    every token.
    Over several devices they are not: the last bits of the sum would depend on the mesh.
    """
    assembly = trained(config, run, draw=draw)
    if jax.device_count() == 1:
        merge_and_unload(assembly.model)
    return assembly


def trained_losses(config: Experiment, run: Run | None) -> set[str]:
    """What was minimised by the trained leaves that answer, those of `config.start` included: "emp", "ccl", "sac"."""
    begun = set(weights.open_start(config.start).losses) if config.start else set()
    return begun | (run.trained_losses() if run is not None and run.trained_stages() else set())
