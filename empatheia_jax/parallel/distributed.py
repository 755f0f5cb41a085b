"""Several processes, by `jax.distributed` alone: started once, and ended together. `parallel.launcher` finds them.

How a process ends: 0 done, or stopped by SIGTERM with everything saved; 2 a user's error; 1 a bug; 130 interrupted
(SIGINT); 75 (EX_TEMPFAIL) a peer is gone or did not come: start all again, the last checkpoint is good. A process that
ends with an error tells the others through the run's key-value store, and they end at once with the same code; one that is
killed is missed by the others within half a minute.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import jax

from empatheia_jax.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError, first_line, note_exit
from empatheia_jax.parallel import aborts
from empatheia_jax.parallel.launcher import detect, from_environment, number_of

EXIT_PEER_LOST = 75  # EX_TEMPFAIL: start the same command again
HEARTBEAT_SECONDS = 20
LINGER_SECONDS = 1.5
"""The key-value store ends with process 0, which therefore leaves last when an end is told."""
JOIN_SECONDS = 300
"""How long processes wait for each other at the start; `EMPATHEIA_JOIN_SECONDS` in the environment changes it."""
AGAIN = "start all processes again to go on from the last checkpoint"
T = TypeVar("T")
_FOREVER = 10**9  # milliseconds: peers that are gone are noticed by their heartbeats, not by a limit
_ENDED, _DONE = "empatheia_jax/ended", "done"
_leaving = threading.Lock()
_listeners: list[threading.Thread] = []


# ---------------------------------------------------------------- the beginning


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    heartbeat_timeout_seconds: int = HEARTBEAT_SECONDS,
    preemption: bool = True,
) -> bool:
    """Joins the processes of a run; returns whether there are several. Call before anything touches a device.

    Without arguments the launcher is detected (`launcher.detect`); SLURM's and TPU's variables are read by JAX itself.
    A process that is silent for `heartbeat_timeout_seconds` counts as lost, and the others end. `preemption`: JAX holds
    SIGTERM until the loop asks for it (`training.loop`); without it, SIGTERM ends a process.

    Raises:
      UserError: the variables of the launcher make no sense, or the coordinator's port is taken.
    """
    if coordinator is None:
        launcher = detect()
        if launcher is None:
            return False
        if launcher == "environment":
            coordinator, processes, process = from_environment(os.environ)
    seconds = number_of(os.environ, "EMPATHEIA_JOIN_SECONDS", default=JOIN_SECONDS)
    joined = threading.Event()

    def lost() -> None:
        if joined.is_set():
            leave(f"error: {_me()} lost a peer (it was killed, or its machine is gone); {AGAIN}", EXIT_PEER_LOST)
        where = "" if coordinator is None else f" at {coordinator}"
        leave(
            f"error: not all processes came together{where} within {seconds} s; see that all are started and that the "
            "address of process 0 can be reached from all machines; start all processes again",
            EXIT_PEER_LOST,
        )

    aborts.take_over(lost)
    jax.config.update("jax_enable_preemption_service", preemption)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=heartbeat_timeout_seconds,
        )
    except (ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"the processes cannot be joined ({first_line(error)}); correct the launcher's variables"
        ) from None
    joined.set()
    listener = threading.Thread(target=_hear, args=(lost,), name="peers", daemon=True)
    _listeners.append(listener)
    listener.start()
    jax.devices()  # all processes make theirs known together: one that only waits for others would keep them waiting
    _compile_alike()
    return True


def _compile_alike() -> None:
    """Several processes on CPUs compile every program anew.

    There JAX's key of a compiled program differs from process to process, and the first one alone keeps its programs. At a second
    start it would find its own and the others would compile. A program that was read back orders its independent collectives
    in another way than one that was compiled, so one process would wait in a sum while another waits in a gathering, for ever.
    """
    if jax.default_backend() == "cpu":
        jax.config.update("jax_enable_compilation_cache", False)


def _place() -> tuple[int, int]:
    """(number of this process, how many there are); `jax.process_index` would start the devices, together with the peers."""
    from jax._src.distributed import global_state

    return global_state.process_id, global_state.num_processes


def _me() -> str:
    number, count = _place()
    return f"process {number} of {count}"


# ---------------------------------------------------------------- the end


def leave(line: str, code: int, *, tell: bool = False) -> NoReturn:
    """Ends the process with a last line, at once: a peer that is gone would be waited for otherwise. `tell`: the peers, too."""
    _leaving.acquire()  # never released: one thread has the last word
    note_exit(code)
    if tell:
        _tell(f"{_place()[0]} {code}")
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    print(f"\n{line}" if line else "", file=sys.stderr, flush=True)
    os._exit(code)


def _store() -> Any:
    from orbax.checkpoint import multihost

    return multihost.get_jax_distributed_client()


def _hear(lost: Callable[[], None]) -> None:
    """Waits for what another process says of its end."""
    try:
        said = _store().blocking_key_value_get(_ENDED, _FOREVER)
    except Exception:  # the store is gone, and process 0 with it
        return lost()
    if said == _DONE:
        return
    number, code = map(int, said.split())
    me, count = _place()
    if number == me:
        return
    if me == 0:
        time.sleep(LINGER_SECONDS)
    what = "was interrupted" if code == EXIT_INTERRUPTED else f"ended with exit code {code}, see its message"
    leave(f"error: process {number} of {count} {what}; the others end with it", code)


def _tell(text: str) -> None:
    with contextlib.suppress(Exception):  # somebody was first, or the store is gone
        _store().key_value_set(_ENDED, text)
    if _place()[0] == 0:
        time.sleep(LINGER_SECONDS)


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Around the work of a process that may have peers: all leave together in the end, or at once when one has an error.

    A collective that loses a participant raises from the runtime; the coordination service would then wait for the lost
    process at its exit barrier, so the process leaves without it. With one process this does nothing.
    """
    if not jax.distributed.is_initialized():
        yield
        return
    try:
        try:
            yield
        except SystemExit as error:
            if error.code not in (0, None):
                raise
            _leave_together()
            raise
        _leave_together()
    except SystemExit as error:
        if error.code in (0, None):
            raise
        code = error.code
        leave("" if isinstance(code, int) else str(code), code if isinstance(code, int) else 1, tell=True)
    except BaseException as error:
        line, code = _last_words(error)
        if code == EXIT_PEER_LOST:
            time.sleep(2)  # a peer that ended by itself has said why: `_hear` leaves with that
        leave(line, code, tell=code != EXIT_PEER_LOST)


def _last_words(error: BaseException) -> tuple[str, int]:
    cause = _of_runtime(error)
    # A peer that goes while the others save makes the save fail, which is told as a user's error. A disk has such a status, too.
    if isinstance(error, UserError) and (cause is None or "OS error" in str(cause)):
        return f"error: {error}", EXIT_USER_ERROR
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", EXIT_INTERRUPTED
    if cause is not None:
        return f"error: {_me()} lost a peer ({first_line(cause)}); {AGAIN}", EXIT_PEER_LOST
    return "".join(traceback.format_exception(error)).rstrip(), 1


def _of_runtime(error: BaseException | None) -> BaseException | None:
    """The error of JAX's runtime that stands behind `error`, where a peer that is gone explains it; else None.

    The runtime says its status first. JAX raises it as `JaxRuntimeError` where a result is waited for, but as `ValueError` where
    a program is started, and a library may raise an error of its own from it.
    """
    own = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")  # out of memory, a bug: not the peers' doing
    lost = ("UNKNOWN: ", "UNAVAILABLE: ", "ABORTED: ", "CANCELLED: ", "DEADLINE_EXCEEDED: ", "INTERNAL: ")
    while error is not None:
        said = str(error).lstrip()
        if isinstance(error, jax.errors.JaxRuntimeError) and not said.startswith(own):
            return error
        if isinstance(error, ValueError) and said.startswith(lost):
            return error
        error = error.__cause__
    return None


def _leave_together() -> None:
    wait_for_all("end")
    if _place()[0] == 0:
        _store().key_value_set(_ENDED, _DONE)
    for listener in _listeners:  # it reads from the client that ends now
        listener.join()
    jax.distributed.shutdown()


def wait_for_all(name: str) -> None:
    """Returns when every process has come here, however long that takes. A name is used once in a process's life."""
    if jax.distributed.is_initialized():
        _store().wait_at_barrier(f"empatheia_jax/{name}", _FOREVER)


_times: dict[str, int] = {}


def wait_for_all_again(name: str) -> None:
    """`wait_for_all` at a place where all processes come more than once, and equally often."""
    _times[name] = _times.get(name, 0) + 1
    wait_for_all(f"{name} {_times[name]}")


@functools.cache
def meet() -> None:
    """A first collective of all devices, when all processes are here.

    Gloo, the transport between CPUs, gives up where one process asks for its first collective half a minute after another,
    which one that compiles on a busy machine does; it keeps what is set up here.
    """
    if jax.distributed.is_initialized():
        from jax.experimental import multihost_utils

        wait_for_all("meet")
        multihost_utils.sync_global_devices("empatheia_jax/meet")


def first_alone(name: str, work: Callable[[], T]) -> T | None:
    """Process 0 does `work` with its own devices while the others wait; None there.

    `work` must not compute with arrays that are spread over processes. If it reads or writes by orbax, nothing may be saved
    by all together afterwards: orbax counts its operations in each process, and waits for equal numbers.
    """
    result = work() if _place()[0] == 0 else None
    wait_for_all(name)
    return result


def among_hosts(work: Callable[[], int], *, trains: bool = True) -> int:
    """Runs `work` as one process of as many as the environment says there are; what trains saves at SIGTERM."""
    initialize(preemption=trains)
    with guard():
        try:
            return work()
        except SystemExit as stop:  # by SIGTERM: everything is saved
            if not stop.code:
                note_exit(0, "stopped by SIGTERM")
            raise


def on_first_host(work: Callable[[], int]) -> int:
    """Runs `work` in the first of the processes; the others wait for it."""
    return among_hosts(lambda: first_alone("work", work) or 0, trains=False)


def shutdown() -> None:
    """Leaves the run in good order (waits for the peers)."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()
