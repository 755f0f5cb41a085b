"""The last net below every command: what the system refuses of a user's path is one line, and a fault of ours is not hidden."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from empatheia_jax.errors import UserError, main_guard
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def in_the_foreground():
    """A shell starts what it puts in the background with interrupts ignored, and every process below it inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ended(action, capsys):
    """(exit code, what was said) of a command that does this."""
    code = main_guard(action)()
    return code, capsys.readouterr().err


PATHS = {
    "a file where a folder is made": (
        lambda at: (at / "file").mkdir(exist_ok=True),
        "is there already, and is no folder",
    ),
    "below a file": (lambda at: (at / "file" / "below").mkdir(parents=True), "lies below one"),
    "too long a name": (lambda at: (at / ("x" * 300)).is_dir(), "has too long a name"),
    "a link to itself": (lambda at: (at / "loop").read_text(), "leads to itself"),
    "a folder as a file": (lambda at: at.read_text(), "is a folder; expected a file"),
    "a link to itself that is followed": (lambda at: (at / "loop").resolve(strict=True), "loop"),
    "nothing": (lambda at: (at / "absent").read_text(), "does not exist"),
    "a rename into nowhere": (lambda at: os.rename(at / "file", at / "absent" / "file"), "does not exist"),
}


@pytest.mark.parametrize("what", PATHS)
def test_a_path_that_the_system_refuses_is_one_line(what, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    action, message = PATHS[what]
    code, said = ended(lambda: action(tmp_path), capsys)
    assert code == 2 and said.startswith("error: ") and said.count("\n") == 1 and message in said and len(said) < 500


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_what_a_user_may_not_touch_is_one_line(number, capsys):
    def denied():
        raise OSError(number, os.strerror(number), "/run/of/others")

    code, said = ended(denied, capsys)
    assert code == 2 and said.startswith("error: /run/of/others ") and said.count("\n") == 1


def test_a_full_disk_is_one_line_with_and_without_a_name(capsys):
    for name in ((), ("/disk/file",)):

        def full(name=name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *name)

        code, said = ended(full, capsys)
        assert code == 2 and "No space left" in said and said.count("\n") == 1


def test_what_is_no_mistake_of_a_user_keeps_its_traceback(tmp_path):
    def failing_disk():
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(tmp_path))

    def without_a_path():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    for action in (failing_disk, without_a_path):
        with pytest.raises(OSError):
            main_guard(action)()


def test_an_error_of_a_user_is_said_as_it_is(capsys):
    def wrong():
        raise UserError("found 1; expected 2")

    assert ended(wrong, capsys) == (2, "error: found 1; expected 2\n")


def test_an_interrupt_while_a_library_is_loaded_is_an_interrupt(capsys):
    def loading():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:  # as numpy and jaxlib do it in C: nothing of the interrupt is left
            raise ImportError("numpy._core.multiarray failed to import") from None

    handler = signal.getsignal(signal.SIGINT)
    assert ended(loading, capsys) == (130, "interrupted\n") and signal.getsignal(signal.SIGINT) is handler

    def lacking():
        raise ImportError("no module")

    with pytest.raises(ImportError):
        main_guard(lacking)()


def test_an_interrupt_that_falls_into_a_destructor_is_not_lost(capsys):
    class Dropped:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def working():
        Dropped()
        time.sleep(20)

    shown = sys.unraisablehook
    assert ended(working, capsys) == (130, "interrupted\n") and sys.unraisablehook is shown


def test_an_interrupt_that_is_ignored_stays_ignored():
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main_guard(lambda: signal.raise_signal(signal.SIGINT) or 0)() == 0
    finally:
        signal.signal(signal.SIGINT, handler)


def test_output_that_was_closed_before_the_start_ends_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as Python does for `>&-`
    assert main_guard(lambda: 0)() == 0


@pytest.mark.parametrize(
    "command", [["launch.py", "--help"], ["-m", "data_pipeline.corpus", "--help"]], ids=["launch.py", "python -m"]
)
def test_a_program_that_is_interrupted_while_it_is_loaded_says_one_word(command):
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        said: list[str] = []
        for line in process.stderr or ():
            if said or "| absl" in line or " jax._src." in line:
                if not said:
                    process.send_signal(signal.SIGINT)
                said.append(line)
    rest = [line for line in said if not line.startswith("import time:")]
    assert process.returncode == 130 and rest == ["interrupted\n"]


def test_a_program_that_imports_the_package_keeps_its_interrupts():
    program = "import signal; before = signal.getsignal(signal.SIGINT); import converters, empatheia_jax.errors\n"
    program += "print(signal.getsignal(signal.SIGINT) is before)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "True\n"
