"""One training at a time in a run's folder: a lock that dies with its process.

The lock is POSIX's on a byte of the file `lock` (`fcntl.lockf`): the kernel gives it up with the process, however that ends,
and child processes do not hold it. NFS keeps such locks for all clients of a share (version 4 by itself, version 3 through
lockd; not where it is mounted with `nolock` or `local_lock=all`). Where a file system refuses locks, the note in the file
decides: its process is looked up on the same machine, and on another one it counts as alive as long as it renews the file.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from empatheia_jax.errors import UserError

FILE = "lock"
RENEWED = 30.0
"""Seconds between two renewals of the note."""
SILENT = 300.0
"""Seconds after which a note of another machine is taken for that of a process that is gone."""
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_held: dict[str, dict[str, Any]] = {}
"""The locks of this process, path → note. A file among them is not opened again: closing it would give its lock up."""


class Lock:
    """Holds a run's folder: `with Lock(workdir): …`.

    Raises (when entered):
      UserError: another training holds it, which is named; or the folder cannot be made or written.
    """

    def __init__(self, workdir: str | os.PathLike):
        self.path = Path(workdir) / FILE
        self._file: IO[str] | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Lock:
        key = str(self.path.resolve())
        if key in _held:
            raise self._in_use(_held[key])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = open(self.path, "a+", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"the run's folder {self.path.parent} cannot be written ({error.strerror}); choose another --workdir"
            ) from None
        try:
            free = self._take(file)
        except OSError as error:
            file.close()
            raise UserError(f"{self.path} cannot be locked ({error.strerror}); choose another --workdir") from None
        if not free:
            holder = _holder(file)
            file.close()
            raise self._in_use(holder)
        self._file, self._key = file, key
        _held[key] = self._note()
        threading.Thread(target=self._renew, daemon=True, name="lock of the run").start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        _held.pop(self._key, None)
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()  # gives the lock up

    def _in_use(self, holder: dict[str, Any]) -> UserError:
        return UserError(
            f"{self.path.parent} is in use by {_told(holder)}; wait for its end, or choose another --workdir"
        )

    def _take(self, file: IO[str]) -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno not in _UNSUPPORTED:
                raise
        return not _alive(_holder(file), file)

    def _note(self) -> dict[str, Any]:
        if self._file is None:
            raise ValueError("a lock that is not held has no file to write into")
        note = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "began": _began(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": " ".join(sys.argv)[:300],
        }
        self._file.seek(0)
        self._file.truncate(0)
        self._file.write(json.dumps(note) + "\n")
        self._file.flush()
        return note

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            try:
                os.utime(self.path)
            except OSError:
                return


def _holder(file: IO[str]) -> dict[str, Any]:
    """The note of who holds the lock; empty where it cannot be read."""
    try:
        file.seek(0)
        note = json.loads(file.read(4096))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _told(note: dict[str, Any]) -> str:
    if not {"host", "pid"} <= note.keys():
        return "another training"
    return (
        f"another training: process {note['pid']} on {note['host']}, since {note.get('since')} ({note.get('command')})"
    )


def _alive(note: dict[str, Any], file: IO[str]) -> bool:
    """Whether the process of a note is still there, as far as can be seen from here."""
    if not {"host", "pid"} <= note.keys():
        return False
    if note["host"] == socket.gethostname():
        began = _began(note["pid"])  # another one may have got the number since
        return began is not None and began == note.get("began")
    return time.time() - os.fstat(file.fileno()).st_mtime < SILENT


def _began(pid: int) -> str | None:
    """When a process of this machine began, in the kernel's count; None where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
