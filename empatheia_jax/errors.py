"""Errors that a user can mend: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

from empatheia_jax.interrupts import EXIT_INTERRUPTED, end_at_once
from empatheia_jax.terminal import visible

EXIT_USER_ERROR = 2
EXIT_BROKEN_PIPE = 141  # as a shell says of a process that SIGPIPE ended
EXIT_FILE = "EMPATHEIA_EXIT_FILE"
"""Variable of the environment: a file for the exit code of the process of a run that ends first (`note_exit`)."""

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of the errors that mean that there is no room for a file."""
_SAID_OF_A_FULL_DISK = re.compile(
    r"No space left|ENOSPC|File too large|EFBIG|Disk quota exceeded|EDQUOT|\d requested and \d+ written"
)
"""How libraries put it that tell no number; the last is NumPy's."""
_OF_A_PATH = {
    errno.ENOENT: "does not exist",
    errno.EEXIST: "is there already, and is no folder",
    errno.ENOTDIR: "is a file, or lies below one; expected a folder",
    errno.EISDIR: "is a folder; expected a file",
    errno.ENAMETOOLONG: "has too long a name",
    errno.ELOOP: "is a link that leads to itself",
    errno.EACCES: "may not be used by this user",
    errno.EPERM: "may not be changed by this user",
    errno.EROFS: "lies on a disk that cannot be written",
}
"""What the system says of a path that a user chose. Others (a disk that fails, a server that is gone) are no user's mistake."""


class UserError(Exception):
    """Bad input, configuration or file. The message says what was found, what was expected and what to do."""

    @classmethod
    def of(cls, lines: Iterable[str]) -> UserError:
        """Several faults at once, one line each, below each other when printed after "error: "."""
        return cls("\n       ".join(lines))


def first_line(error: BaseException | str, most: int = 200) -> str:
    """The first line of an error's message, of at most so many characters; the name of its type where it has no message."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:most]


def disk_full(error: BaseException) -> bool:
    """Whether an error means that there is no room for a file, by its number or by its words."""
    return getattr(error, "errno", None) in DISK_FULL or _SAID_OF_A_FULL_DISK.search(str(error)) is not None


def main_guard(main: Callable[..., int | None]) -> Callable[..., int]:
    """Decorates a command's `main`: a `UserError` becomes one line on stderr and exit code 2.

    A message may hold several lines only where several things are wrong at once (one line each). A path that the system
    refuses is such an error too, where no reader or writer has found better words for it; and so is a full disk.
    """

    @functools.wraps(main)
    def guarded(*args, **kwargs) -> int:
        try:
            with _noted_interrupts():
                code = main(*args, **kwargs) or 0
            _flush()  # so that a reader that left is noticed here, and not when the interpreter ends
            return code
        except UserError as error:
            print(f"error: {visible(str(error))}", file=sys.stderr)
            return EXIT_USER_ERROR
        except BrokenPipeError:  # `… | head` has read enough: what is still to be printed goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_BROKEN_PIPE
        except OSError as error:
            if (said := _of_the_system(error)) is None:
                raise
            print(f"error: {visible(said)}", file=sys.stderr)
            return EXIT_USER_ERROR
        except RuntimeError as error:
            if not str(error).startswith("Symlink loop"):  # what `Path.resolve` says of a link to itself
                raise
            print(f"error: {visible(str(error))}; choose another path", file=sys.stderr)
            return EXIT_USER_ERROR
        except ImportError:
            if not _INTERRUPTS:
                raise
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        finally:
            _INTERRUPTS.clear()

    return guarded


_INTERRUPTS: list[int] = []
"""Interrupts that came while a command ran: libraries in C make an ImportError of one that comes while they are loaded."""


@contextlib.contextmanager
def _noted_interrupts() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    if before is end_at_once:  # all is loaded: from here on a command ends in order
        before = signal.default_int_handler
        signal.signal(signal.SIGINT, before)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield  # no other thread may say what a signal does; and where it is ignored, or a notebook's, it stays so
        return

    def interrupted(number: int, frame: types.FrameType | None) -> None:
        _INTERRUPTS.append(number)
        signal.default_int_handler(number, frame)

    shown = sys.unraisablehook

    def ignored(what: sys.UnraisableHookArgs) -> None:
        """An interrupt that falls into JAX's work behind the garbage collector, or any `__del__`, is ignored: it comes again."""
        if what.exc_type is not KeyboardInterrupt:
            shown(what)
            return
        again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()

    signal.signal(signal.SIGINT, interrupted)
    sys.unraisablehook = ignored
    try:
        yield
    finally:
        if sys.unraisablehook is ignored:
            sys.unraisablehook = shown
        if signal.getsignal(signal.SIGINT) is interrupted:
            signal.signal(signal.SIGINT, before)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # a descriptor that was closed before the program began: `>&-`
            stream.flush()


def _of_the_system(error: OSError) -> str | None:
    """A line for a path that cannot be used, or a disk without room; None for what is no mistake of a user."""
    if disk_full(error):
        return f"{_name(error) or 'a file'} cannot be written: {error.strerror or error}; make room, then run it again"
    if error.errno in _OF_A_PATH and (name := _name(error)):
        return f"{name} {_OF_A_PATH[error.errno]}; choose another path"
    return None


def _name(error: OSError) -> str:
    """The path of an error, shortened; empty where it has none."""
    path = error.filename2 if error.filename2 is not None else error.filename
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    name = os.fsdecode(path)
    return name if len(name) <= 200 else f"{name[:200]}…"


def note_exit(code: int, why: str = "") -> None:
    """Writes the exit code into the file that `EMPATHEIA_EXIT_FILE` names, unless a process of the run was faster.

    Who starts the processes learns from it which end was the first, and so the cause of the others.
    """
    if path := os.environ.get(EXIT_FILE):
        with contextlib.suppress(OSError), open(path, "x") as file:
            file.write(f"{code} {why}".strip() + "\n")


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code, as `sys.exit` does, and at once where it was interrupted.

    An interrupt may come while native threads compile or decode; taking the interpreter apart under them ends in SIGSEGV now and
    then.
    """
    if code:
        note_exit(code)
    if code == EXIT_INTERRUPTED:
        _flush()
        os._exit(code)
    sys.exit(code)
