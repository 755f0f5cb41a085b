"""Flags, configs and modes of `launch.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs import debug, joint
from empatheia_jax import assemble
from empatheia_jax.errors import UserError
from empatheia_jax.settings import resolve
from empatheia_jax.training import schedule, step

ROOT = Path(__file__).resolve().parents[1]


def launch(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "launch.py", *arguments], cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "no config was given"),
        (["--config=configs/nowhere.py"], "does not exist"),
        (["--config=configs/joint.py:bogus"], "bogus"),
        (["--config=configs/debug.py", "--config.nokey=3"], "nokey"),
        (["--config=configs/debug.py", "--config.seed=many"], "invalid literal"),
        (["--config=configs/debug.py", "--mode=fly"], "should be one of"),
        (["--config=configs/debug.py", "--mode=serve"], "does not exist yet"),
        (["--config=configs/debug.py", "--mode=reply"], "needs --input"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(arguments, message):
    done = launch(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_missing_weights_and_data_are_one_line_each_with_the_command():
    config = joint.get_config()
    config.networks.weights_dir, config.data.path = "no-such-weights", "no-such-data"
    lines = assemble.missing(resolve(config))
    assert len(lines) == 6
    assert sum("`python -m converters." in line for line in lines) == 5
    assert assemble.missing(resolve(debug.get_config())) == []


@pytest.mark.parametrize("variant", [*joint.ABLATIONS, "debug"])
def test_every_variant_resolves_to_a_schedule_of_known_stages(variant):
    config = resolve(joint.get_config(variant))
    for stage in config.schedule:
        assert schedule.optimizer_config(config[stage]).steps > 0
    schedule.objective(config)


def test_compiler_options_are_tried_on_xla_at_once():
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    assert step.accepted_options(options) == options
    with pytest.raises(UserError, match="xla_no_such_option"):
        step.accepted_options({"xla_no_such_option": 1})
