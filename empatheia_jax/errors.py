"""Errors that a user can mend: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable

from empatheia_jax.terminal import visible

EXIT_USER_ERROR = 2


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
            return main(*args, **kwargs) or 0
        except UserError as error:
            print(f"error: {visible(str(error))}", file=sys.stderr)
            return EXIT_USER_ERROR
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return guarded
