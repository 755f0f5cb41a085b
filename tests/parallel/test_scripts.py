"""The launch files are valid shell and, in a dry run, call what they say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--config=configs/joint.py", "--workdir=/shared/a run"]
SCRIPTS = {
    "slurm_a100.sh": ([], ["srun", "launch.py", "--config=configs/joint.py"]),
    "tpu_pod.sh": (
        ["pod", "us-east5-a", "v5p-128"],
        ["tpu-vm create pod", "--accelerator-type=v5p-128", "--version=v2-alpha-tpuv5", "--worker=all", "launch.py"],
    ),
    "tpu_xpk.sh": (
        ["cluster", "v6e-16", "gcr.io/x/y"],
        ["xpk workload create", "--tpu-type=v6e-16", "--max-restarts=20", "launch.py"],
    ),
}


def run(name, *arguments, **environment):
    return subprocess.run(
        ["bash", f"scripts/{name}", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_dry_run_prints_the_command(name):
    arguments, parts = SCRIPTS[name]
    result = run(name, *arguments, *FLAGS, DRY_RUN="1")
    assert result.returncode == 0, result.stderr
    for part in parts:
        assert part in result.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_without_arguments_it_says_how_it_is_used(name):
    result = run(name)
    assert result.returncode == 2 and result.stderr.startswith("usage:")


def test_an_unknown_tpu_is_refused():
    result = run("tpu_pod.sh", "pod", "zone", "v3-8", *FLAGS, DRY_RUN="1")
    assert result.returncode == 2 and "v5litepod-N" in result.stderr
