"""What is read from a run's folder is what was written: every file of a checkpoint has a checksum, every record has its own.

A step's checksums are written into its folder before it gets its name, so a step that is there has them. Comparing costs one
more reading of the files that are wanted, which are in memory then: at least 0.5 GB a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular, write_text
from empatheia_jax.weights.hashes import file_hash
from empatheia_jax.weights.sums import SUMS_FILE, read_sums

SEAL = "sha256"
"""The key of a record that holds the checksum of the rest."""
_NOTES, _COMMITTED = "_CHECKPOINT_METADATA", "commit_timestamp_nsecs"
_WRITTEN_LATER = (_NOTES, "commit_success.txt")
"""Orbax's own notes at the top of a step: written again, with the time, when it gets its name."""
_NOTES_COPY = "orbax_notes.json"
"""The notes as they are before that: all but the time must stay so."""
_STEP_FILE = "step.json"
"""Which step it is: a folder under another step's name is not that step."""
_PATIENCE = 60.0  # seconds that orbax's thread may need for its notes on a disk that is busy


class Damaged(UserError):
    """A file of a run is not what was written."""


# ---------------------------------------------------------------- the files of a step


def seal_step(folder: Path) -> None:
    """Writes the checksums of all files of a step that is complete but for its name."""
    (folder / _NOTES_COPY).write_bytes(_complete_notes(folder / _NOTES))
    write_text(folder / _STEP_FILE, json.dumps({"step": int(folder.name.partition(".")[0])}), durable=True)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    kept = [name for name in names if name not in (*_WRITTEN_LATER, SUMS_FILE)]
    lines = (f"{file_hash(folder / name)}  {name}\n" for name in kept)
    write_text(folder / SUMS_FILE, "".join(lines), durable=True)


def _complete_notes(path: Path) -> bytes:
    """Orbax's notes when its own thread has written into them how each part is read, which it does beside the saving."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        content = path.read_bytes()
        with contextlib.suppress(ValueError, TypeError, KeyError):  # half written
            if json.loads(content)["item_handlers"]:
                return content
        if time.monotonic() > deadline:
            return content
        time.sleep(0.01)


def check_step(folder: Path, items: Collection[str] | None = None) -> None:
    """Compares the files of a step with their checksums.

    Args:
      folder: `checkpoints/<stage>/<step>`.
      items: the parts that will be read ("trainable", "optimizer"); None = all.

    Raises:
      Damaged: a file is missing or differs; it is named.
    """
    sums = _sums(folder)
    listed = {name.split("/")[0] for name in sums}
    if missing := sorted(set(items or ()) - listed):
        raise Damaged(f"{folder} is damaged: {SUMS_FILE} lists no file of {missing[0]}")
    for name, expected in sums.items():
        if items is not None and name.split("/")[0] not in items and "/" in name:
            continue
        path = folder / name
        if not path.is_file():
            raise Damaged(f"{folder} is damaged: {name} is missing")
        if file_hash(path) != expected:
            raise Damaged(f"{folder} is damaged: {name} has another SHA-256 than when it was written")
    if _STEP_FILE in sums:  # older ones have none
        step = json.loads((folder / _STEP_FILE).read_text(encoding="utf-8"))["step"]
        if str(step) != folder.name:
            raise Damaged(f"{folder} is damaged: it holds step {step}")
    check_notes(folder)


def items_of(folder: Path) -> set[str]:
    """The parts that a step was written with, whatever is there now. Raises `Damaged`: its checksums are missing or damaged."""
    return {name.split("/")[0] for name in _sums(folder) if "/" in name}


def _sums(folder: Path) -> dict[str, str]:
    try:
        return read_sums(folder)
    except UserError as error:
        raise Damaged(f"{folder} is damaged: {error}") from None


def check_notes(folder: Path) -> None:
    """Checks the notes by which orbax finds a step and its readers. Raises `Damaged`: they are not what was written."""
    try:
        for name in (_NOTES, _NOTES_COPY):
            require_regular(folder / name, "the notes of a step")
        found, kept = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (_NOTES, _NOTES_COPY))
        # A value that was not there yet says nothing.
        same = found.keys() == kept.keys() and all(
            found[key] == value for key, value in kept.items() if key != _COMMITTED and value is not None
        )
    except (UserError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        same = False
    if not same:
        raise Damaged(f"{folder} is damaged: {_NOTES} is not what was written")


# ---------------------------------------------------------------- records: JSON that knows its own checksum


def write_record(path: str | os.PathLike, values: Mapping[str, Any]) -> None:
    """Writes a JSON object with the checksum of its values, whole or not at all. Raises `UserError` as `files.replacing`."""
    plain = json.loads(json.dumps(values, default=str))
    write_text(path, json.dumps({**plain, SEAL: _seal(plain)}, indent=1) + "\n", durable=True)


def read_record(path: Path, keys: Mapping[str, type | tuple[type, ...]], advice: str) -> dict[str, Any]:
    """The values of a record.

    Args:
      path: the file.
      keys: what it must hold, and of which type.
      advice: what to do about a damaged file, the end of the message.

    Raises:
      Damaged: it cannot be read, is no JSON object, lacks a value, or differs from what was written.
    """

    def damaged(found: str) -> Damaged:
        return Damaged(f"{path} is damaged: {found}; {advice}")

    try:
        require_regular(path, "a record of a run", may_be_empty=True)
    except UserError as error:
        raise Damaged(f"{error}; {advice}") from None
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        size = path.stat().st_size if path.is_file() else None
        raise damaged("it is empty" if size == 0 else f"it cannot be read as JSON ({error})") from None
    if not isinstance(values, dict):
        raise damaged(f"it holds a {type(values).__name__}; expected an object")
    seal = values.pop(SEAL, None)
    if seal is None:
        raise damaged("it has no checksum (or is of an earlier version)")
    if seal != _seal(values):
        raise damaged("its checksum differs from its values; it was changed after it was written")
    for key, kind in keys.items():
        if not isinstance(values.get(key), kind) or isinstance(values.get(key), bool):
            raise damaged(f"{key}={values.get(key)!r}")
    return values


def _seal(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
