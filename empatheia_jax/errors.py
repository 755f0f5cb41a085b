"""Errors that a user can mend: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from empatheia_jax.terminal import visible

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # as a shell says of a process that SIGPIPE ended
EXIT_FILE = "EMPATHEIA_EXIT_FILE"
"""Variable of the environment: a file for the exit code of the process of a run that ends first (`note_exit`)."""


class UserError(Exception):
    """Bad input, configuration or file. The message says what was found, what was expected and what to do."""

    @classmethod
    def of(cls, lines: Iterable[str]) -> UserError:
        """Several faults at once, one line each, below each other when printed after "error: "."""
        return cls("\n       ".join(lines))


def main_guard(main: Callable[..., int | None]) -> Callable[..., int]:
    """Decorates a command's `main`: a `UserError` becomes one line on stderr and exit code 2.

    A message may hold several lines only where several things are wrong at once (one line each).
    """

    @functools.wraps(main)
    def guarded(*args, **kwargs) -> int:
        try:
            code = main(*args, **kwargs) or 0
            sys.stdout.flush()  # so that a reader that left is noticed here, and not when the interpreter ends
            return code
        except UserError as error:
            print(f"error: {visible(str(error))}", file=sys.stderr)
            return EXIT_USER_ERROR
        except BrokenPipeError:  # `… | head` has read enough: what is still to be printed goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_BROKEN_PIPE
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED

    return guarded


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
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
