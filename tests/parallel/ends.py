"""Processes of pairs of which one ends in some way: `python -m tests.parallel.ends FOLDER CASES`.

`CASES` is a JSON list of `{"name", "port", "process", "victim", "way", "environment"}`. The victim ends by `way` (kill, error,
bug, interrupt, late); the other waits for it. What a process says goes to `FOLDER/<name>`, and all exit codes to
`FOLDER/codes.json`. JAX is imported once, and every process is forked from there, before any of them starts it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from empatheia_jax.errors import UserError, leave, main_guard
from empatheia_jax.parallel import distributed


@main_guard
def main(port: int, process: int, victim: int, way: str) -> int:
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


def become_one(folder: Path, cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Forks a process for each case, and returns in those; the first process waits for all of them and ends here."""
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # nothing of JAX runs yet
    started = {}
    for case in cases:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(folder / case["name"], os.O_WRONLY | os.O_CREAT), 2)
            os.environ.update(case["environment"])
            return case
        started[pid] = case["name"]
    codes = {}
    while started:
        pid, status = os.wait()
        codes[started.pop(pid)] = os.waitstatus_to_exitcode(status)
    (folder / "codes.json").write_text(json.dumps(codes))
    os._exit(0)


if __name__ == "__main__":
    mine = become_one(Path(sys.argv[1]), json.loads(sys.argv[2]))
    leave(main(mine["port"], mine["process"], mine["victim"], mine["way"]))
