"""`scripts/slurm_a100.sh` under a real SLURM of one node with fake GPUs. `EMPATHEIA_SLURM=1` runs it: a minute of waiting.

Needs root and Debian's `slurm-wlm`. Nothing of the machine's own SLURM is read: files, ports and authentication are the test's.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = all(
    shutil.which(each, path=f"{os.environ['PATH']}:/usr/sbin") for each in ("sbatch", "slurmctld", "slurmd")
)
pytestmark = pytest.mark.skipif(
    not (os.environ.get("EMPATHEIA_SLURM") and INSTALLED and getpass.getuser() == "root"),
    reason="needs EMPATHEIA_SLURM=1, slurm-wlm and root",
)
CONF = """ClusterName=test
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmUser=root
SlurmctldPidFile={root}/ctld.pid
SlurmdPidFile={root}/d.pid
SlurmdSpoolDir={root}/spool
StateSaveLocation={root}/state
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
KillWait=5
SlurmdParameters=config_overrides
SlurmctldLogFile={root}/ctld.log
SlurmdLogFile={root}/d.log
NodeName={host} CPUs=64 Sockets=1 CoresPerSocket=64 ThreadsPerCore=1 RealMemory=1000 Gres=gpu:8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
ENDS = {
    "user error": '[ $SLURM_PROCID = 3 ] || sleep 100; echo "2 said" >"$EMPATHEIA_EXIT_FILE"; exit 2',
    "killed": "[ $SLURM_PROCID = 3 ] || sleep 100; kill -KILL $$",
    "time limit in a compilation": "trap '' TERM; for second in $(seq 200); do sleep 1; done",
    "time limit between steps": 'trap \'echo "0 stopped by SIGTERM" >"$EMPATHEIA_EXIT_FILE"; exit 0\' TERM; '
    "for second in $(seq 200); do sleep 1; done",
    "done": "exit 0",
}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """`sbatch(name, text)` submits the script with a program in the place of Python; `show(job)` gives what SLURM says of it."""
    root, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    (root / "spool").mkdir()
    (root / "state").mkdir()
    (root / "slurm.conf").write_text(CONF.format(root=root, host=host, ports=(_free_port(), _free_port())))
    (root / "gres.conf").write_text(f"NodeName={host} Name=gpu File={root}/gpu[0-7]\n")
    for number in range(8):
        (root / f"gpu{number}").touch()
    environment = {
        **os.environ,
        "SLURM_CONF": str(root / "slurm.conf"),
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "GRACE_SECONDS": "2",
    }

    def call(*command: str, **more: str) -> str:
        done = subprocess.run(command, env=environment | more, capture_output=True, text=True, timeout=60, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    daemons = [subprocess.Popen([name, "-D"], env=environment, cwd=root) for name in ("slurmctld", "slurmd")]

    def sbatch(name: str, text: str) -> str:
        folder = root / name.replace(" ", "-")
        folder.mkdir()
        (folder / "python").write_text(f"#!/bin/bash\necho start >>{folder}/starts\n{text}\n")
        (folder / "python").chmod(0o755)
        size = ["--ntasks-per-node=8", "--gpus-per-node=1", "--cpus-per-task=1"]
        limit = ["--time=1", "--signal=B:USR1@50", f"--output={folder}/log"]
        flags = ["--config=configs/debug.py", f"--workdir={folder}/run"]
        said = call("sbatch", *size, *limit, "scripts/slurm_a100.sh", *flags, PYTHON=f"{folder}/python")
        return said.split()[-1]

    def show(job: str) -> dict[str, str]:
        pairs = (each.partition("=") for each in call("scontrol", "show", "job", job).split())
        return {key: value for key, _, value in pairs}

    try:
        for _ in range(100):
            if "idle" in subprocess.run(["sinfo"], env=environment, capture_output=True, text=True).stdout:
                break
            time.sleep(0.3)
        yield sbatch, show, root
    finally:
        subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment, timeout=60)
        time.sleep(2)
        for daemon in daemons:
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            daemon.wait(30)


def test_every_end_of_eight_processes_is_understood(slurm):
    sbatch, show, root = slurm
    jobs = {name: sbatch(name, text) for name, text in ENDS.items()}
    wanted = {
        "user error": ("FAILED", "0"),
        "done": ("COMPLETED", "0"),
        **{name: ("PENDING", "1") for name in ENDS if name not in ("user error", "done")},
    }
    found: dict[str, tuple[str, str]] = {}
    for _ in range(400):
        for name in wanted.keys() - {
            each for each in found if found[each] == wanted[each]
        }:  # a job that waits starts again later
            said = show(jobs[name])
            found[name] = said["JobState"], said["Restarts"]
        if found == wanted:
            break
        time.sleep(0.5)
    logs = {name: (root / name.replace(" ", "-") / "log") for name in jobs}
    logs = {name: path.read_text() if path.exists() else "" for name, path in logs.items()}
    assert found == wanted, (found, logs)
    for name in ("user error", "done"):
        assert (root / name.replace(" ", "-") / "starts").read_text().count("start") == 8
    assert "did not stop before the time limit" in logs["time limit in a compilation"]
