"""The one trainer: phases of a training one after another, each resumed where it stopped and skipped once complete.

Whatever trains lists its phases and calls `run_phases`: the four stages (`schedule`), DreamTalk's networks (`talking_head`), the
drawn face, the small encoders. A phase starts from its own newest checkpoint, else from the model as the phases before it left
it. What is evaluated, what the next phase starts from and what is exported are the same parameters: the moving average where
one is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from empatheia_jax.errors import UserError
from empatheia_jax.parallel import distributed
from empatheia_jax.runs import environment, report
from empatheia_jax.runs.compilation import keep_programs
from empatheia_jax.runs.lock import Lock
from empatheia_jax.runs.run import Run
from empatheia_jax.training import loop, partition
from empatheia_jax.training import step as steps
from empatheia_jax.training.checkpoints import Checkpoints
from empatheia_jax.training.losses import mean
from empatheia_jax.training.metrics import Metrics
from empatheia_jax.training.step import Decay, TrainStep
from empatheia_jax.training.tables import format_table, parameter_table
from empatheia_jax.weights import overlay


@runtime_checkable
class Data(Protocol):
    """Where the batches of a phase come from. Neither is opened before it is needed."""

    def train(self) -> loop.Batches:
        """Endless host batches."""

    def validation(self) -> Iterator[Any]:
        """One pass over the batches to evaluate on, padded with weight 0; called again for every evaluation."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a training, with checkpoints and an optimizer of its own.

    name          of its checkpoints and in logs
    trainable     globs of the parameters that train; everything else is frozen
    loss          `(model, batch, rng | None) → {name: (sum, weight)}`; without a key, the form for evaluation
    coefficients  name → factor in the objective; names left out are only reported. None = all with 1
    optimizer     for a dictionary path → parameter
    steps         optimizer steps
    data          where its batches come from
    fingerprint   JSON values that must be equal to go on from its checkpoints
    clip          largest global norm of the gradient; None = off
    ema           decay of a moving average of the parameters, or a function of the step that gives it; None = none is kept
    accumulation  micro-batches per step
    seed          of everything random in its steps
    save_every    steps between two checkpoints (one more at the end)
    eval_every    steps between two evaluations (one more at the end); 0 = never
    deadline      moment of `time.monotonic()` at which it saves and stops, unfinished; the same command goes on. None = no end
    flops_per_token    of the partition, for the MFU; None = not reported
    learning_rate      of an optimizer step, counted from 0; None = not reported
    size          of a step beside one of another phase (its examples, say), for the time that is left of all
    """

    name: str
    trainable: tuple[str, ...]
    loss: steps.LossFunction
    optimizer: optax.GradientTransformation
    steps: int
    data: Data | None
    fingerprint: Mapping[str, Any]
    coefficients: Mapping[str, float] | None = None
    clip: float | None = None
    ema: Decay | None = None
    accumulation: int = 1
    seed: int = 0
    save_every: int = 500
    eval_every: int = 0
    deadline: float | None = None
    flops_per_token: Callable[[partition.Partition], float] | None = None
    learning_rate: Callable[[int], float] | None = None
    size: int = 1

    def build_step(
        self, partitioned: partition.Partition, mesh: Mesh, compiler_options: Mapping[str, Any]
    ) -> TrainStep:
        """The compiled step; `partitioned` may be abstract."""
        return steps.build(
            partitioned,
            self.loss,
            self.optimizer,
            mesh,
            coefficients=self.coefficients,
            accumulation=self.accumulation,
            clip=self.clip,
            ema=self.ema,
            compiler_options=compiler_options,
        )


def run_phases(
    phases: Sequence[Phase],
    model: nnx.Module,
    workdir: Path,
    mesh: Mesh,
    *,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    log_every: int = 10,
    keep_checkpoints: int = 2,
    profile_steps: tuple[int, int] | tuple[()] = (),
    compiler_options: Mapping[str, Any] | None = None,
) -> list[loop.StageResult]:
    """Trains the phases, or what is left of them, and leaves the trained parameters in the model.

    Writes the config, checkpoints, metrics and `report.html` of the run's folder and prints a table of what was done. Stops
    after a phase that reached its deadline.

    Args:
      phases: in their order.
      model: the whole; it is changed in place.
      workdir: the run's folder.
      mesh: from `parallel.mesh.make_mesh`.
      config: JSON values of the whole config, with the run's `name`.
      metadata: more JSON values to keep with the checkpoints (hashes of the frozen weights).
      log_every: steps per line of the log.
      keep_checkpoints: how many of a phase's newest checkpoints stay.
      profile_steps: (first, last), 1-based: trace these steps of every phase.
      compiler_options: XLA's, of the training step.

    Raises:
      UserError: the folder belongs to another run; the loss is not finite; the disk is full.
    """
    with claim(workdir):
        return _run_phases(
            phases,
            model,
            workdir,
            mesh,
            config,
            metadata or {},
            log_every,
            keep_checkpoints,
            profile_steps,
            compiler_options or {},
        )


@contextlib.contextmanager
def claim(workdir: Path) -> Iterator[None]:
    """Around a training: holds the run's folder alone, from before anything is loaded (`runs.lock`).

    Of several processes the first one holds the lock for all. Inside of it, it may be entered again.

    Raises:
      UserError: another training holds the folder, or it cannot be written.
    """
    key = workdir.resolve()
    if key in _claimed:
        yield
        return
    distributed.meet()
    with contextlib.ExitStack() as stack:
        error = None
        if jax.process_index() == 0:
            try:
                stack.enter_context(Lock(workdir))
            except UserError as refused:
                error = refused
        if jax.process_count() > 1 and bool(multihost_utils.broadcast_one_to_all(np.asarray(error is not None))):
            error = error or UserError(f"the run's folder {workdir} cannot be used; process 0 says why")
        if error is not None:
            raise error
        _claimed.add(key)
        stack.callback(_claimed.discard, key)
        yield


_claimed: set[Path] = set()


def _run_phases(
    phases: Sequence[Phase],
    model: nnx.Module,
    workdir: Path,
    mesh: Mesh,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    log_every: int,
    keep_checkpoints: int,
    profile_steps: tuple[int, int] | tuple[()],
    compiler_options: Mapping[str, Any],
) -> list[loop.StageResult]:
    run = Run(workdir)
    if jax.process_index() == 0:
        run.write_config(config)
        run.write_environment(environment.describe(mesh))
    keep_programs(workdir)
    metrics = Metrics(run.metrics_path.parent)
    results = []
    for phase in phases:
        partitioned = partition.split(model, phase.trainable)
        step = phase.build_step(partitioned, mesh, compiler_options)
        with Checkpoints(
            run.stage_folder(phase.name),
            fingerprint=phase.fingerprint,
            metadata={"config": config, **metadata},
            keep=keep_checkpoints,
        ) as checkpoints:
            waiting = [each for each in phases[phases.index(phase) + 1 :] if run.completion(each.name) is None]
            later = sum(each.steps * each.size for each in waiting) / phase.size
            result = _train(phase, partitioned, step, mesh, checkpoints, metrics, log_every, profile_steps, later)
        overlay(model, result.state.averaged)
        results.append(result)
        if jax.process_index() == 0 and phase is not phases[-1] and not result.stopped:
            with contextlib.suppress(Exception):  # said at the end, if it still fails then
                report.write(run)
        if result.stopped:
            break
    metrics.close()
    if jax.process_index() == 0:
        print(f"\n{_table(results)}")
        write_report(run)
    return results


def write_report(run: Run) -> None:
    """Writes the run's report and says where it is, or why there is none: that never ends a training."""
    try:
        print(f"\nreport: {report.write(run)}")
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        print(f"there is no report: {kind}{error}", file=sys.stderr)


def _train(
    phase: Phase,
    partitioned: partition.Partition,
    step: steps.TrainStep,
    mesh: Mesh,
    checkpoints: Checkpoints,
    metrics: Metrics,
    log_every: int,
    profile_steps: tuple[int, int] | tuple[()],
    later: float,
) -> loop.StageResult:
    if checkpoints.complete is None and jax.process_index() == 0:
        print(f"\n{phase.name}\n{parameter_table(partitioned, mesh=mesh)}")
    frozen, data = step.place_frozen(partitioned.frozen), phase.data
    if data is None:
        raise ValueError(f"the phase {phase.name} has no data to train on")

    def evaluate(state: steps.TrainState) -> dict[str, float]:
        totals: dict[str, Any] = {}
        state = dataclasses.replace(state, trainable=state.averaged)
        for batch in data.validation():
            pairs = jax.device_get(step.evaluate(state, frozen, step.place_batch(batch)))
            for name, (total, weight) in pairs.items():
                before = totals.get(name, (0.0, 0.0))
                totals[name] = before[0] + total, before[1] + weight
        return {name: float(mean(pair)) for name, pair in totals.items()}

    return loop.run(
        phase.name,
        step,
        step.init(partitioned.trainable, phase.seed),
        frozen,
        data.train() if checkpoints.complete is None else iter(()),
        checkpoints,
        metrics,
        phase.steps,
        log_every=log_every,
        save_every=phase.save_every,
        eval_fn=evaluate if phase.eval_every else None,
        eval_every=phase.eval_every,
        profile_steps=profile_steps,
        deadline=phase.deadline,
        flops_per_token=None if phase.flops_per_token is None else phase.flops_per_token(partitioned),
        learning_rate=phase.learning_rate,
        later=later,
    )


def _table(results: Sequence[loop.StageResult]) -> str:
    def note(result: loop.StageResult) -> str:
        if result.skipped:
            return "complete already"
        return f"{result.seconds:.0f} s" + (", stopped by its deadline" if result.stopped else "")

    rows = [[r.name, str(r.steps), f"{r.first_loss:.4f}", f"{r.last_loss:.4f}", note(r)] for r in results]
    return format_table(("stage", "steps", "loss from", "to", "time"), rows, right=(1, 2, 3, 4))
