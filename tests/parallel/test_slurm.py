"""`scripts/slurm_a100.sh` under a real SLURM of one node with fake GPUs. `EMPATHEIA_SLURM=1` runs it: minutes of waiting.

The ends of a job are tried with shell programs in the place of Python, and then with real trainings of 2 and of 8 processes.
Needs root and Debian's `slurm-wlm`. Nothing of the machine's own SLURM is read: files, ports and authentication are the test's.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
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
AuthInfo=cred_expire=5
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


class Slurm:
    """A SLURM of one node: `submit` starts the script, `call` runs a command of SLURM's."""

    def __init__(self, root: Path):
        self.root, host = root, socket.gethostname().split(".")[0]
        for name in ("spool", "state"):
            (root / name).mkdir()
        (root / "slurm.conf").write_text(CONF.format(root=root, host=host, ports=(_free_port(), _free_port())))
        (root / "gres.conf").write_text(f"NodeName={host} Name=gpu File={root}/gpu[0-7]\n")
        for number in range(8):
            (root / f"gpu{number}").touch()
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(root / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        self._daemons = []
        for name in ("slurmctld", "slurmd"):
            with open(root / f"{name}.err", "w") as said:
                self._daemons.append(subprocess.Popen([name, "-D"], env=self.environment, cwd=root, stderr=said))

    def call(self, *command: str, **more: str) -> str:
        """What a command prints; a controller that is busy is asked again."""
        for _ in range(5):
            done = subprocess.run(
                command, env=self.environment | more, capture_output=True, text=True, timeout=120, cwd=ROOT
            )
            if done.returncode == 0:
                break
            time.sleep(2)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, name: str, python: str, tasks: int, limits: list[str], flags: list[str], **more: str) -> str:
        """The number of the job. Its folder is `root/name`: `python` (the text of a program that stands for Python), `log`."""
        folder = self.root / name
        folder.mkdir()
        (folder / "python").write_text(f"#!/bin/bash\necho start >>{folder}/starts\n{python}\n")
        (folder / "python").chmod(0o755)
        size = [f"--ntasks-per-node={tasks}", "--gpus-per-node=1", "--cpus-per-task=1", f"--output={folder}/log"]
        flags = [f"--workdir={folder}/run", *flags]
        said = self.call("sbatch", *size, *limits, "scripts/slurm_a100.sh", *flags, PYTHON=f"{folder}/python", **more)
        return said.split()[-1]

    def show(self, job: str) -> dict[str, str]:
        """What SLURM says of a job."""
        pairs = (each.partition("=") for each in self.call("scontrol", "show", "job", job).split())
        return {key: value for key, _, value in pairs}

    def state(self, job: str) -> tuple[str, str]:
        """A job's state, and how often it was started again."""
        said = self.show(job)
        return said["JobState"], said["Restarts"]

    def log(self, name: str) -> str:
        """What a job printed."""
        path = self.root / name / "log"
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        """Ends all jobs, and then the daemons: `slurmd` waits for the processes of its jobs."""
        subprocess.run(["scancel", "--full", f"--user={getpass.getuser()}"], env=self.environment, timeout=60)
        until(lambda: not self.call("squeue", "--noheader").strip(), 60)
        for daemon in self._daemons:
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons:
            try:
                daemon.wait(60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def until(happened: Callable[[], bool], seconds: float) -> bool:
    """Waits; whether it happened in that time."""
    end = time.monotonic() + seconds
    while not (done := happened()) and time.monotonic() < end:
        time.sleep(0.5)
    return done


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    ours = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        until(lambda: "idle" in ours.call("sinfo"), 60)
        yield ours
    finally:
        ours.close()


def test_every_end_of_eight_processes_is_understood(slurm):
    jobs = {}
    for name, text in ENDS.items():
        # The others must not meet the limit: on a busy machine eight processes need some seconds to start at all.
        limits = ["--time=1", "--signal=B:USR1@50"] if "limit" in name else ["--time=30"]
        flags = ["--config=configs/debug.py"]
        jobs[name] = slurm.submit(name.replace(" ", "-"), text, 8, limits, flags, GRACE_SECONDS="2")
    ends = {"user error": ("FAILED", "0"), "done": ("COMPLETED", "0")}
    found: dict[str, tuple[str, str]] = {}

    def as_wanted() -> bool:
        found.update({name: slurm.state(jobs[name]) for name in ENDS})
        again = all(int(found[name][1]) >= 1 for name in ENDS if name not in ends)  # they start again and again
        return again and all(found[name] == end for name, end in ends.items())

    assert until(as_wanted, 300), (found, {name: slurm.log(name.replace(" ", "-")) for name in ENDS})
    for name in ("user-error", "done"):
        assert (slurm.root / name / "starts").read_text().count("start") == 8
    assert "did not stop before the time limit" in slurm.log("time-limit-in-a-compilation")
    for name in ENDS:
        if name not in ends:
            slurm.call("scancel", jobs[name])


TRAINING = """export JAX_PLATFORMS=cpu OMP_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false EMPATHEIA_JOIN_SECONDS=900
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
echo $$ >{folder}/pid-$SLURM_PROCID
exec nice -n 8 {python} "$@"
"""
STAGES = ("coe", "content", "style", "joint")


@pytest.mark.parametrize("ranks", [2, 8])
def test_a_training_ends_as_it_should_whatever_happens_to_it(slurm, ranks):
    """A user's error ends it once. A process is killed, then the time limit comes near: each time it goes on. It ends with 0."""
    values = {"batch": 8, "accumulation": 1, "save_every": 1, "steps": 3}
    flags = ["--config=configs/debug.py", f"--config.schedule={','.join(STAGES)}", "--config.mesh.data=-1"]
    flags += [f"--config.{stage}.{key}={value}" for stage in STAGES for key, value in values.items()]

    def submit(name: str, *more: str) -> str:
        text = TRAINING.format(folder=slurm.root / name, python=sys.executable)
        return slurm.submit(name, text, ranks, ["--time=120"], [*flags, *more], GRACE_SECONDS="300")

    wrong, right = f"wrong-{ranks}", f"right-{ranks}"
    job = submit(wrong, "--config.data.path=nowhere")
    assert until(lambda: slurm.state(job)[0] not in ("PENDING", "RUNNING", "COMPLETING"), 900), slurm.log(wrong)
    assert slurm.state(job) == ("FAILED", "0") and slurm.show(job)["ExitCode"] == "2:0", slurm.log(wrong)
    assert slurm.log(wrong).count("error: data.path=") >= 1 or "nowhere" in slurm.log(wrong)

    job, run = submit(right), slurm.root / right / "run"

    def steps() -> list[tuple[str, int]]:
        path = run / "metrics" / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [(line["stage"], line["step"]) for line in lines if "loss" in line]

    assert until(lambda: len(steps()) >= 2, 1500), slurm.log(right)
    os.kill(int((slurm.root / right / f"pid-{ranks - 1}").read_text()), signal.SIGKILL)
    assert until(lambda: slurm.state(job)[1] == "1", 300), slurm.log(right)
    before = len(steps())
    assert until(lambda: len(steps()) > before, 1500), slurm.log(right)
    slurm.call("scancel", "--batch", "--signal=USR1", job)  # as SLURM does before the limit (`--signal=B:USR1@120`)
    assert until(lambda: slurm.state(job)[1] == "2", 600), slurm.log(right)
    assert until(lambda: slurm.state(job)[0] not in ("PENDING", "RUNNING", "COMPLETING"), 1500), slurm.log(right)
    assert slurm.state(job) == ("COMPLETED", "2") and slurm.show(job)["ExitCode"] == "0:0", slurm.log(right)
    assert (run / "report.html").is_file() and {stage for stage, _ in steps()} == set(STAGES)
    assert (slurm.root / right / "starts").read_text().count("start") == 3 * ranks
