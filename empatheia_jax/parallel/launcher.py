"""Which processes belong to a run: what a launcher (SLURM, a TPU slice, or three variables) says in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from empatheia_jax.errors import UserError, first_line


def detect(environment: Mapping[str, str] | None = None) -> str | None:
    """Which launcher started several processes: "environment", "slurm", "tpu" or None for one process.

    environment  `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` are set (torchrun-like launchers)
    slurm        an `srun` step of several tasks
    tpu          a TPU slice of several hosts (GKE sets `TPU_WORKER_HOSTNAMES`, multislice `MEGASCALE_NUM_SLICES`; a Cloud TPU VM
                 has neither, and its metadata server is asked)

    Raises:
      UserError: only some of the three `JAX_…` variables are set, or a variable does not hold what it should.
    """
    asked = environment is None
    environment = os.environ if environment is None else environment
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    found = [name for name in names if environment.get(name)]
    if len(found) == len(names):
        from_environment(environment)
        return "environment"
    if found:
        missing = sorted(set(names) - set(found))
        raise UserError(
            f"{', '.join(found)} is set but not {', '.join(missing)}; set all three, or none for one process"
        )
    tasks = number_of(environment, "SLURM_NTASKS")
    tasks = number_of(environment, "SLURM_STEP_NUM_TASKS", default=tasks)
    slices = number_of(environment, "MEGASCALE_NUM_SLICES")
    if tasks > 1 and "SLURM_PROCID" in environment:
        process = number_of(environment, "SLURM_PROCID", least=0)
        if process >= tasks:
            raise UserError(f"SLURM_PROCID={process}; expected less than the {tasks} tasks of the step")
        return "slurm"
    hosts = [host for host in environment.get("TPU_WORKER_HOSTNAMES", "").split(",") if host]
    if len(hosts) > 1 or slices > 1 or (asked and not hosts and cloud_tpu_hosts() > 1):
        return "tpu"
    return None


def cloud_tpu_hosts() -> int:
    """How many hosts the TPU slice of this Cloud TPU VM has, by the metadata server, as JAX itself asks it; 1 elsewhere.

    Raises:
      UserError: this is such a VM, and the server does not answer.
    """
    from jax._src import cloud_tpu_init
    from jax._src.clusters.cloud_tpu_cluster import GceTpuCluster

    if not cloud_tpu_init.running_in_cloud_tpu_vm:
        return 1
    try:
        return GceTpuCluster.get_process_count() if GceTpuCluster.is_env_present() else 1
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise UserError(
            f"the metadata server of this TPU VM does not say which hosts belong together ({first_line(error)}); set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or TPU_SKIP_MDS_QUERY=1 for one host alone"
        ) from None


def from_environment(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """(address of the coordinator, number of processes, this one's number) out of the three `JAX_…` variables.

    Raises:
      UserError: one of them does not hold what it should.
    """
    address = environment["JAX_COORDINATOR_ADDRESS"]
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(
            f"JAX_COORDINATOR_ADDRESS={address!r}; expected host:port of process 0, for example 10.0.0.1:1234"
        )
    count = number_of(environment, "JAX_NUM_PROCESSES")
    number = number_of(environment, "JAX_PROCESS_ID", least=0)
    if number >= count:
        raise UserError(f"JAX_PROCESS_ID={number} with JAX_NUM_PROCESSES={count}; expected 0 to {count - 1}")
    return address, count, number


def number_of(environment: Mapping[str, str], name: str, least: int = 1, default: int = 1) -> int:
    """A whole number of at least `least` out of a variable; the default where it is not set. Else raises `UserError`."""
    text = environment.get(name)
    if text is None:
        return default
    if not text.strip().isdecimal() or int(text) < least:
        raise UserError(f"{name}={text!r}; expected a whole number from {least} on; correct it, or unset it")
    return int(text)
