"""Checksums of all files of a folder: written last, compared before the folder is read.

`SHA256SUMS` has one line a file, as `sha256sum --check` reads it. Comparing reads every byte, so what was found right is
remembered per user and machine: a file whose size, times and inode are as they were is not read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular, write_json, write_text
from empatheia_jax.weights.hashes import file_hash

SUMS_FILE = "SHA256SUMS"
CACHE_VARIABLE = "EMPATHEIA_CACHE"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\0]+)")
_THREADS = 4
_WORTH_A_LINE = 2_000_000_000  # bytes: from here on, the user is told why the start takes longer


def cache_folder() -> Path:
    """Where small notes are kept from one start to the next: `$EMPATHEIA_CACHE`, else the user's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "empatheia-jax"
    except RuntimeError:  # a user without a home, as containers run them: nothing is kept
        return Path(os.devnull) / "empatheia-jax"


def _files(folder: Path) -> list[str]:
    """Every file below `folder` but the sums themselves, as paths with slashes."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in (path.relative_to(folder).as_posix() for path in found) if name != SUMS_FILE)


def seal(folder: str | os.PathLike, told: Callable[[int], object] = lambda count: None) -> None:
    """Writes the checksums of all files of `folder` as they are now; `told` is called with the bytes of each that was read."""
    folder = Path(folder)
    with ThreadPoolExecutor(_THREADS) as pool:
        names = _files(folder)
        lines = []
        for name, value in zip(names, pool.map(file_hash, [folder / name for name in names])):
            lines.append(f"{value}  {name}\n")
            told((folder / name).stat().st_size)
        write_text(folder / SUMS_FILE, "".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """{path below `folder`: SHA-256} as `SHA256SUMS` says.

    Raises: UserError where the file is damaged or names something outside.
    """
    path = folder / SUMS_FILE
    require_regular(path, "the checksums of a folder")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); the folder is damaged: make it again") from None
    sums: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None or found[2] in sums or Path(found[2]).is_absolute() or ".." in Path(found[2]).parts:
            raise UserError(f"{path} is damaged: {line[:80]!r} is no line of checksums; make the folder again")
        sums[found[2]] = found[1]
    return sums


def check_file(folder: Path, name: str) -> None:
    """Compares one file with its checksum, where the folder has checksums.

    Raises: UserError where it differs or is not listed.
    """
    if (folder / SUMS_FILE).exists():
        expected = read_sums(folder).get(name)
        if expected is None or not (folder / name).is_file() or file_hash(folder / name) != expected:
            raise UserError(f"{folder} is damaged: the SHA-256 of {name} differs from {SUMS_FILE}; make it again")


def _state(path: Path) -> list[int] | None:
    """What changes when a file is written: size, times, inode, device."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _note(folder: Path) -> Path:
    name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder() / "verified" / f"{name}.json"


def _remembered(note: Path) -> dict[str, Any]:
    try:
        value = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def check(folder: str | os.PathLike, complete: str = "") -> None:
    """Compares every file of a folder with its checksums; those that were right before and are as they were are skipped.

    Args:
      folder: a folder with `SHA256SUMS`.
      complete: a folder below it that may hold nothing but listed files.
    Raises: UserError that names every file that is missing, differs, or should not be there.
    """
    folder = Path(folder)
    sums, note = read_sums(folder), _note(folder)
    known = _remembered(note)
    states = {name: _state(folder / name) for name in sums}
    wrong = [f"{name} is not there" for name, state in states.items() if state is None or not (folder / name).is_file()]
    if complete:
        wrong += [
            f"{name} does not belong" for name in _files(folder) if name.startswith(f"{complete}/") and name not in sums
        ]
    fresh = [name for name, state in states.items() if known.get(name) != [sums[name], state]]
    if not wrong and fresh:
        size = sum(state[0] for name in fresh if (state := states[name]) is not None)
        if size >= _WORTH_A_LINE:
            print(f"{folder}: comparing {size / 1e9:.1f} GB with its checksums, once", file=sys.stderr, flush=True)
        with ThreadPoolExecutor(_THREADS) as pool:
            found = dict(zip(fresh, pool.map(file_hash, [folder / name for name in fresh])))
        wrong = [f"{name} has another SHA-256" for name in fresh if found[name] != sums[name]]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"{folder} is damaged: {', '.join(wrong[:5])}{more}; make it again or copy it again")
    if fresh:
        _remember(note, {name: [sums[name], state] for name, state in states.items()})


def _remember(note: Path, value: dict[str, Any]) -> None:
    # without room for notes the next start compares again
    with contextlib.suppress(UserError):
        write_json(note, value, indent=None)


def once(folder: str | os.PathLike, compare: Callable[[], object]) -> None:
    """Calls `compare` for a folder without `SHA256SUMS`, unless it passed before and every file is as it was."""
    folder = Path(folder)
    note, states = _note(folder), {name: ["", _state(folder / name)] for name in _files(folder)}
    if _remembered(note) != states:
        compare()
        _remember(note, states)
