"""One process of two that ends in some way: `python -m tests.parallel.ends PORT PROCESS VICTIM WAY`.

The victim ends by `WAY` (kill, error, bug, interrupt, late); the other waits for it.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import jax

from empatheia_jax.errors import UserError, leave, main_guard
from empatheia_jax.parallel import distributed


@main_guard
def main(port: str, process: int, victim: int, way: str) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what it puts in the background without
    distributed.initialize(f"localhost:{port}", 2, process, heartbeat_timeout_seconds=5)
    with distributed.guard():
        distributed.wait_for_all("joined")
        print("joined", flush=True)
        if way == "late":  # process 0 alone computes, as for a reply
            distributed.first_alone("work", lambda: float(jax.numpy.ones(3).sum()))
        if process != victim:
            if way != "late":
                time.sleep(60)
            return 0
        match way:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)
            case "error":
                raise UserError("the disk is full")
            case "bug":
                raise ZeroDivisionError("a bug")
            case "late":
                time.sleep(3)
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
