"""The loop of a stage: batch, step, log, save; and what to do when it is stopped or goes wrong."""

from __future__ import annotations

import dataclasses
import itertools
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from empatheia_jax.errors import UserError
from empatheia_jax.parallel import distributed
from empatheia_jax.parallel.mesh import batch_part
from empatheia_jax.training.checkpoints import Checkpoints
from empatheia_jax.training.metrics import Metrics, StepTimer, peak_flops
from empatheia_jax.training.step import TrainState, TrainStep

IN_FLIGHT = 2  # steps that may be queued on the device: enough to hide the host, few enough to bound memory


class Batches(Iterator[Any], Protocol):
    """An endless iterator of host batches whose position can be saved (grain's iterators, for instance)."""

    def get_state(self) -> Any: ...

    def set_state(self, state: Any) -> None: ...


class NonFiniteLoss(UserError):
    """The loss or its gradient was not a finite number."""


@dataclasses.dataclass(frozen=True)
class StageResult:
    """How a stage ended. Losses are means over the first and the last logged window.

    seconds   spent on it, over all starts
    skipped   it was complete already
    stopped   its deadline came before its end
    """

    name: str
    state: TrainState
    steps: int
    first_loss: float
    last_loss: float
    seconds: float
    skipped: bool = False
    stopped: bool = False


def run(
    stage_name: str,
    step: TrainStep,
    state: TrainState,
    frozen: Mapping[str, Any],
    batches: Batches | Iterator[Any],
    checkpoints: Checkpoints | None,
    metrics: Metrics | None,
    steps: int,
    log_every: int = 10,
    save_every: int = 100,
    eval_fn: Callable[[TrainState], Mapping[str, float]] | None = None,
    profile_steps: tuple[int, int] | tuple[()] = (),
    *,
    eval_every: int | None = None,
    flops_per_token: float | None = None,
    count_tokens: Callable[[Any], int] | None = None,
    deadline: float | None = None,
    learning_rate: Callable[[int], float] | None = None,
    later: float = 0.0,
    progress: bool = True,
) -> StageResult:
    """Trains a stage to `steps` optimizer steps, from its newest checkpoint if it has one.

    A stage whose checkpoints are marked complete is not repeated: its final state comes back at once. Because the
    state, the key of every step and the position of the data are all restored, a run that was killed ends with the same
    bits as one that was not.

    SIGTERM (a preemption) saves after the step at hand and exits with code 0; start the same command again. In the last step
    of the last stage there is nothing to go on with, and the run ends as it would have.

    Args:
      batches: host batches of this process, with `get_state` and `set_state`.
      eval_fn: called every `eval_every` steps (and at the end); its numbers are logged with the prefix `eval/`.
      profile_steps: (first, last), 1-based: write a profiler trace of these steps into `<metrics>/profile`.
      flops_per_token: for the MFU; see `metrics.flops_per_token`.
      count_tokens: tokens in a host batch; by default the sum of its `lengths`.
      deadline: moment of `time.monotonic()` after which it saves and returns, unfinished.
      learning_rate: of an optimizer step, counted from 0; logged and shown.
      later: how much the stages behind this one will take, in steps of this one: for the time that is left of all.

    Raises:
      NonFiniteLoss: with the steps in question; the last good checkpoint stays the newest.
      UserError: the data ended early, a checkpoint cannot be written or does not fit.
    """
    notes: dict[str, Any] = {}
    if checkpoints is not None and checkpoints.latest is not None:
        done = checkpoints.complete
        state, position, notes = checkpoints.restore(step.abstract_state(), done["step"] if done else None)
        if done:
            losses, seconds = (done["first_loss"], done["last_loss"]), done.get("seconds", 0.0)
            return StageResult(stage_name, state, done["step"], *losses, seconds, skipped=True)
        if not hasattr(batches, "set_state"):
            raise ValueError("these batches cannot go on from a checkpoint: they have no set_state")
        batches.set_state(position)
    start = int(state.step)
    if metrics is not None:
        metrics.resume(stage_name, start)

    loop = _Loop(stage_name, step, checkpoints, metrics, batches, notes, start, flops_per_token, learning_rate)
    bar = tqdm(
        total=steps, initial=start, desc=stage_name, unit="step", disable=not progress or jax.process_index() != 0
    )
    asked = False
    with bar, _Signals() as signals:
        for number in range(start + 1, steps + 1):
            if profile_steps and number == max(profile_steps[0], start + 1):
                if metrics is None:
                    raise ValueError("a profile is written beside the metrics; give metrics")
                jax.profiler.start_trace(str(metrics.folder / "profile"))
            with loop.timer.measure("data"):
                batch = loop.next_batch(number, steps)
                loop.tokens += (count_tokens or _count_tokens)(batch)
            with loop.timer.measure("transfer"):
                placed = step.place_batch(batch)
            state = loop.advance(state, frozen, placed)
            bar.update()
            if profile_steps and number == profile_steps[1]:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()

            last, asked = number == steps, signals.stop()
            late = _is_late(deadline)
            stopped = asked or late
            if number % log_every == 0 or last or stopped:
                bar.set_postfix_str(loop.log(state, number, steps - number + later))
            if eval_fn is not None and (last or (eval_every and number % eval_every == 0)):
                with loop.timer.measure("eval"):
                    loop.evaluated(number, eval_fn(state))
            if last or stopped or number % save_every == 0:
                with loop.timer.measure("save"):
                    loop.save(state, number, wait=last or stopped)
            if late and not last and not asked:
                return StageResult(stage_name, state, number, *loop.losses, loop.seconds, stopped=True)
            if asked and not last:
                if checkpoints is not None:
                    checkpoints.close()
                tqdm.write(f"{stage_name}: stopped by a signal after step {number}; saved, start again to go on")
                raise SystemExit(0)
    if checkpoints is not None:
        checkpoints.mark_complete(
            steps, first_loss=loop.first_loss, last_loss=loop.last_loss, seconds=round(loop.seconds, 1)
        )
    if asked and later:  # no stage begins after the signal
        if checkpoints is not None:
            checkpoints.close()
        tqdm.write(f"{stage_name}: complete, and stopped by a signal; start again to go on with the next stage")
        raise SystemExit(0)
    return StageResult(stage_name, state, steps, *loop.losses, loop.seconds)


class _Loop:
    """What the loop remembers between two lines of the log."""

    def __init__(self, name, step, checkpoints, metrics, batches, notes, start, flops_per_token, learning_rate):
        self.name, self.step, self.checkpoints, self.metrics, self.batches = name, step, checkpoints, metrics, batches
        self.first_loss: float | None = notes.get("first_loss")
        self.last_loss: float = notes.get("last_loss", float("nan"))
        self.flops_per_token, self.logged, self.learning_rate = flops_per_token, start, learning_rate
        self.validation = ""
        self.began = time.monotonic() - notes.get("seconds", 0.0)
        self.timer, self.tokens, self.timed = StepTimer(), 0, 0
        self.window: list[dict[str, jax.Array]] = []
        self.in_flight: deque[jax.Array] = deque()

    @property
    def losses(self) -> tuple[float, float]:
        """The mean losses of the first and of the last logged window of steps."""
        return float("nan") if self.first_loss is None else self.first_loss, self.last_loss

    @property
    def seconds(self) -> float:
        """Spent on the stage, over all starts."""
        return time.monotonic() - self.began

    def next_batch(self, number: int, steps: int) -> Any:
        try:
            return next(self.batches)
        except StopIteration:
            raise UserError(
                f"stage {self.name}: the data ended before step {number} of {steps}; repeat it or ask for fewer steps"
            ) from None

    def advance(self, state: TrainState, frozen: Any, batch: Any) -> TrainState:
        if self.step.compilations == 0:  # its seconds must not count as slow training
            with self.timer.measure("compile"):
                if jax.process_count() > 1:  # none of them may wait for another inside a step while that one compiles
                    self.step.compile(state, frozen, batch)
                    distributed.wait_for_all_again("compiled")
                state, values = self.step(state, frozen, batch)
                values["loss"].block_until_ready()
            self.tokens = 0  # the step that compiles says nothing about speed
        else:
            state, values = self.step(state, frozen, batch)
            self.timed += 1
        self.window.append(values)
        self.in_flight.append(values["loss"])
        if len(self.in_flight) > IN_FLIGHT:
            self.in_flight.popleft().block_until_ready()
        return state

    def log(self, state: TrainState, number: int, left: float) -> str:
        """Writes the means since the last call; returns the text for the bar. `left`: steps to go, of later stages too."""
        window = jax.device_get(self.window)
        self.require_finite(state, number)
        values = {name: float(np.mean([entry[name] for entry in window])) for name in window[0] if name != "finite"}
        count = len(window)
        seconds = max(1e-9, self.timer.elapsed() - self.timer.parts.get("compile", 0.0))
        values |= self.timer.breakdown(count)
        text = f"loss {values['loss']:.4f}" + "".join(
            f", {name.removesuffix('_accuracy')} {100 * value:.0f} %"
            for name, value in values.items()
            if name.endswith("_accuracy")
        )
        if self.learning_rate is not None:
            values["learning_rate"] = float(self.learning_rate(number - 1))
            text += f", rate {values['learning_rate']:.1e}"
        values["data_wait"] = min(1.0, self.timer.parts.get("data", 0.0) / seconds)
        if self.timed:
            here = batch_part(self.step.mesh)
            speed = self.tokens * here.count / len(here.numbers) / seconds
            values |= {"steps_per_second": self.timed / seconds, "tokens_per_second": speed}
            text += f", {speed:,.0f} tokens/s"
            if self.flops_per_token is not None and (peak := peak_flops()) is not None:
                values["mfu"] = speed * self.flops_per_token / (peak * jax.device_count())
                text += f", MFU {100 * values['mfu']:.1f} %"
            values["hours_left"] = left / values["steps_per_second"] / 3600
            text += f", waits for data {100 * values['data_wait']:.0f} %, all done in {duration(values['hours_left'])}"
        self.last_loss = values["loss"]
        if self.first_loss is None:
            self.first_loss = self.last_loss
        self.write(number, values)
        self.window, self.tokens, self.timed, self.logged = [], 0, 0, number
        self.timer.reset()
        return text + self.validation

    def evaluated(self, number: int, values: Mapping[str, float]) -> None:
        """Writes what an evaluation found; the bar shows it until the next one."""
        self.write(number, {f"eval/{name}": value for name, value in values.items()})
        shown = [f"{name} {value:.4f}" for name, value in values.items() if name == "loss"]
        shown += [
            f"{name.removesuffix('_accuracy')} {100 * value:.0f} %"
            for name, value in values.items()
            if name.endswith("_accuracy")
        ]
        self.validation = f"; validation: {', '.join(shown)}" if shown else ""

    def require_finite(self, state: TrainState, number: int) -> None:
        bad = int(state.bad_step)
        if bad < 0:
            return
        raise NonFiniteLoss(
            f"stage {self.name}: the loss or its gradient is not finite at step {bad + 1} (seen while checking steps "
            f"{self.logged + 1} to {number}); {self.last_good()}; lower the learning rate, or look at the batch of that step"
        )

    def require_good(self, state: TrainState, number: int) -> None:
        """Raises `NonFiniteLoss` where a number of the state itself is not finite: such a state must not be saved."""
        found = _finite(state)
        if bad := sorted(name for name, good in found.items() if not good):
            raise NonFiniteLoss(
                f"stage {self.name}: after step {number} the {bad[0]} is not finite; {self.last_good()}; lower the "
                f"learning rate, or look at the settings of the optimizer"
            )

    def last_good(self) -> str:
        kept = None if self.checkpoints is None else self.checkpoints.latest
        return "there is no checkpoint yet" if kept is None else f"the checkpoint of step {kept} is good"

    def save(self, state: TrainState, number: int, wait: bool) -> None:
        self.require_finite(state, number)
        if self.checkpoints is not None:
            self.require_good(state, number)
            position = self.batches.get_state() if hasattr(self.batches, "get_state") else None
            notes = {"first_loss": self.first_loss, "last_loss": self.last_loss, "seconds": round(self.seconds, 1)}
            self.checkpoints.save(state, position, step=number, wait=wait, **notes)

    def write(self, number: int, values: Mapping[str, float]) -> None:
        if self.metrics is not None:
            self.metrics.write(self.name, number, values)


def duration(hours: float) -> str:
    """A time in words: "3 min", "5.2 h", "2.1 days"."""
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _finite(state: TrainState) -> dict[str, bool]:
    """Whether every number of each part of a state is finite."""
    parts = {"trained parameter": state.trainable, "state of the optimizer": state.optimizer}
    parts["moving average"] = state.ema
    numbers = {
        name: [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        for name, tree in parts.items()
    }
    if _in_memory():
        # NumPy reads the state where it lies; a program for every leaf of every state takes a second to compile.
        return {name: all(np.isfinite(leaf).all() for leaf in leaves) for name, leaves in numbers.items()}
    return {name: bool(good) for name, good in jax.device_get(_finite_on_device(numbers)).items()}


def _in_memory() -> bool:
    """Whether NumPy can read all arrays where they lie."""
    return jax.default_backend() == "cpu" and jax.process_count() == 1


@jax.jit
def _finite_on_device(numbers: dict[str, list[jax.Array]]) -> dict[str, jax.Array]:
    """Whether all numbers of each list are finite."""

    def good(leaves: list[jax.Array]) -> jax.Array:
        return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])) if leaves else jnp.asarray(True)

    return {name: good(leaves) for name, leaves in numbers.items()}


def _is_late(deadline: float | None) -> bool:
    """Whether the deadline has passed; of several processes the first one's clock decides, so that all stop at one step."""
    if deadline is None:
        return False
    late = time.monotonic() >= deadline
    return late if jax.process_count() == 1 else bool(multihost_utils.broadcast_one_to_all(np.asarray(late)))


def _count_tokens(batch: Any) -> int:
    lengths = getattr(batch, "lengths", None)
    return 0 if lengths is None else int(np.sum(lengths))


_QUESTIONS = itertools.count(1)


class _Signals:
    """Turns SIGTERM into a question that the loop asks between steps; on several processes all get the same answer."""

    def __enter__(self) -> _Signals:
        self._asked, self._previous = False, None
        # With several processes JAX's own notifier holds SIGTERM, and agrees on the step at which all stop.
        self._alone = jax.process_count() == 1
        if self._alone and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._ask)
        return self

    def _ask(self, *_) -> None:
        self._asked = True

    def stop(self) -> bool:
        if self._alone:
            return self._asked
        # JAX answers yes at the number behind the highest that a process has asked with: numbers must rise over all stages.
        return multihost_utils.reached_preemption_sync_point(next(_QUESTIONS))

    def __exit__(self, *_) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
