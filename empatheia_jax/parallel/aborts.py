"""Turns the end that JAX's runtime gives a process whose peers are gone into one line and an exit code.

The runtime's coordination client writes a message and a C++ stack to the error stream and calls `abort()`, from a thread of its
own. JAX offers no other way (its callback for a missed heartbeat cannot be written in Python). So the error stream of native code
is read here, passed on line by line, and swallowed from that message on; and a handler of SIGABRT leaves in its place. Any other
abort stays what it is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

MESSAGE = b"JAX distributed service detected fatal errors"
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_kept: list[object] = []  # the handler must outlive this module's frames


def take_over(leave: Callable[[], None]) -> None:
    """From now on `leave` is called, in the aborting thread, when the runtime would abort the process for want of its peers.

    Call it once. Python's own error stream is not touched; native code's passes through a pipe.
    """
    end, writer = os.pipe()
    original = os.dup(2)
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    os.dup2(writer, 2)
    os.close(writer)
    fatal = threading.Event()

    def forward() -> None:
        with os.fdopen(end, "rb") as lines:
            for line in lines:
                if MESSAGE in line:
                    fatal.set()
                if not fatal.is_set():
                    os.write(original, line)

    owner = os.getpid()
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, _HANDLER]

    def aborted(_: int) -> None:
        if os.getpid() == owner and fatal.wait(1.0):
            leave()
        time.sleep(0.2)  # lets the last words of another abort pass
        signal_default = ctypes.cast(0, _HANDLER)
        libc.signal(signal.SIGABRT, signal_default)
        os.kill(os.getpid(), signal.SIGABRT)

    handler = _HANDLER(aborted)
    _kept.append(handler)
    threading.Thread(target=forward, name="native errors", daemon=True).start()
    libc.signal(signal.SIGABRT, handler)
