"""Where the numbers of a run go: a JSONL to compute with and TensorBoard to look at; and how speed is counted."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from empatheia_jax.errors import UserError
from empatheia_jax.files import write_bytes
from empatheia_jax.runs.metrics import parse

PEAK_BF16_FLOPS: Mapping[str, float] = {
    # Dense bf16 peaks from the vendors' data sheets, FLOP/s per JAX device (v4 and v5p: one device per chip).
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}


def peak_flops(device: Any = None) -> float | None:
    """Peak bf16 FLOP/s of a device, or None where it is not in the table (every CPU)."""
    kind = (device or jax.devices()[0]).device_kind
    return next((peak for name, peak in PEAK_BF16_FLOPS.items() if name in kind), None)


def flops_per_token(total: int, trainable: int) -> float:
    """Model FLOPs per token of a decoder whose gradients pass through all of its `total` weights.

    Per token these are 2 · forward parameters + 2 · parameters that activations' gradients pass + 2 · trainable parameters. That
    is about 4N for LoRA on N parameters and 6N for full training. A recomputed forward pass (2N) is not counted.
    """
    return 4.0 * total + 2.0 * trainable


class Metrics:
    """Writes scalars to `<folder>/metrics.jsonl` and to TensorBoard event files beside it.

    A line is `{"stage", "step", "time", …values}`. Only process 0 writes. A run that starts again from step k calls
    `resume(stage, k)`: lines of the steps that it will repeat are dropped, so every step stands there once.
    """

    def __init__(self, folder: str | os.PathLike, *, tensorboard: bool = True):
        self.folder = Path(folder)
        self._writes = jax.process_index() == 0
        self._tensorboard = tensorboard
        self._writers: dict[str, Any] = {}
        if self._writes:
            self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def path(self) -> Path:
        """The JSONL file."""
        return self.folder / "metrics.jsonl"

    def resume(self, stage: str, step: int) -> None:
        """Forgets what was logged for `stage` beyond `step`."""
        if not self._writes or not self.path.exists():
            return
        kept = [
            line
            for line in self.path.read_bytes().splitlines()
            if (entry := parse(line)) is not None and not (entry["stage"] == stage and entry["step"] > step)
        ]
        write_bytes(self.path, b"".join(line + b"\n" for line in kept))

    def write(self, stage: str, step: int, values: Mapping[str, Any]) -> None:
        """One line; values are numbers (arrays of one element are converted)."""
        if not self._writes:
            return
        numbers = {name: _number(value) for name, value in values.items() if value is not None}
        entry = {"stage": stage, "step": int(step), "time": round(time.time(), 3), **numbers}
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}); checkpoints are intact; mend this and start again"
            ) from error
        if self._tensorboard:
            if stage not in self._writers:
                # Events beyond the step of a restart are purged, as in the JSONL.
                self._writers[stage] = _summary_writer()(str(self.folder / stage), purge_step=int(step))
            for name, value in numbers.items():
                self._writers[stage].add_scalar(name, value, int(step))

    def close(self) -> None:
        """Flushes the event files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _summary_writer() -> Any:
    """The class of tensorboardX, imported without PyTorch.

    tensorboardX imports PyTorch where it is installed, to recognise its tensors. None are written here, and the import takes
    seconds of every start.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it raises ImportError, as where it is missing
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter


def _number(value: Any) -> float | int | bool:
    value = np.asarray(value)
    return value.reshape(()).item()


class StepTimer:
    """Seconds of the loop by what they were spent on, since the last `reset`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        self.start = self._clock()
        self.parts: dict[str, float] = {}

    def measure(self, name: str):
        """Context manager that adds its duration to `name`."""
        return _Span(self, name)

    def elapsed(self) -> float:
        return self._clock() - self.start

    def breakdown(self, steps: int) -> dict[str, float]:
        """Milliseconds per step of every part; what is in no part is the device's (`time_compute_ms`)."""
        result = {f"time_{name}_ms": 1e3 * seconds / steps for name, seconds in self.parts.items()}
        rest = self.elapsed() - sum(self.parts.values())
        return {**result, "time_compute_ms": 1e3 * max(0.0, rest) / steps}


class _Span:
    def __init__(self, timer: StepTimer, name: str):
        self._timer, self._name = timer, name

    def __enter__(self):
        self._start = self._timer._clock()

    def __exit__(self, *_):
        parts = self._timer.parts
        parts[self._name] = parts.get(self._name, 0.0) + self._timer._clock() - self._start
