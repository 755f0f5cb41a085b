"""The launch files are valid shell, call what they say, and know what the end of a run means."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tarfile
import time
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--config=configs/joint.py", "--workdir=/shared/a run"]
SCRIPTS = {
    "slurm_a100.sh": ([], ["srun", ".venv/bin/python launch.py", "--config=configs/joint.py"]),
    "tpu_pod.sh": (
        ["pod", "us-east5-a", "v5p-128"],
        [
            "tpu-vm create pod",
            "--accelerator-type=v5p-128",
            "--version=v2-alpha-tpuv5",
            "--worker=all",
            "launch.py",
            "gcsfuse",
        ],
    ),
    "tpu_xpk.sh": (
        ["cluster", "v6e-16", "gcr.io/x/y"],
        ["xpk workload create", "--tpu-type=v6e-16", "--max-restarts=20", "launch.py"],
    ),
}


def run(name, *arguments, cwd=ROOT, **environment):
    return subprocess.run(
        ["bash", ROOT / "scripts" / name, *arguments],
        cwd=cwd,
        env={**os.environ, "SHARED": "gs://bucket", **environment},
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


@pytest.mark.parametrize("name", ["tpu_pod.sh", "tpu_xpk.sh"])
def test_a_workdir_that_is_no_folder_is_refused_before_anything_is_rented(name):
    result = run(name, *SCRIPTS[name][0], FLAGS[0], "--workdir=gs://bucket/run", DRY_RUN="1")
    assert result.returncode == 2 and "gs://bucket/run" in result.stderr and not result.stdout


def test_a_pod_without_a_place_that_all_hosts_share_is_refused():
    result = run("tpu_pod.sh", *SCRIPTS["tpu_pod.sh"][0], *FLAGS, DRY_RUN="1", SHARED="")
    assert result.returncode == 2 and "gs://BUCKET or HOST:/SHARE" in result.stderr


def test_weights_and_data_are_copied_to_where_all_hosts_see_them():
    arguments, upload = [*SCRIPTS["tpu_pod.sh"][0], *FLAGS], "weights data/avamerg"
    bucket = run("tpu_pod.sh", *arguments, DRY_RUN="1", UPLOAD=upload).stdout
    assert "gcloud storage rsync --recursive data/avamerg gs://bucket/data/avamerg" in bucket
    share = run("tpu_pod.sh", *arguments, DRY_RUN="1", UPLOAD=upload, SHARED="10.0.0.2:/share").stdout
    assert "scp --recurse weights pod:/mnt/shared/weights" in share
    assert share.index("mount -t nfs") < share.index("scp --recurse") < share.index("launch.py")


def test_a_pod_gets_the_checkout_as_it_lies_here(tmp_path):
    folder = tmp_path / "a checkout"
    (folder / "configs").mkdir(parents=True)
    for name, text in (("launch.py", "old"), ("gone.py", ""), (".gitignore", "/weights/\n"), ("configs/joint.py", "")):
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    (folder / "launch.py").write_text("changed")
    (folder / "gone.py").unlink()
    (folder / "weights").mkdir()
    for name in ("configs/my config.py", "weights/large.py", "film.mp4"):
        (folder / name).touch()
    (tmp_path / "gcloud").write_text(f'#!/usr/bin/env bash\n[ "$4" != scp ] || cp "$5" "{tmp_path}/arrived"\n')
    (tmp_path / "gcloud").chmod(0o755)
    arguments = [*SCRIPTS["tpu_pod.sh"][0], *FLAGS]
    done = run("tpu_pod.sh", *arguments, cwd=folder, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "arrived") as archive:
        assert set(archive.getnames()) == {".gitignore", "launch.py", "configs/joint.py", "configs/my config.py"}
        assert archive.extractfile("launch.py").read() == b"changed"
    elsewhere = run("tpu_pod.sh", *arguments, cwd=tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert elsewhere.returncode == 2 and "is no checkout" in elsewhere.stderr


def test_the_image_of_a_workload_is_the_dockerfiles_and_has_extras_that_exist():
    made = run("tpu_xpk.sh", *SCRIPTS["tpu_xpk.sh"][0], *FLAGS, DRY_RUN="1", BUILD="1").stdout
    assert "docker build --target=tpu --tag=gcr.io/x/y" in made and "docker push gcr.io/x/y" in made
    text = (ROOT / "Dockerfile").read_text()
    assert {"cuda", "tpu"} <= set(re.findall(r"FROM base AS (\w+)", text))
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = {each for found in re.findall(r"\.\[(.*?)\]", text) for each in found.split(",")}
    assert {each.replace("${CUDA}", "cuda12") for each in wanted} <= set(setup["options.extras_require"])
    for path in (path for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for path in line.split()[:-1]):
        assert (ROOT / path).exists(), path


CONTAINER = """({command}) & pid=$!
trap 'kill -TERM $pid' TERM
while kill -0 $pid 2>/dev/null; do sleep 0.1; done
wait $pid
"""
"""How xpk runs a command: in a subshell of its own shell, which gets the signal of Kubernetes."""


@pytest.mark.parametrize(
    ("python", "stopped", "code"),
    [
        ("exit 0", False, 0),
        ("exit 2", False, 2),
        ("exit 75", False, 75),  # a peer is lost
        # a preemption: what is saved is not yet done, and Kubernetes takes 0 for done
        (
            "trap 'echo 0 stopped by SIGTERM >\"$EMPATHEIA_EXIT_FILE\"; exit 0' TERM; touch ready; while :; do sleep 0.1; done",
            True,
            75,
        ),
    ],
)
def test_a_container_that_a_preemption_stops_is_started_again(tmp_path, python, stopped, code):
    words = shlex.split(run("tpu_xpk.sh", *SCRIPTS["tpu_xpk.sh"][0], *FLAGS, DRY_RUN="1").stdout)
    assert "--restart-on-exit-codes=75" in words  # xpk's own are 42 and from 127 on
    (command,) = (word.removeprefix("--command=") for word in words if word.startswith("--command="))
    assert "\n" not in command and not set("{}") & set(command)
    (tmp_path / "python").write_text(f'#!/usr/bin/env bash\n[ "$3" = "{FLAGS[1]}" ] || exit 9\n{python}\n')
    (tmp_path / "python").chmod(0o755)
    command = command.replace("/app", str(tmp_path)).replace("/tmp/exit-code", str(tmp_path / "exit-code"))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    container = subprocess.Popen(["bash", "-c", CONTAINER.format(command=command)], env=environment)
    try:
        if stopped:
            end = time.monotonic() + 60
            while not (tmp_path / "ready").exists() and time.monotonic() < end:
                time.sleep(0.05)
            container.send_signal(signal.SIGTERM)
        assert container.wait(60) == code
    finally:
        container.kill()


# ---------------------------------------------------------------- the end of a run, by a stub of the scheduler

SRUN = """#!/usr/bin/env bash
shift  # --kill-on-bad-exit=1
for rank in 0 1; do SLURM_PROCID=$rank "$@"; done
[ -z "${SRUN_CODE:-}" ] || exit "$SRUN_CODE"
exit "$(cut -d" " -f1 "$EMPATHEIA_EXIT_FILE" 2>/dev/null || echo 0)"
"""
PYTHON = """#!/usr/bin/env bash
echo "$SLURM_PROCID $*" >>"$LOG"
env | grep -E "^SRUN_CPUS_PER_TASK=" >>"$LOG"
[ -z "${NOTES:-}" ] || [ -e "$EMPATHEIA_EXIT_FILE" ] || echo "$NOTES" >"$EMPATHEIA_EXIT_FILE"
"""
SCONTROL = """#!/usr/bin/env bash
echo "scontrol $*" >>"$LOG"
"""


@pytest.fixture
def cluster(tmp_path):
    """`job(…)` runs the batch file with stubs; gives its exit code, whether the job was put into the queue again, and the log."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("python", PYTHON)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def job(**environment):
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        workdir = f"--workdir={tmp_path / 'a run'}"
        variables = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "LOG": str(log),
            "SLURM_JOB_ID": "7",
            "PYTHON": "python",
        }
        result = run("slurm_a100.sh", FLAGS[0], workdir, **{**variables, **environment})
        text = log.read_text() if log.exists() else ""
        return result.returncode, "scontrol requeue 7" in text, text + result.stderr

    return job


@pytest.mark.parametrize(
    ("environment", "code", "again"),
    [
        ({}, 0, False),  # done
        ({"NOTES": "2"}, 2, False),  # a user's error
        ({"NOTES": "1"}, 1, False),
        ({"NOTES": "130"}, 130, False),  # interrupted by a person
        ({"NOTES": "2", "SRUN_CODE": "137"}, 2, False),  # the first process decides, not those that srun then killed
        ({"NOTES": "75"}, 75, True),
        ({"NOTES": "75", "SRUN_CODE": "137"}, 137, True),  # one was killed, the others missed it
        ({"SRUN_CODE": "137"}, 137, True),  # all were killed
        ({"NOTES": "0 stopped by SIGTERM", "SRUN_CODE": "0"}, 0, True),  # the time limit, a preemption
        ({"NOTES": "75", "SLURM_RESTART_COUNT": "20"}, 75, False),
        ({"NOTES": "75", "SLURM_RESTART_COUNT": "2", "MAX_RESTARTS": "2"}, 75, False),
        ({"NOTES": "0 stopped by SIGTERM", "SRUN_CODE": "0", "SLURM_RESTART_COUNT": "20"}, 0, True),
    ],
)
def test_the_process_that_ended_first_decides_what_becomes_of_the_job(cluster, environment, code, again):
    found, requeued, log = cluster(**environment)
    assert (found, requeued) == (code, again), log
    assert "0 launch.py --config=configs/joint.py --workdir=" in log and "a run\n" in log


WAITING_SRUN = """#!/usr/bin/env bash
exec >/dev/null 2>&1  # so that the test does not wait for its end
trap '%s' TERM
echo $$ >"$LOG.srun"
for _ in $(seq 50); do sleep 0.1; done
"""
SCANCEL = """#!/usr/bin/env bash
echo "scancel $*" >>"$LOG"
kill -TERM "$(cat "$LOG.srun")"
"""


@pytest.mark.parametrize(
    ("at_term", "restarts", "code", "again"),
    [
        ('echo "0 stopped by SIGTERM" >"$EMPATHEIA_EXIT_FILE"; exit 0', "0", 0, True),  # between two steps
        ("exit 143", "0", 143, True),  # before Python catches signals
        (":", "0", 143, True),  # inside a compilation nothing answers
        (":", "20", 143, False),  # a limit that is shorter than the compilation does not go on for ever
    ],
)
def test_a_time_limit_is_survived_whatever_the_processes_do(cluster, tmp_path, at_term, restarts, code, again):
    (tmp_path / "srun").write_text(WAITING_SRUN % at_term)
    (tmp_path / "scancel").write_text(SCANCEL)
    (tmp_path / "scancel").chmod(0o755)
    # The shell hears SIGUSR1 as SLURM sends it: as soon as srun runs.
    (tmp_path / "warn").write_text('while [ ! -s "$LOG.srun" ]; do sleep 0.05; done; kill -USR1 "$1"')
    starts = 'bash "$(dirname "$0")/warn" $$ &\nsource "$REAL" "$@"'
    (tmp_path / "job.sh").write_text(starts)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "REAL": str(ROOT / "scripts" / "slurm_a100.sh"),
        "SLURM_JOB_ID": "7",
        "SLURM_RESTART_COUNT": restarts,
        "PYTHON": "python",
        "GRACE_SECONDS": "1",
    }
    command = ["bash", tmp_path / "job.sh", FLAGS[0], f"--workdir={tmp_path / 'a run'}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=ROOT)
    log = (tmp_path / "log").read_text()
    assert (done.returncode, "scontrol requeue 7" in log) == (code, again), log + done.stderr
    assert log.startswith("scancel --signal=TERM 7\n")


def test_slurm_tells_the_shell_and_not_the_processes():
    assert "#SBATCH --signal=B:USR1@120\n" in (ROOT / "scripts" / "slurm_a100.sh").read_text()


def test_the_cores_of_a_task_reach_srun_and_an_old_exit_code_is_forgotten(cluster):
    assert cluster(NOTES="2", SLURM_CPUS_PER_TASK="8")[0] == 2
    code, _, log = cluster(SLURM_CPUS_PER_TASK="8")
    assert code == 0 and "SRUN_CPUS_PER_TASK=8" in log


def test_without_srun_or_python_one_line_says_so(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "mkdir", "rm"):
        (tools / name).symlink_to(f"/bin/{name}")
    result = run("slurm_a100.sh", *FLAGS, PATH=str(tools))
    assert result.returncode == 2 and result.stderr.startswith("error: there is no srun")
    (tools / "srun").symlink_to("/bin/true")
    result = run("slurm_a100.sh", *FLAGS, PATH=str(tools), cwd=tmp_path)
    assert result.returncode == 2 and "no .venv/bin/python" in result.stderr


def test_outside_of_a_job_one_line_says_so(cluster):
    code, again, log = cluster(SLURM_JOB_ID="")
    assert code == 2 and not again and log.startswith("error: this is no job of SLURM")
