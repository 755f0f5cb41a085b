"""Ctrl-C while a command loads its libraries: one word and exit code 130, and not the traceback of an import.

The packages call `before_imports` first of all; the guard of a command's `main` (`errors.main_guard`) takes over from there.
"""

from __future__ import annotations

import os
import signal
import sys

EXIT_INTERRUPTED = 130


def before_imports() -> None:
    """Ends the process at an interrupt, where `python -m` is about to run a module of this package.

    Python calls the program "-m" for as long as it looks for the module, and imports the module's packages meanwhile. Nothing is
    open yet. A program that imports the package keeps its own handler, and an interrupt that is ignored stays ignored.
    """
    if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)


def end_at_once(*_: object) -> None:
    """The handler: says one word and ends."""
    os.write(2, b"interrupted\n")
    os._exit(EXIT_INTERRUPTED)
