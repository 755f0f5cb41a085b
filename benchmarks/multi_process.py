"""Several processes of the real command against one: training, extraction and reply on the debug networks.

    python -m benchmarks.multi_process [--processes=2,4] [--axes=data,fsdp,tensor] [--modes=train,extract,reply,kill]
                                       [--stages=joint] [--output=FOLDER]

The whole table is about 50 starts of `launch.py`. With --output every command that ended is noted there, and the next call, with
other rows or the same, runs what is missing.

Every row runs `launch.py` once with as many processes as it says, joined over the loopback by the three `JAX_…` variables, the
named axis of the mesh crossing all of them, and once with one process; what is compared:

    train    losses of all steps (relative), and the trained weights of the last stage (absolute), without the biases of keys: a
             softmax does not see them, so their gradient is 0 but for rounding, and Adam makes steps of full size out of that
    extract  every array of the feature cache, of a small set with recordings; the axis plays no part
    reply    the words, and the samples of the speech, of the run that one process trained
    kill     one process is killed after its first step: how long the others go on, and what they say last

Every process must end with 0 (with 75 where a peer was killed), and a training must leave its report. Exits with 1 above 1e-5, or
where the others go on for longer than a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BOUND, PATIENCE, LIMIT = 1e-5, 60.0, 1800
STEPS, BATCH = 3, 8


def processes(count: int, arguments: Sequence[str], log: Path) -> list[subprocess.Popen]:
    """Starts the processes of a command; each writes into a file of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for number in range(count):
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        if count > 1:
            names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
            environment |= dict(zip(names, (f"localhost:{port}", str(count), str(number))))
        with open(f"{log}-{number}.log", "w") as file:
            command = [sys.executable, "launch.py", "--config=configs/debug.py", *arguments]
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file))
    return started


def finish(started: Sequence[subprocess.Popen], log: Path) -> None:
    """Waits for the processes. Raises RuntimeError where one does not end with 0."""
    try:
        codes = [process.wait(timeout=LIMIT) for process in started]
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    if any(codes):
        said = Path(f"{log}-{next(k for k, code in enumerate(codes) if code)}.log").read_text()[-600:]
        raise RuntimeError(f"exit codes {codes}: {said}")


def mesh(axis: str, count: int) -> list[str]:
    """The axis crosses all processes, which have one device each."""
    sizes = {"data": 1, "fsdp": 1, "tensor": 1, axis: count}
    return [f"--config.mesh.{name}={size}" for name, size in sizes.items()]


def training(stages: str, steps: int = STEPS) -> list[str]:
    """A few steps of each stage, saved once."""
    options = [f"--config.schedule={stages}", "--config.log_every=1"]
    for stage in stages.split(","):
        options += [f"--config.{stage}.steps={steps}", f"--config.{stage}.save_every={steps}"]
        options += [f"--config.{stage}.batch={BATCH}", f"--config.{stage}.accumulation=2"]
    return options


def trained(workdir: Path, stages: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Losses of all steps, and the weights of the last stage that have a gradient. RuntimeError where the run has no report."""
    from empatheia_jax.runs.checkpoint import load_trainable
    from empatheia_jax.runs.run import Run

    run = Run(workdir)
    if not (workdir / "report.html").is_file():
        raise RuntimeError(f"{workdir} has no report")
    lines = [json.loads(line) for line in next(workdir.rglob("metrics.jsonl")).read_text().splitlines()]
    losses = np.array([line["loss"] for line in lines if "loss" in line])
    values = load_trainable(run.stage_folder(stages.split(",")[-1]), average=False)
    return losses, {path: np.asarray(value) for path, value in values.items() if not path.endswith("key.bias")}


def cache(root: Path) -> dict[str, np.ndarray]:
    """Every array of a feature cache, by extractor, clip and name."""
    from data_pipeline.cache import FeatureCache

    found = {}
    for about in sorted(root.glob("*/about.json")):
        values = json.loads(about.read_text())
        features = FeatureCache(root, values["what"], values["fingerprint"])
        for key in features:
            found |= {f"{values['what']} {key} {name}": array for name, array in features.read(key).items()}
    return found


def largest(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Largest difference of arrays by name; infinite where names or shapes differ, or there is nothing."""
    if found.keys() != expected.keys() or not expected:
        return float("inf")
    differences = [
        float(np.max(np.abs(found[name].astype(np.float64) - value), initial=0.0))
        if found[name].shape == value.shape
        else float("inf")
        for name, value in expected.items()
    ]
    return max(differences)


class Table:
    """Runs the rows in a folder, and what one process gives but once."""

    def __init__(self, folder: Path, stages: str):
        self.folder, self.stages = folder, stages
        self._one: dict[str, Any] = {}

    def _command(self, name: str, count: int, arguments: Sequence[str]) -> None:
        log = self.folder / name
        if not self._note(name).exists():
            finish(processes(count, arguments, log), log)
            self._note(name).touch()

    def _note(self, name: str) -> Path:
        """The file that says that a command came to its end."""
        return self.folder / f"{name}.done"

    def _train(self, name: str, count: int, axis: str):
        workdir = self.folder / name
        self._command(name, count, [f"--workdir={workdir}", *training(self.stages), *mesh(axis, count)])
        return trained(workdir, self.stages)

    def _alone(self, mode: str):
        if mode not in self._one:
            self._one[mode] = {
                "train": lambda: self._train("one", 1, "data"),
                "extract": lambda: self._extract("extract-1", 1),
            }[mode]()
        return self._one[mode]

    def train(self, count: int, axis: str) -> float:
        """Losses and weights."""
        losses, weights = self._train(f"{axis}-{count}", count, axis)
        expected_losses, expected = self._alone("train")
        if losses.shape != expected_losses.shape:
            return float("inf")
        return max(float(np.max(np.abs(losses / expected_losses - 1))), largest(weights, expected))

    def _tree(self) -> Path:
        from tests.data_pipeline.trees import small_tree

        tree = self.folder / "tree"
        return tree if tree.exists() else small_tree(tree)

    def _extract(self, name: str, count: int) -> dict[str, np.ndarray]:
        place = self.folder / name
        options = [f"--workdir={self.folder / 'none'}", "--mode=extract", f"--config.data.path={self._tree()}"]
        options.append("--config.schedule=coe,content")  # style codes need tracks of faces, which the small set has not
        self._command(f"{name}-run", count, [*options, f"--config.data.cache={place}"])
        return cache(place)

    def extract(self, count: int, axis: str) -> float:
        """The feature cache."""
        return largest(self._extract(f"extract-{axis}-{count}", count), self._alone("extract"))

    def _reply(self, name: str, count: int, axis: str) -> dict[str, np.ndarray]:
        from empatheia_jax.media.audio import read_audio

        question, place = self.folder / "dialogue.json", self.folder / name
        question.write_text(json.dumps(json.loads((self._tree() / "test.json").read_text())[:1]))
        options = [f"--workdir={self.folder / 'one'}", "--mode=reply", f"--input={question}", f"--output={place}"]
        self._command(f"{name}-run", count, [*options, *mesh(axis, count)])
        words = b"".join(path.read_bytes() for path in sorted(place.rglob("*.json")))
        sounds = {path.name: read_audio(path, 24_000) for path in sorted(place.rglob("*.wav"))}
        return {"words": np.frombuffer(words, np.uint8), **sounds}

    def reply(self, count: int, axis: str) -> float:
        """Words and sound, of the run that one process trained."""
        self._alone("train")
        if "reply" not in self._one:
            self._one["reply"] = self._reply("reply-1", 1, "data")
        return largest(self._reply(f"reply-{axis}-{count}", count, axis), self._one["reply"])

    def kill(self, count: int, axis: str) -> tuple[float, str]:
        """(seconds that the others go on after the last process was killed, their last line)."""
        name = f"kill-{axis}-{count}"
        if self._note(name).exists():
            return tuple(json.loads(self._note(name).read_text()))
        workdir, log = self.folder / name, self.folder / name
        many = training(self.stages.split(",")[0], 10_000)
        started = processes(count, [f"--workdir={workdir}", *many, *mesh(axis, count)], log)
        try:
            deadline = time.monotonic() + LIMIT
            while not any(path.stat().st_size for path in workdir.rglob("metrics.jsonl")):
                if time.monotonic() > deadline or any(process.poll() is not None for process in started):
                    raise RuntimeError(f"no step was made: {Path(f'{log}-0.log').read_text()[-600:]}")
                time.sleep(0.2)
            started[-1].send_signal(signal.SIGKILL)
            began = time.monotonic()
            codes = [process.wait(timeout=300) for process in started[:-1]]
            seconds = time.monotonic() - began
        finally:
            for process in started:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        if set(codes) != {75}:
            raise RuntimeError(f"the others ended with {codes}, not with 75")
        said = Path(f"{log}-0.log").read_text().strip().splitlines()[-1]
        self._note(name).write_text(json.dumps([seconds, said]))
        return seconds, said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="2,4")
    parser.add_argument("--axes", default="data,fsdp,tensor")
    parser.add_argument("--modes", default="train,extract,reply,kill")
    parser.add_argument("--stages", default="joint", help="of the debug schedule, for train and kill")
    parser.add_argument("--output", type=Path, help="keep the runs there")
    options = parser.parse_args()
    folder = options.output or Path(tempfile.mkdtemp(prefix="multi-process-"))
    folder.mkdir(parents=True, exist_ok=True)
    table, worst, wrong = Table(folder.resolve(), options.stages), 0.0, False
    print(f"{'mode':8} {'axis':8} {'processes':>9}  largest difference", flush=True)
    try:
        for mode in options.modes.split(","):
            # Extraction deals clips to processes, and a killed one is missed, whatever the mesh is.
            axes = ["data"] if mode in ("extract", "kill") else options.axes.split(",")
            for axis in axes:
                for count in map(int, options.processes.split(",")):
                    try:
                        found = getattr(table, mode)(count, axis)
                    except RuntimeError as error:
                        print(f"{mode:8} {axis:8} {count:9}  FAILED: {error}", flush=True)
                        wrong = True
                        continue
                    if mode == "kill":
                        seconds, line = found
                        wrong |= seconds > PATIENCE
                        print(f"{mode:8} {axis:8} {count:9}  ended after {seconds:.1f} s: {line}", flush=True)
                    else:
                        worst = max(worst, found)
                        print(f"{mode:8} {axis:8} {count:9}  {found:.1e}", flush=True)
    finally:
        if options.output is None:
            shutil.rmtree(folder, ignore_errors=True)
    good = worst <= BOUND and not wrong
    print(f"largest difference {worst:.1e}: {'equal' if good else 'NOT EQUAL'} within {BOUND:.0e}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
