"""Files of users: only regular files are opened, and a file that is written appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from empatheia_jax.errors import UserError, disk_full


def require_regular(path: str | os.PathLike, expected: str, *, may_be_empty: bool = False) -> os.stat_result:
    """Checks that `path` is a regular file before anything opens it, and returns its `stat`.

    Opening a FIFO waits for a writer, and a device may give bytes without end. Links are followed.

    Args:
        path: the file.
        expected: what it should be, for the message: "a sound file (wav, m4a …)".
        may_be_empty: accept a file of 0 bytes.

    Raises:
        UserError: nothing is there, it is a folder, a FIFO, a device or a socket, it may not be read, or it is empty.
    """
    name = os.fspath(path)
    try:
        found = os.stat(name)
    except ValueError as error:  # a zero byte in the name, or a lone surrogate that no file system can hold
        raise UserError(f"{name!r} is no file name ({error}); expected {expected}") from None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR) and os.path.islink(name):
            raise UserError(f"{name} is a link to a file that does not exist; expected {expected}") from None
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise UserError(f"{name} does not exist; expected {expected}") from None
        raise UserError(f"{name} cannot be read: {error.strerror}; expected {expected}") from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{name} is {_kind(found.st_mode)}; expected {expected}")
    if found.st_size == 0 and not may_be_empty:
        raise UserError(f"{name} is empty (0 bytes); expected {expected}")
    if not os.access(name, os.R_OK):
        raise UserError(f"{name} cannot be read: permission denied; expected {expected}")
    return found


def named(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these files that a folder has, written so or with other capitals (as cameras and Windows write endings);
    None where it has none of them.
    """
    there = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    lower = {path.name.lower(): path for path in there.values()}
    found = (there.get(name) or lower.get(name.lower()) for name in names)
    return next((path for path in found if path is not None), None)


def _kind(mode: int) -> str:
    for test, words in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe (FIFO)"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return words
    return "a device"


@contextlib.contextmanager
def replacing(path: str | os.PathLike, *, durable: bool = False) -> Iterator[Path]:
    """Gives a temporary path beside `path`. On success it becomes `path` in one step; on an error it is removed.

    Args:
        path: the file to write; its folders are made.
        durable: wait until the content is on the disk, so that it survives a loss of power.

    Raises:
        UserError: `path` is a folder or a device, its folder cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is {_kind(path.stat().st_mode)}; expected the name of a file to write")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:100]}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{str(path)!r} cannot be written: {error}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that nobody else may read
        if durable:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if disk_full(error):
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str, *, durable: bool = False) -> None:
    """Writes `text` in UTF-8, whole or not at all. Raises `UserError` as `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes `content`, whole or not at all. Raises `UserError` as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def parse_json(text: str) -> Any:
    """Decodes JSON in which a name occurs once in an object; Python alone would take the last of them, without a word. A byte
    order mark in front, as some editors write, is no part of the text.

    Raises:
        ValueError: it is no JSON, a name occurs twice, or a number has thousands of digits.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=unique_names)


def parse_line(line: str | bytes) -> Any:
    """Decodes a line of JSON. Raises ValueError for whatever is wrong with it: no JSON, no UTF-8, too deeply nested."""
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names differ from each other, as `object_pairs_hook` of `json`. Raises `ValueError` otherwise."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:40]!r} occurs twice in one object")
    return found


def read_json_object(path: str | os.PathLike, expected: str) -> dict[str, Any]:
    """Decodes a JSON file that holds an object.

    Args:
        path: the file.
        expected: what it should be, for the message: "the config of a model".

    Raises:
        UserError: the file is missing or no regular file, not UTF-8, not JSON, nested too deeply, or no object, or a name
            occurs twice in an object of it.
    """
    require_regular(path, expected)
    try:
        value = parse_json(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); expected {expected}") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({str(error)[:100]}); expected {expected}") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply; expected {expected}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; expected {expected}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} where an object should be; expected {expected}")
    return value


def write_json(
    path: str | os.PathLike, value: Any, *, indent: int | None = 1, sort_keys: bool = False, durable: bool = False
) -> None:
    """Writes `value` as JSON with a line end, whole or not at all. Raises `UserError` as `replacing`."""
    text = json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # file names that are no UTF-8 hold lone surrogates: escape them
        text = json.dumps(value, indent=indent, sort_keys=sort_keys)
    write_text(path, text + "\n", durable=durable)


def require_local(name: str, value: str | None) -> None:
    """Raises `UserError` for an empty path, and for an address of a bucket: a run's folder holds a lock and files that grow,
    which buckets lack.
    """
    if value == "":
        raise UserError(f"{name} is empty; expected a path (is a variable of the shell not set?)")
    if value is not None and "://" in value:
        raise UserError(
            f"{name}={value}; expected a path of this machine; mount the bucket as a folder (gcsfuse, s3fs), or take a share"
        )
