"""Kills a training run with `kill -9` at random moments, saves included, and compares the end with a run left alone.

    python -m benchmarks.kills --kills=20 [--seed=0] [--save_every=1]
    python -m benchmarks.kills --kills=20 --schedule [--steps=6]

Every restart must succeed and the final parameters must be bit-identical. Prints one line per kill and a verdict; exits 1
if anything differs. With `--save_every=1` a save is under way at almost any moment. With `--schedule` the run is the real
command on the debug config, all four stages; without, the tiny network of the tests.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from empatheia_jax.runs.checkpoint import load_trainable, steps_on_disk
from empatheia_jax.training.stages import STAGES

ROOT = Path(__file__).resolve().parents[1]


def start(folder: Path, steps: int, save_every: int, pause: float) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.training.tiny_run", str(folder), f"--steps={steps}"]
    command += [f"--save_every={save_every}", f"--pause={pause}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> str:
    out, error = process.communicate()
    if process.returncode:
        sys.exit(f"a restart failed with code {process.returncode}:\n{error[-3000:]}")
    return re.search(r"digest (\w+)", out).group(1)


def launch(workdir: Path, steps: int) -> subprocess.Popen:
    """The real command: four stages of tiny networks, `steps` of each, all of them saved."""
    command = [sys.executable, "launch.py", "--config=configs/joint.py:debug", f"--workdir={workdir}"]
    command += [
        f"--config.{stage}.{key}={value}" for stage in STAGES for key, value in (("steps", steps), ("save_every", 1))
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def saved_steps(workdir: Path) -> dict[str, int]:
    """Stage → newest finished checkpoint, of the stages that have one."""
    found = {stage: steps_on_disk(workdir / "checkpoints" / stage) for stage in STAGES}
    return {stage: steps[-1] for stage, steps in found.items() if steps}


def kill_schedule(folder: Path, kills: int, steps: int, rng: random.Random) -> bool:
    """Whether a schedule that was killed again and again, before its end, ends with the bits of one that was not."""
    straight, hurt = folder / "straight", folder / "hurt"
    during = 0
    for kill in range(1, kills + 1):
        before, process = saved_steps(hurt), launch(hurt, steps)
        while saved_steps(hurt) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
        _, error = process.communicate()
        if process.returncode not in (0, -9):
            sys.exit(f"restart {kill} failed with code {process.returncode}:\n{error[-3000:]}")
        if process.returncode == 0:
            sys.exit(f"the schedule ended before kill {kill}: choose more --steps")
        writing = any("tmp" in path.name for path in (hurt / "checkpoints").glob("*/*"))
        during += writing
        print(f"kill {kill}: with {saved_steps(hurt)}{', during a save' if writing else ''}", flush=True)
    for workdir in (hurt, straight):
        process = launch(workdir, steps)
        _, error = process.communicate()
        if process.returncode:
            sys.exit(f"{workdir.name}: ended with code {process.returncode}:\n{error[-3000:]}")
    print(f"{during} of the kills during a save")
    for stage in STAGES:
        one, other = (load_trainable(workdir / "checkpoints" / stage) for workdir in (straight, hurt))
        if any(np.asarray(one[path]).tobytes() != np.asarray(other[path]).tobytes() for path in one):
            print(f"stage {stage} differs")
            return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--save_every", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--schedule", action="store_true", help="all four stages of the debug config")
    parser.add_argument("--steps", type=int, default=6, help="of each stage, with --schedule")
    options = parser.parse_args()
    if options.schedule:
        with tempfile.TemporaryDirectory() as temporary:
            same = kill_schedule(Path(temporary), options.kills, options.steps, random.Random(options.seed))
        print(f"{options.kills} kills over the schedule: final parameters {'equal' if same else 'DIFFER'}")
        return 0 if same else 1
    rng, steps = random.Random(options.seed), 4 * options.kills + 10
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        straight = finish(start(folder / "straight", steps, options.save_every, 0.0))
        saved = folder / "hurt" / "checkpoints" / "coe"
        during = 0
        for kill in range(1, options.kills + 1):
            before = max(steps_on_disk(saved), default=0)
            process = start(folder / "hurt", steps, options.save_every, options.pause)
            # At least one new step is saved between two kills, so that the run gets on.
            while max(steps_on_disk(saved), default=0) <= before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 3 * options.pause))
            process.kill()
            _, error = process.communicate()
            if process.returncode not in (0, -9):
                print(error[-3000:])
                return 1
            found = steps_on_disk(saved)
            writing = any("tmp" in path.name for path in saved.iterdir())
            during += writing
            print(f"kill {kill}: after step {found[-1]}{', during a save' if writing else ''}", flush=True)
        same = finish(start(folder / "hurt", steps, options.save_every, 0.0)) == straight
    print(f"{options.kills} kills, {during} of them during a save: final parameters {'equal' if same else 'DIFFER'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
