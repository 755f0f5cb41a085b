"""One training at a time in a run's folder; the lock dies with its process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from empatheia_jax.errors import UserError
from empatheia_jax.runs import lock
from empatheia_jax.runs.lock import Lock
from tests.conftest import ROOT

HOLD = """
import sys, time
from empatheia_jax.runs.lock import Lock
with Lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_refused_and_told_by_whom_until_the_first_is_killed(tmp_path, holder):
    with pytest.raises(UserError, match=f"in use by another training: process {holder.pid} on {socket.gethostname()}"):
        Lock(tmp_path).__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with Lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        with pytest.raises(UserError, match=f"process {os.getpid()}"):
            Lock(tmp_path).__enter__()
    with Lock(tmp_path):
        pass


def test_who_is_refused_within_a_process_does_not_give_its_lock_up(tmp_path):
    with Lock(tmp_path):
        for path in (tmp_path, tmp_path / "."):
            with pytest.raises(UserError, match=f"process {os.getpid()}"):
                Lock(path).__enter__()
        other = subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
        assert other.returncode != 0 and f"in use by another training: process {os.getpid()}" in other.stderr


def refused(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def test_where_the_file_system_refuses_locks_the_note_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "lockf", refused)
    here = {"host": socket.gethostname(), "since": "now", "command": "train"}
    alive = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        note = {**here, "pid": alive.pid, "began": lock._began(alive.pid)}
        (tmp_path / "lock").write_text(json.dumps(note))
        with pytest.raises(UserError, match=f"process {alive.pid}"):
            Lock(tmp_path).__enter__()
        (tmp_path / "lock").write_text(json.dumps({**note, "began": "1"}))  # another process with its number
        with Lock(tmp_path):
            pass
    finally:
        alive.kill()
        alive.wait()
    (tmp_path / "lock").write_text(json.dumps({**here, "host": "elsewhere", "pid": 1}))
    with pytest.raises(UserError, match="on elsewhere"):
        Lock(tmp_path).__enter__()
    long_ago = time.time() - lock.SILENT - 1
    os.utime(tmp_path / "lock", (long_ago, long_ago))
    with Lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_said_before_anything_else(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Lock(tmp_path / "file").__enter__()
