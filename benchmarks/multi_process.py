"""Several processes of the real command against one: training, extraction, replies, evaluation, and the end of one of them.

    python -m benchmarks.multi_process [--processes=2,4] [--axes=data,fsdp,tensor] [--limit=SECONDS] [--stages=joint]
                                       [--modes=train,extract,reply,evaluate,kill] [--output=FOLDER]

The whole table is about 50 starts of `launch.py`. With --output every command that ended is noted there, every row is written to
`rows.jsonl` when it is known, and the next call, with other rows or the same, runs what is missing. A command that takes longer
than --limit is stopped, its row says so, and the next row begins.

Every row runs `launch.py` once with as many processes as it says, joined over the loopback by the three `JAX_…` variables, the
named axis of the mesh crossing all of them, and once with one process; what is compared:

    train     losses of all steps (relative), and the trained weights of the last stage (absolute), without the biases of keys: a
              softmax does not see them, so their gradient is 0 but for rounding, and Adam makes steps of full size out of that
    extract   every array of the feature cache, of a small set with recordings; the axis plays no part
    reply     the words, the samples of the speech and the pictures of the film, for one dialogue; both answer with the run that
              one process trained, so that the row shows the reply alone: what training changes, `train` shows
    evaluate  `--mode=evaluate`: every turn of a split is answered and measured; the words, sound and films of all replies, and
              every number of `values.json`; the axis plays no part
    kill      one process is killed after its first step: how long the others go on, and what they say last

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
BOUND, PATIENCE = 1e-5, 60.0
MODES = ("train", "extract", "reply", "evaluate", "kill")
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
            started.append(
                subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True)
            )
    return started


def finish(started: Sequence[subprocess.Popen], log: Path, limit: float) -> None:
    """Waits for the processes. Raises RuntimeError where one does not end with 0, or not within `limit` seconds."""
    deadline = time.monotonic() + limit
    try:
        codes = [process.wait(timeout=max(deadline - time.monotonic(), 1)) for process in started]
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no end within {limit:.0f} s") from None
    finally:
        stop(started)
    if any(codes):
        said = Path(f"{log}-{next(k for k, code in enumerate(codes) if code)}.log").read_text()[-600:]
        raise RuntimeError(f"exit codes {codes}: {said}")


def stop(started: Sequence[subprocess.Popen]) -> None:
    """Ends what is left of the processes, and the commands that they have started."""
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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


def numbers(value: Any, path: str = "") -> dict[str, np.ndarray]:
    """Every number and word of a JSON value by its place, without times."""
    if isinstance(value, dict):
        return {k: v for key in value if key != "timings" for k, v in numbers(value[key], f"{path} {key}").items()}
    if isinstance(value, list):
        return {k: v for place, each in enumerate(value) for k, v in numbers(each, f"{path} {place}").items()}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {path: np.array([value], np.float64)}
    return {path: np.frombuffer(repr(value).encode(), np.uint8)}


def replied(folder: Path) -> dict[str, np.ndarray]:
    """Words, sound and pictures (from 0 to 1) of every reply below a folder."""
    from empatheia_jax.media.audio import read_audio
    from empatheia_jax.media.video import read_frames, video_info

    found: dict[str, np.ndarray] = {}
    for path in sorted(folder.rglob("reply.*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".json":
            found |= numbers(json.loads(path.read_text()), name)
        elif path.suffix == ".wav":
            found[name] = read_audio(path, 24_000)
        elif path.suffix == ".mp4":
            found[name] = read_frames(path, count=video_info(path).frames).astype(np.float32) / 255
    return found


class Table:
    """Runs the rows in a folder, and what one process gives but once."""

    def __init__(self, folder: Path, stages: str, limit: float):
        self.folder, self.stages, self.limit = folder, stages, limit
        self._one: dict[str, Any] = {}

    def _command(self, name: str, count: int, arguments: Sequence[str]) -> None:
        log = self.folder / name
        if not self._note(name).exists():
            finish(processes(count, arguments, log), log, self.limit)
            self._note(name).touch()

    def _note(self, name: str) -> Path:
        """The file that says that a command came to its end."""
        return self.folder / f"{name}.done"

    def _train(self, name: str, count: int, axis: str):
        workdir = self.folder / name
        self._command(name, count, [f"--workdir={workdir}", *training(self.stages), *mesh(axis, count)])
        return trained(workdir, self.stages)

    def _alone(self, mode: str):
        """What one process gives."""
        if mode not in self._one:
            self._one[mode] = {
                "train": lambda: self._train("one", 1, "data"),
                "extract": lambda: self._extract("extract-1", 1),
                "reply": lambda: self._reply("reply-1", 1, "data"),
                "evaluate": lambda: self._evaluate("evaluate-1", 1),
            }[mode]()
        return self._one[mode]

    def train(self, count: int, axis: str) -> float:
        """Losses and weights."""
        expected_losses, expected = self._alone("train")
        losses, weights = self._train(f"{axis}-{count}", count, axis)
        if losses.shape != expected_losses.shape:
            return float("inf")
        return max(float(np.max(np.abs(losses / expected_losses - 1))), largest(weights, expected))

    def _tree(self) -> Path:
        """A small data set with four turns to answer."""
        from data_pipeline import toy
        from empatheia_jax.conversation import schema
        from tests.data_pipeline.trees import small_tree, write_media

        tree = self.folder / "tree"
        if not (tree / "test.json").exists():
            small_tree(tree)
            asked = toy.conversations("test", 2)
            for each in asked:
                write_media(tree, each, frames=25)  # what lips are measured on
            schema.write(tree / "test.json", asked)
        return tree

    def _extract(self, name: str, count: int) -> dict[str, np.ndarray]:
        place = self.folder / name
        options = [f"--workdir={self.folder / 'none'}", "--mode=extract", f"--config.data.path={self._tree()}"]
        options.append("--config.schedule=coe,content")  # style codes need tracks of faces, which the small set has not
        self._command(f"{name}-run", count, [*options, f"--config.data.cache={place}"])
        return cache(place)

    def extract(self, count: int, axis: str) -> float:
        """The feature cache."""
        expected = self._alone("extract")
        return largest(self._extract(f"extract-{axis}-{count}", count), expected)

    def _reply(self, name: str, count: int, axis: str) -> dict[str, np.ndarray]:
        self._alone("train")
        question, place = self._tree() / "asked.json", self.folder / name
        question.write_text(json.dumps(json.loads((self._tree() / "test.json").read_text())[:1]))
        options = [f"--workdir={self.folder / 'one'}", "--mode=reply", f"--input={question}", f"--output={place}"]
        options.append("--nomarks")
        self._command(f"{name}-run", count, [*options, *mesh(axis, count)])
        return replied(place)

    def reply(self, count: int, axis: str) -> float:
        """Words, sound and film."""
        expected = self._alone("reply")
        return largest(self._reply(f"reply-{axis}-{count}", count, axis), expected)

    def _evaluate(self, name: str, count: int) -> dict[str, np.ndarray]:
        self._alone("train")
        place = self.folder / name
        options = ["--mode=evaluate", "--rows=empatheia", f"--workdir={self.folder / 'one'}", f"--input={self._tree()}"]
        options += [f"--config.schedule={self.stages}"]
        self._command(f"{name}-run", count, [*options, f"--output={place}"])
        return {**replied(place / "replies"), **numbers(json.loads((place / "values.json").read_text()), "values")}

    def evaluate(self, count: int, axis: str) -> float:
        """Every reply of a split, and what is measured of it."""
        expected = self._alone("evaluate")
        return largest(self._evaluate(f"evaluate-{count}", count), expected)

    def kill(self, count: int, axis: str) -> tuple[float, str]:
        """(seconds that the others go on after the last process was killed, their last line)."""
        name = f"kill-{axis}-{count}"
        if self._note(name).exists():
            return tuple(json.loads(self._note(name).read_text()))
        workdir, log = self.folder / name, self.folder / name
        many = training(self.stages.split(",")[0], 10_000)
        started = processes(count, [f"--workdir={workdir}", *many, *mesh(axis, count)], log)
        try:
            deadline = time.monotonic() + self.limit
            while not any(path.stat().st_size for path in workdir.rglob("metrics.jsonl")):
                if any(process.poll() is not None for process in started):
                    raise RuntimeError(f"no step was made: {Path(f'{log}-0.log').read_text()[-600:]}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no step within {self.limit:.0f} s")
                time.sleep(0.2)
            started[-1].send_signal(signal.SIGKILL)
            began = time.monotonic()
            codes = [process.wait(timeout=300) for process in started[:-1]]
            seconds = time.monotonic() - began
        finally:
            stop(started)
        said = [Path(f"{log}-{number}.log").read_text() for number in range(count - 1)]
        if set(codes) != {75} or any("Traceback" in each for each in said):
            raise RuntimeError(f"the others ended with {codes}, not with 75 and one line: {said[0][-600:]}")
        line = said[0].strip().splitlines()[-1]
        self._note(name).write_text(json.dumps([seconds, line]))
        return seconds, line

    def row(self, mode: str, axis: str, count: int) -> dict[str, Any]:
        """One row: what was found, and whether it is right."""
        about: dict[str, Any] = {"mode": mode, "axis": axis, "processes": count}
        try:
            found = getattr(self, mode)(count, axis)
        except RuntimeError as error:
            return {**about, "right": False, "found": f"FAILED: {error}"}
        if mode == "kill":
            seconds, line = found
            return {**about, "right": seconds <= PATIENCE, "found": f"ended after {seconds:.1f} s: {line}"}
        return {**about, "right": found <= BOUND, "found": f"{found:.1e}", "difference": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="2,4")
    parser.add_argument("--axes", default="data,fsdp,tensor")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--stages", default="joint", help="of the debug schedule, for train and kill")
    parser.add_argument("--limit", type=float, default=900, help="seconds that one command may take")
    parser.add_argument("--output", type=Path, help="keep the runs there")
    options = parser.parse_args()
    folder = options.output or Path(tempfile.mkdtemp(prefix="multi-process-"))
    folder.mkdir(parents=True, exist_ok=True)
    table, right, worst = Table(folder.resolve(), options.stages, options.limit), True, 0.0
    print(f"{'mode':8} {'axis':8} {'processes':>9}  largest difference", flush=True)
    try:
        for count in map(int, options.processes.split(",")):
            for mode in options.modes.split(","):
                # The mesh has no part in these: clips and turns are dealt to processes, and a killed one is missed by all.
                for axis in ["data"] if mode in ("extract", "evaluate", "kill") else options.axes.split(","):
                    row = table.row(mode, axis, count)
                    right, worst = right and row["right"], max(worst, row.get("difference", 0.0))
                    with (folder / "rows.jsonl").open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(f"{mode:8} {axis:8} {count:9}  {row['found']}", flush=True)
    finally:
        if options.output is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"largest difference {worst:.1e}: {'equal' if right else 'NOT EQUAL'} within {BOUND:.0e}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
