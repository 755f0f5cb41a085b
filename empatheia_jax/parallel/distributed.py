"""Several hosts, by `jax.distributed` alone: found from the environment, started once, and ended when a peer is gone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

import jax

from empatheia_jax.errors import EXIT_USER_ERROR, UserError

EXIT_PEER_LOST = 75  # EX_TEMPFAIL: start the same command again


def detect(environment: Mapping[str, str] | None = None) -> str | None:
    """Which launcher started several processes: "environment", "slurm", "tpu" or None for one process.

    environment  `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` are set (torchrun-like launchers)
    slurm        an `srun` step of several tasks
    tpu          a TPU slice of several hosts (GKE sets `TPU_WORKER_HOSTNAMES`, multislice `MEGASCALE_NUM_SLICES`)

    Raises:
      UserError: only some of the three `JAX_…` variables are set.
    """
    environment = os.environ if environment is None else environment
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    found = [name for name in names if environment.get(name)]
    if len(found) == len(names):
        return "environment"
    if found:
        missing = sorted(set(names) - set(found))
        raise UserError(
            f"{', '.join(found)} is set but not {', '.join(missing)}; set all three, or none for one process"
        )
    if int(environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1"))) > 1 and (
        "SLURM_PROCID" in environment
    ):
        return "slurm"
    hosts = [host for host in environment.get("TPU_WORKER_HOSTNAMES", "").split(",") if host]
    if len(hosts) > 1 or int(environment.get("MEGASCALE_NUM_SLICES", "1")) > 1:
        return "tpu"
    return None


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    heartbeat_timeout_seconds: int = 30,
) -> bool:
    """Joins the processes of a run; returns whether there are several. Call before anything touches a device.

    Without arguments the launcher is detected (`detect`); SLURM's and TPU's variables are read by JAX itself.
    A process that is silent for `heartbeat_timeout_seconds` counts as lost, and the others end.
    """
    timeout = {"heartbeat_timeout_seconds": heartbeat_timeout_seconds}
    if coordinator is not None:
        jax.distributed.initialize(coordinator, processes, process, **timeout)
        return True
    launcher = detect()
    if launcher is None:
        return False
    if launcher == "environment":
        values = [os.environ[name] for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")]
        jax.distributed.initialize(values[0], int(values[1]), int(values[2]), **timeout)
    else:
        jax.distributed.initialize(**timeout)
    return True


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Around the work of a process that may have peers: ends it, with one line, when a peer is gone.

    A collective that loses a participant raises from the runtime; the coordination service would then wait for the lost
    process at its exit barrier, so the process leaves without it. Exit code 75 says: start all again, the last
    checkpoint is good. With one process this does nothing.
    """
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        # A user's error or a bug of one process: its peers would wait for it, and it for them.
        lost = isinstance(error, jax.errors.JaxRuntimeError)
        if lost:
            first = (str(error).strip().splitlines() or [""])[0][:160]
            message = (
                f"error: process {jax.process_index()} of {jax.process_count()} lost a peer ({first}); "
                f"start all processes again to go on from the last checkpoint"
            )
        elif isinstance(error, UserError):
            message = f"error: {error}"
        else:
            import traceback

            message = "".join(traceback.format_exception(error))
        print(message, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(EXIT_PEER_LOST if lost else EXIT_USER_ERROR if isinstance(error, UserError) else 1)


def shutdown() -> None:
    """Leaves the run in good order (waits for the peers)."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()
