"""Launchers are recognised by their variables alone, and processes of a run end together, with a line and a known exit code."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import pytest
from jax._src import cloud_tpu_init
from jax._src.clusters import cloud_tpu_cluster

from empatheia_jax import errors
from empatheia_jax.errors import UserError
from empatheia_jax.parallel import distributed, launcher

ROOT = Path(__file__).resolve().parents[2]


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
    assert launcher.detect(environment) == expected


def test_half_a_set_of_variables_is_an_error():
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES, JAX_PROCESS_ID"):
        launcher.detect({"JAX_COORDINATOR_ADDRESS": "h:1"})


JAX = {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:29999", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({**JAX, "JAX_NUM_PROCESSES": "abc"}, "JAX_NUM_PROCESSES='abc'"),
        ({**JAX, "JAX_NUM_PROCESSES": "0"}, "JAX_NUM_PROCESSES='0'"),
        ({**JAX, "JAX_PROCESS_ID": "5"}, "JAX_PROCESS_ID=5"),
        ({**JAX, "JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID='-1'"),
        ({**JAX, "JAX_COORDINATOR_ADDRESS": "nonsense"}, "'nonsense'"),
        ({**JAX, "JAX_COORDINATOR_ADDRESS": "host:99999"}, "'host:99999'"),
        ({**JAX, "JAX_COORDINATOR_ADDRESS": ":1234"}, "':1234'"),
        ({"SLURM_NTASKS": ""}, "SLURM_NTASKS=''"),
        ({"SLURM_STEP_NUM_TASKS": "2(x3)"}, "SLURM_STEP_NUM_TASKS='2\\(x3\\)'"),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "x"}, "SLURM_PROCID='x'"),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "2"}, "SLURM_PROCID=2"),
        ({"MEGASCALE_NUM_SLICES": ""}, "MEGASCALE_NUM_SLICES=''"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(environment, named):
    with pytest.raises(UserError, match=named):
        launcher.detect(environment)


# ---------------------------------------------------------------- as processes of their own

ENDS = {
    # (way, victim) → exit codes of process 0 and 1, and what the survivor's last line says
    ("kill", 0): ((-9, 75), "lost a peer"),
    ("kill", 1): ((75, -9), "lost a peer"),
    ("error", 0): ((2, 2), "process 0 of 2 ended with exit code 2"),
    ("error", 1): ((2, 2), "process 1 of 2 ended with exit code 2"),
    ("bug", 1): ((1, 1), "process 1 of 2 ended with exit code 1"),
    ("interrupt", 1): ((130, 130), "process 1 of 2 was interrupted"),
    ("late", 1): ((0, 0), ""),
    ("alone", 0): ((75,), "not all processes came together"),  # its peer never comes
    ("alone", 1): ((75,), "not all processes came together"),
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """(way, victim) → [(exit code, standard error)]; all pairs run at the same time."""
    folder = tmp_path_factory.mktemp("ended")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # what native code says must not hide the last line
    names, cases = {}, []
    for way, victim in ENDS:
        port, alone = free_port(), way == "alone"
        names[way, victim] = [f"{way}-{victim}-{number}" for number in ((victim,) if alone else (0, 1))]
        for name in names[way, victim]:
            case = {"name": name, "port": port, "process": int(name[-1]), "victim": victim, "way": way}
            cases.append({**case, "environment": {"EMPATHEIA_JOIN_SECONDS": "4" if alone else "200"}})
    command = [sys.executable, "-m", "tests.parallel.ends", str(folder), json.dumps(cases)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=240)
    codes = json.loads((folder / "codes.json").read_text())
    return {
        case: [(codes[name], (folder / name).read_text(errors="replace")) for name in processes]
        for case, processes in names.items()
    }


@pytest.mark.parametrize("case", ENDS, ids=lambda case: f"{case[0]} {case[1]}")
def test_processes_end_together_with_a_line_and_a_known_exit_code(ended, case):
    codes, line = ENDS[case]
    assert tuple(code for code, _ in ended[case]) == codes, ended[case]
    survivor = ended[case][0 if case[0] == "alone" else 1 - case[1]][1]
    assert "Check failure stack trace" not in survivor
    last = (survivor.strip().splitlines() or [""])[-1]
    assert line in last and (not line or last.startswith("error: ")), survivor


def test_a_process_that_ends_says_why_itself(ended):
    assert "error: the disk is full" in ended["error", 1][1][1]
    assert "ZeroDivisionError: a bug" in ended["bug", 1][1][1]
    assert ended["interrupt", 1][1][1].strip().endswith("interrupted")


GLOO = "UNKNOWN: Gloo AllGather failed: [gloo/transport/tcp/pair.cc:538] Read error: Connection reset by peer"
DISK = 'UNKNOWN: Error writing local file "/run/checkpoints/coe/2/x": [OS error 5: EIO Input/output error]'


def _from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (jax.errors.JaxRuntimeError(GLOO), 75),  # a result was waited for
        (ValueError(GLOO), 75),  # a program was started
        (_from(RuntimeError("the checkpoint could not be written"), ValueError(GLOO)), 75),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), 1),
        (ValueError("INVALID_ARGUMENT: a shape"), 1),
        (ValueError("expected 3 rows"), 1),
        (_from(UserError("the folder is damaged"), ValueError("bad header")), 2),
        (_from(UserError("write failed: step 2 was not saved"), ValueError(GLOO)), 75),  # a save was under way
        (_from(UserError("write failed: step 2 was not saved"), ValueError(DISK)), 2),
    ],
)
def test_a_collective_that_loses_its_peer_is_told_from_a_bug(error, code):
    assert distributed._last_words(error)[1] == code


def test_the_process_that_ends_first_notes_its_exit_code(tmp_path, monkeypatch):
    monkeypatch.setenv(errors.EXIT_FILE, str(tmp_path / "exit-code"))
    for code in (2, 75):
        with pytest.raises(SystemExit):
            errors.leave(code)
    assert (tmp_path / "exit-code").read_text() == "2\n"


@pytest.fixture
def metadata(monkeypatch):
    """The metadata server of a Cloud TPU VM, which answers what a test puts into the dictionary."""
    answers: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            value = answers.get(self.path.rsplit("/", 1)[-1])
            known = value is not None and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write((value or "").encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{server.server_port}")
    for name in ("JAX_COORDINATOR_ADDRESS", "SLURM_NTASKS", "TPU_WORKER_HOSTNAMES", "TPU_SKIP_MDS_QUERY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cloud_tpu_init, "running_in_cloud_tpu_vm", True)
    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    yield answers
    server.shutdown()


@pytest.mark.parametrize(
    ("hosts", "found"), [("a:0:10.0.0.1,b:1:10.0.0.2", "tpu"), ("t-w-0,t-w-1", "tpu"), ("t-w-0", None)]
)
def test_a_tpu_vm_asks_its_metadata_server_for_its_peers(metadata, hosts, found):
    metadata |= {"agent-worker-number": "0", "worker-network-endpoints": hosts, "tpu-env": "ZONE: 'z'\n"}
    assert launcher.detect() == found


def test_another_machine_asks_nobody(monkeypatch):
    monkeypatch.setenv("GCE_METADATA_IP", "127.0.0.1:1")  # nobody listens there
    assert launcher.cloud_tpu_hosts() == 1


def test_a_metadata_server_that_makes_no_sense_is_one_line(metadata):
    metadata |= {"agent-worker-number": "0", "worker-network-endpoints": "a:b", "tpu-env": ""}
    with pytest.raises(UserError, match="does not say which hosts belong together") as caught:
        launcher.detect()
    assert "\n" not in str(caught.value)
