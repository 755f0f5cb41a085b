"""The four stages as phases of one training (`trainer.run_phases`), in the order of a config's schedule.

Where a stage starts from, in this order: its own newest checkpoint; else the trained leaves of the stages before it, in the
order of the paper; else the leaves that `config.start` names; else the converted weights (core) and fresh ones (adapters,
bridge).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from empatheia_jax import assemble, requirements
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import batch_part, make_mesh
from empatheia_jax.runs import fit
from empatheia_jax.runs.checkpoint import belongs_to, load_trainable
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Experiment, Stage, plain
from empatheia_jax.training import loop, optimizers, partition, stages
from empatheia_jax.training import step as steps
from empatheia_jax.training.metrics import flops_per_token
from empatheia_jax.training.shapes import abstract_batch
from empatheia_jax.training.trainer import Phase, claim, run_phases
from empatheia_jax.weights import overlay

MakeBatches = Callable[..., Any]
"""`(config, stage, split, tokenizer, widths, part) → iterator of the host batches of a part` with `get_state` and
`set_state`; for the splits "train" (endless) and "valid" (one pass, padded with weight 0)."""

Describe = Callable[[Experiment, str], Mapping[str, str]]
"""`(config, stage) → {feature or target: what identifies its values}`: weights and settings of the network that makes it."""


def objective(config: Experiment) -> stages.Objective:
    """`config.objective` as a dataclass."""
    values = config.objective
    return stages.Objective(
        values.alpha,
        values.beta,
        values.kl_weight,
        values.emotion_weight,
        values.regression,
        values.without,
        classifies=config.bridge.style_kind != "linear",
    )


def optimizer_config(settings: Stage) -> optimizers.OptimizerConfig:
    """A stage's block of the config as the optimizer's dataclass."""
    return optimizers.OptimizerConfig(
        learning_rate=settings.learning_rate,
        steps=settings.steps,
        warmup_steps=settings.warmup,
        decay=settings.decay,
        weight_decay=settings.weight_decay,
        group_rates=settings.group_rates,
        clip=settings.clip or None,
        ema=settings.ema or None,
    )


def build_step(config: Experiment, stage: str, partitioned: partition.Partition, mesh) -> steps.TrainStep:
    """The compiled step of a stage; `partitioned` may be abstract."""
    return phase(config, stage).build_step(partitioned, mesh, steps.accepted_options(config.compiler_options))


class StageData:
    """The batches of a stage. The split "valid" is opened, and so tokenised, once; every evaluation starts it over."""

    def __init__(self, open_split: Callable[[str], Any]):
        self._open = open_split
        self._valid: loop.Batches | None = None
        self._start: Any = None

    def train(self) -> loop.Batches:
        """Endless batches of the split "train"."""
        return self._open("train")

    def validation(self) -> Iterator[Any]:
        """One pass over the split "valid"."""
        if self._valid is None:
            self._valid = self._open("valid")
            self._start = self._valid.get_state()
        else:
            self._valid.set_state(self._start)
        return self._valid


def phase(
    config: Experiment,
    stage: str,
    data: StageData | None = None,
    *,
    weights: Mapping[str, str] | None = None,
    features: Mapping[str, str] | None = None,
    after: Mapping[str, str] | None = None,
) -> Phase:
    """A stage as a phase; without data, to be built and looked at only.

    Args:
      config: the resolved config.
      stage: a name of `stages.STAGES`.
      data: its batches.
      weights, features, after: what it depends on beside the config, see `runs.fit.fingerprint`.
    """
    settings, what = config[stage], objective(config)

    def flops(partitioned: partition.Partition) -> float:
        core = sum(value.size for path, value in partitioned.frozen.items() if path.startswith("core."))
        return flops_per_token(core, sum(value.size for value in partitioned.trainable.values()))

    return Phase(
        name=stage,
        trainable=stages.TRAINABLE[stage],
        loss=stages.loss_function(stage, what),
        coefficients=stages.coefficients(stage, what),
        optimizer=optimizers.build(optimizer_config(settings)),
        learning_rate=optimizers.schedule(optimizer_config(settings)),
        size=settings.batch,
        steps=settings.steps,
        data=data,
        fingerprint=fit.fingerprint(config, stage, weights=weights or {}, features=features or {}, after=after or {}),
        clip=settings.clip or None,
        ema=settings.ema or None,
        accumulation=settings.accumulation,
        seed=config.seed + stages.STAGES.index(stage),
        save_every=settings.save_every,
        eval_every=settings.eval_every,
        flops_per_token=flops,
    )


def rehearse(
    config: Experiment, phases: Sequence[Phase], model: nnx.Module, widths: assemble.Widths, mesh: Mesh
) -> None:
    """Goes through one abstract step of each stage, so that a later one does not fail after hours of an earlier one.

    The model may be abstract too: `--mode=check` has no weights loaded.

    Raises:
      UserError: with a line for every stage whose step cannot be built.
    """
    lines = []
    for each in phases:
        try:
            step = each.build_step(partition.split(model, each.trainable), mesh, {})
            step.rehearse(abstract_batch(config, each.name, config[each.name].batch, widths))
        except (UserError, TypeError, ValueError) as error:
            lines.append(f"stage {each.name}: {str(error).splitlines()[0]}")
    if lines:
        raise UserError.of(lines)


def run(
    config: Experiment, workdir: Path, make_batches: MakeBatches, describe: Describe | None = None
) -> list[loop.StageResult]:
    """Trains the schedule, or what is left of it; see `trainer.run_phases` for what the run's folder then holds.

    Args:
      config: the resolved config.
      workdir: the run's folder.
      make_batches: where batches come from, see `MakeBatches`.
      describe: what identifies their features and targets, see `Describe`.

    Raises:
      UserError: weights or data are missing; the folder belongs to another run or is in use; the loss is not finite; the disk
        is full.
    """
    requirements.require(config)
    mesh = make_mesh(*config.mesh.sizes)
    with claim(workdir):
        assembly = assemble.empatheia(config, mesh)
        phases = []
        after = _earlier(config, Run(workdir), assembly)
        for stage in (stage for stage in stages.STAGES if stage in config.schedule):

            def open_split(split: str, stage: str = stage) -> Any:
                return make_batches(config, stage, split, assembly.tokenizer, assembly.widths, batch_part(mesh))

            features = describe(config, stage) if describe else {}
            found = phase(
                config,
                stage,
                StageData(open_split),
                weights=assembly.hashes,
                features=features,
                after=after,
            )
            phases.append(found)
            after = {**after, stage: fit.known_as(Run(workdir).stage_folder(stage), found.fingerprint)}
        begun = Run(workdir).trained_stages()
        later = [each for each in phases[1:] if each.name not in begun]
        rehearse(config, later, assembly.model, assembly.widths, mesh)
        return run_phases(
            phases,
            assembly.model,
            workdir,
            mesh,
            config=plain(config),
            metadata={"weights": dict(assembly.hashes)},
            log_every=config.log_every,
            keep_checkpoints=config.keep_checkpoints,
            profile_steps=config.profile_steps,
            compiler_options=steps.accepted_options(config.compiler_options),
        )


def _earlier(config: Experiment, folder: Run, assembly: assemble.Assembly) -> dict[str, str]:
    """Puts the complete stages that come before the schedule into the model; stage → digest of its fingerprint.

    Raises:
      UserError: one of them was trained in another network.
    """
    first = min(stages.STAGES.index(stage) for stage in config.schedule)
    found = [stage for stage in stages.STAGES[:first] if folder.completion(stage)]
    if found:
        fit.require_usable(folder, config, assembly.hashes, prompts=False)
    after: dict[str, str] = {}
    for stage in found:
        overlay(assembly.model, load_trainable(folder.stage_folder(stage)))
        after[stage] = fit.digest(belongs_to(folder.stage_folder(stage))["fingerprint"])
    return after
