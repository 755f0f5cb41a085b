"""Launchers are recognised by their variables alone."""

from __future__ import annotations

import pytest

from empatheia_jax.errors import UserError
from empatheia_jax.parallel import distributed


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, "slurm"),
        ({"SLURM_NTASKS": "4"}, None),  # inside sbatch, before srun
        ({"TPU_WORKER_HOSTNAMES": "a"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "tpu"),
        ({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, "tpu"),
        (
            {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0", "SLURM_NTASKS": "4"},
            "environment",
        ),
    ],
)
def test_launcher(environment, expected):
    assert distributed.detect(environment) == expected


def test_half_a_set_of_variables_is_an_error():
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES, JAX_PROCESS_ID"):
        distributed.detect({"JAX_COORDINATOR_ADDRESS": "h:1"})
