"""Writes the checkpoints of a stage: `checkpoints/<stage>/<step>/`, by orbax in the background, renamed when whole.

What a step holds, each as an item of its own:

    trainable   path → parameter, float32            (LoRA, added rows, bridge: small; the frozen base is named by
    optimizer   optax state                           its hash in `run.json`, never copied)
    ema         path → moving average, if one is kept
    progress    step, key of the run
    data        state of the data iterators (JSON), and the first loss, for the report

Beside the steps: `run.json` (fingerprint and metadata of the run) and, at the end of the stage, `complete.json`. Checksums of
all files are written with them (`runs.integrity`) and compared before anything is read.
A state is restored on whatever mesh the caller asks for; the data position on as many processes as wrote it, or on any
number where all processes hold the same position.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint
from absl import logging as absl_logging
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from empatheia_jax.errors import UserError, disk_full, first_line
from empatheia_jax.parallel import rules
from empatheia_jax.runs import fit
from empatheia_jax.runs.checkpoint import (
    COMPLETE_FILE,
    RUN_FILE,
    belongs_to,
    completion,
    lost_step,
    steps_on_disk,
    what_is_left,
)
from empatheia_jax.runs.integrity import Damaged, check_notes, check_step, seal_step, write_record
from empatheia_jax.training.step import TrainState

_ORBAX = str(Path(orbax.checkpoint.__file__).parent)


class CheckpointError(UserError):
    """A checkpoint could not be written or read; earlier ones are untouched."""


class Checkpoints:
    """The checkpoints of one stage of one run.

    Args:
      folder: `<workdir>/checkpoints/<stage>`; made if absent.
      fingerprint: JSON values that must be equal for a run to continue here (model, LoRA, data, schedule, hashes of the
        frozen weights). What may change between starts (mesh, logging) does not belong in it.
      metadata: more JSON for `run.json` (versions, the whole config): written once, not compared.
      keep: how many of the newest steps stay.

    Raises:
      UserError: the folder belongs to a run with another fingerprint.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        fingerprint: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        keep: int = 2,
    ):
        self.folder = Path(folder).absolute()
        absl_logging.get_absl_logger().addFilter(_told_once)  # adding it again changes nothing
        self._claim(fingerprint, metadata or {})
        # Of the newest alone: a kill may have come while an older step was being removed.
        for step in steps_on_disk(self.folder)[-1:]:
            self._checked(step, check_notes)
        self._pending: Any = None
        self._pending_step: int | None = None
        self._sealing: int | None = None
        policy = ocp.training.preservation_policies.LatestN(max(1, keep))
        context = ocp.Context()
        context.async_options.post_finalization_callback = lambda: (
            self._seal()
        )  # a bound method is copied with its object
        self._checkpointer = ocp.training.Checkpointer(
            self.folder, context=context, preservation_policy=policy, cleanup_tmp_directories=True
        )

    # --- the run it belongs to ------------------------------------------------------------------------------------

    def _claim(self, fingerprint: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        wanted, path = json.loads(json.dumps(fingerprint)), self.folder / RUN_FILE
        if path.exists():
            fit.require_same(self.folder, belongs_to(self.folder)["fingerprint"], wanted)
        elif steps_on_disk(self.folder):
            raise UserError(f"{self.folder} holds checkpoints but no {RUN_FILE}; choose another --workdir")
        elif jax.process_index() == 0:
            values = {"fingerprint": wanted, "metadata": metadata, "versions": versions(), "began": _now()}
            write_record(path, values)
        self._forget_lost_step()

    def _forget_lost_step(self) -> None:
        """Takes a completion mark away whose checkpoint is gone: the stage goes on from what is there."""
        if (lost := lost_step(self.folder)) is None:
            return
        steps = steps_on_disk(self.folder)
        if jax.process_index() == 0:
            begin = f"from step {steps[-1]}" if steps else "from the start"
            print(
                f"{self.folder}: the checkpoint of step {lost}, which completed the stage, is lost; going on {begin}",
                file=sys.stderr,
            )
            (self.folder / COMPLETE_FILE).unlink(missing_ok=True)

    @property
    def latest(self) -> int | None:
        """The newest finished step, or None."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    # --- the end of a stage ---------------------------------------------------------------------------------------

    @property
    def complete(self) -> dict[str, Any] | None:
        """What `mark_complete` wrote, or None while the stage is not done (or its last step is lost)."""
        return completion(self.folder)

    def mark_complete(self, step: int, **values: Any) -> None:
        """Notes that the stage ended with the checkpoint of `step`; from now on it is skipped. Waits for the save."""
        self.wait()
        if self.latest != step:
            raise CheckpointError(f"{self.folder}: cannot complete at step {step}, the newest is {self.latest}")
        if jax.process_index() == 0:
            write_record(self.folder / COMPLETE_FILE, {"step": step, **values, "ended": _now()})

    def _checked(self, step: int, check: Callable[..., None], *arguments: Any) -> None:
        try:
            check(self.folder / str(step), *arguments)
        except Damaged as error:
            raise CheckpointError(f"{error}; {what_is_left(self.folder, step)}") from None

    # --- saving ---------------------------------------------------------------------------------------------------

    def save(self, state: TrainState, data: Any = None, *, step: int, wait: bool = False, **notes: Any) -> None:
        """Starts to write the state after `step` steps; returns when the arrays are copied from the devices.

        A step that is already there is not written again. A failure of the previous save, which ran in the background,
        is raised here (or by `wait`).

        Args:
          data: state of this process's data iterator (JSON values or bytes).
          notes: JSON values to come back from `restore`.

        Raises:
          CheckpointError: the disk is full, or the folder cannot be written.
        """
        self.wait()
        if self.latest is not None and self.latest >= step:
            return
        items = _items(state)
        positions = _gather(_encode(data))
        items["data"] = {
            "json": json.dumps({"processes": positions, "notes": notes}),
            "processes": np.asarray(len(positions)),  # an item without any array makes orbax warn
        }
        self._require_space(items)
        try:
            self._pending_step = self._sealing = step
            self._pending = self._checkpointer.save_checkpointables_async(step, items, force=True)
        except Exception as error:
            raise self._explain(error, step) from error
        if wait:
            self.wait()

    def _seal(self) -> None:
        """Orbax calls this when the files of a step are written and before the step gets its name."""
        if jax.process_index() == 0:
            (folder,) = self.folder.glob(f"{self._sealing}.*tmp*")
            seal_step(folder)

    def wait(self) -> None:
        """Returns when the last save is on disk.

        Raises:
          CheckpointError: it failed.
        """
        pending, step = self._pending, self._pending_step
        self._pending = self._pending_step = None
        if pending is None:
            return
        try:
            pending.result()
            self._checkpointer.wait()
        except Exception as error:
            raise self._explain(error, step) from error

    def _require_space(self, items: Any) -> None:
        needed = sum(_local_bytes(leaf) for leaf in jax.tree.leaves(items))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise CheckpointError(
                f"the disk of {self.folder} is full: a checkpoint needs {needed / 2**20:,.1f} MiB, {free / 2**20:,.1f} "
                f"are free; {self._last_good()}; free some space and start again"
            )

    def _last_good(self) -> str:
        steps = steps_on_disk(self.folder)
        return f"the checkpoint of step {steps[-1]} is intact" if steps else "there is no earlier checkpoint"

    def _explain(self, error: Exception, step: int | None) -> CheckpointError:
        full = disk_full(error) or "RESOURCE_EXHAUSTED" in str(error)
        what = f"the disk of {self.folder} is full" if full else f"{self.folder}: write failed ({first_line(error)})"
        advice = "free some space" if full else "mend this"
        return CheckpointError(
            f"{what}: step {step} was not saved; {self._last_good()}; {advice} and start again to go on from there"
        )

    # --- restoring ------------------------------------------------------------------------------------------------

    def restore(self, abstract: TrainState, step: int | None = None) -> tuple[TrainState, Any, dict[str, Any]]:
        """The state of `step` (None = the newest), on the shardings of `abstract` (`TrainStep.abstract_state()`).

        Returns:
          The state, the data iterator's state for this process, and the notes.

        Raises:
          CheckpointError: there is no such step, it does not fit the model, or the data position was written by
          another number of processes and differs between them.
        """
        step = self.latest if step is None else step
        found = steps_on_disk(self.folder)
        if step not in found:
            raise CheckpointError(f"{self.folder} has no checkpoint of step {step}; found {found}")
        items = {**_items(abstract), "data": None}
        self._checked(step, check_step, items)
        try:
            loaded = self._checkpointer.load_checkpointables(step, items)
        except Exception as error:
            raise CheckpointError(
                f"{self.folder}/{step} does not fit this configuration ({first_line(error)}); "
                f"{what_is_left(self.folder, step)}"
            ) from error
        progress = loaded["progress"]
        state = TrainState(
            trainable=loaded["trainable"],
            optimizer=loaded["optimizer"],
            step=progress["step"],
            rng=progress["rng"],
            bad_step=abstract_like(abstract.bad_step, -1),
            ema=loaded.get("ema"),
        )
        data = json.loads(loaded["data"]["json"])
        return state, _decode(self._my_position(data["processes"], step)), data["notes"]

    def _my_position(self, positions: list[Any], step: int) -> Any:
        if len(positions) == jax.process_count():
            return positions[jax.process_index()]
        if all(position == positions[0] for position in positions):
            return positions[0]
        raise CheckpointError(
            f"{self.folder}/{step} holds the data positions of {len(positions)} processes, this run has "
            f"{jax.process_count()}; start with {len(positions)} processes"
        )

    def close(self) -> None:
        """Waits for the last save and frees orbax's threads."""
        try:
            self.wait()
        finally:
            self._checkpointer.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.close()
        else:  # the error at hand matters more than one of closing
            with contextlib.suppress(Exception):
                self.close()


def versions() -> dict[str, str]:
    """Versions of what a checkpoint depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("empatheia-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def abstract_like(abstract: jax.Array | jax.ShapeDtypeStruct, value: Any) -> jax.Array:
    """A constant with the dtype and sharding of an abstract scalar."""
    return rules.place(np.asarray(value, abstract.dtype), abstract.sharding)


def _items(state: TrainState) -> dict[str, Any]:
    items = {
        "trainable": state.trainable,
        "optimizer": state.optimizer,
        "progress": {"step": state.step, "rng": state.rng},
    }
    return items if state.ema is None else {**items, "ema": state.ema}


def _local_bytes(leaf: Any) -> int:
    if isinstance(leaf, jax.Array) and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return sum(shard.data.nbytes for shard in leaf.addressable_shards if shard.replica_id == 0)
    return 0


def _encode(data: Any) -> Any:
    if isinstance(data, bytes):
        return {"base64": base64.b64encode(data).decode()}
    return {"json": data}


def _decode(data: Any) -> Any:
    return base64.b64decode(data["base64"]) if "base64" in data else data["json"]


def _gather(value: Any) -> list[Any]:
    """The JSON values of all processes, in their order."""
    if jax.process_count() == 1:
        return [value]
    raw = np.frombuffer(json.dumps(value).encode(), np.uint8)
    longest = int(np.max(multihost_utils.process_allgather(np.asarray(raw.size))))
    rows = multihost_utils.process_allgather(np.pad(raw, (0, longest - raw.size), constant_values=ord(" ")))
    return [json.loads(bytes(row).decode()) for row in np.asarray(rows)]


def _told_once(record: logging.LogRecord) -> bool:
    """A logging filter that drops orbax's reports of failed saves.

    Every one of its threads logs the traceback of the same failure, hundreds of lines, some of them after the command's
    own last line; the failure itself is raised to `Checkpoints.wait`. Verbosity "debug" shows them.
    """
    ours = record.levelno >= logging.ERROR and record.pathname.startswith(_ORBAX)
    return not ours or absl_logging.level_debug()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
