"""The feature cache: what frozen encoders and generators say about every clip, computed once (`data_pipeline.fill_cache`).

    CACHE/<what>-<first 16 digits of the fingerprint>/about.json               what made it
                                                    /part-h000-00000.arrayrecord   up to `PART` records
                                                    /part-h000-00000.json          their keys, and the file's size and time
                                                    /unfinished-h000               while a process extracts, or it was stopped

A record's key is a hash of the content that its extractor reads (`READABLE`) and of the extractor's fingerprint, which itself
hashes the weights and every setting. A changed recording, other weights or another setting give another key: nothing stale can
be found, and a record whose inner key differs from the one asked for is refused. A record carries a checksum that is compared
when it is read.

What identifies a recording is the SHA-256 of its bytes. It is remembered with the file's size, inode, and times of change of
content and of status; the last cannot be set by a program. `--verify` believes nothing of that and reads everything again.

Parts are written whole or not at all; an interrupted extraction continues after the last complete part. A part that was damaged
since (gone, of another size, or changed and then found unreadable) does not count, and its clips are computed again.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_pipeline import records
from data_pipeline.layout import Clip, file_hash
from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular, write_json

PART = 128
"""Records per file: at most this many clips are computed again after a kill."""
READABLE = ("text", "profile", "audio", "video", "motion")
"""What an extractor may read of a clip."""


class ContentHashes:
    """SHA-256 of files, remembered with `_mark` so that an unchanged file is read once only.

    Args:
        path: where they are remembered between runs; None = nowhere.
        verify: believe nothing that is remembered.
    """

    def __init__(self, path: str | os.PathLike | None = None, verify: bool = False):
        self.path = None if path is None else Path(path)
        self._known = {} if verify else self._load()
        self._new: dict[str, list] = {}

    def _load(self) -> dict[str, list]:
        """What is remembered on disk; only a memory aid, so a broken file is an empty one."""
        try:
            found = (
                {}
                if self.path is None or not self.path.is_file()
                else json.loads(self.path.read_text(encoding="utf-8"))
            )
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {
            name: known for name, known in found.items() if isinstance(known, list) and len(known) == len(_MARK) + 1
        }

    def __call__(self, path: Path | None) -> str | None:
        """The hash of a file, or None without one. Raises `UserError` where it is no regular file or cannot be read."""
        if path is None:
            return None
        name = str(path)
        stat = require_regular(path, "a recording", may_be_empty=True)
        mark = [getattr(stat, field) for field in _MARK]
        known = self._known.get(name)
        if known is None or known[:-1] != mark:
            try:
                self._known[name] = self._new[name] = known = [*mark, file_hash(path)]
            except OSError as error:
                raise UserError(f"{path} cannot be read ({error.strerror}); expected a recording") from None
        return known[-1]

    def save(self) -> None:
        """Adds what was read to what is remembered; several processes may do so one after another."""
        if self.path is not None and self._new:
            _make_way(self.path)
            write_json(self.path, self._load() | self._new, indent=None)


_MARK = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")


def clip_key(clip: Clip, fingerprint: str, hashes: ContentHashes, reads: Sequence[str] = READABLE) -> str:
    """The key of a clip's record: the content that is read, and the maker. Names and places of files do not matter.

    Raises `UserError` where a file that is read is no readable file.
    """
    content: dict[str, Any] = {"maker": fingerprint}
    for part in reads:
        if part == "text":
            content[part] = clip.text
        elif part == "profile":
            content[part] = None if clip.profile is None else clip.profile.profile_id
        else:
            content[part] = hashes(getattr(clip, part))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class _Part:
    """One file of records and what its index says of it."""

    path: Path
    keys: tuple[str, ...]
    size: int
    changed: int  # time of change in ns when it was last known to be good

    @property
    def index(self) -> Path:
        return self.path.with_suffix(".json")

    @classmethod
    def read(cls, index: Path) -> _Part:
        """Raises `ValueError` where the index is broken, or the file is gone or of another size than it says."""
        path = index.with_suffix(".arrayrecord")
        try:
            require_regular(index, "an index of features", may_be_empty=True)
            found = json.loads(index.read_text(encoding="utf-8"))
            keys = tuple(found["keys"])
            part = cls(path, keys, int(found["size"]), int(found["changed"]))
            size = path.stat().st_size if path.is_file() else None
        except (UserError, OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise ValueError(f"its index {index.name} cannot be read ({type(error).__name__})") from None
        if not all(isinstance(key, str) for key in keys):
            raise ValueError(f"its index {index.name} holds something else than keys")
        if size is None:
            raise ValueError("it is gone")
        if size != part.size:
            raise ValueError(f"it has {size} bytes, not {part.size}")
        return part

    @classmethod
    def from_records(cls, path: Path) -> _Part | None:
        """A file whose index is lost, by the keys in its records; None where it is damaged too."""
        try:
            keys = tuple(str(note["key"]) for _, note in records.RecordFile(path))
        except (UserError, KeyError):
            return None
        if not keys:  # what is left of a file whose end is missing
            return None
        stat = path.stat()
        return cls(path, keys, stat.st_size, stat.st_mtime_ns)

    def write_index(self) -> None:
        _make_way(self.index)
        write_json(self.index, {"keys": self.keys, "size": self.size, "changed": self.changed}, indent=None)

    def check(self) -> None:
        """Reads every record. Raises `UserError` where one cannot be read or belongs to another key."""
        file = records.RecordFile(self.path)
        if len(file) != len(self.keys):
            raise UserError(f"{self.path} holds {len(file)} records, and its index names {len(self.keys)}")
        for key, (_, note) in zip(self.keys, file, strict=True):
            if note.get("key") != key:
                raise UserError(f"{self.path} holds a record of another key than its index says")


def folder_of(root: str | os.PathLike, feature: str, fingerprint: str) -> Path:
    """Where the records of an extractor lie in a cache."""
    return Path(root) / f"{feature}-{fingerprint[:16]}"


def state_of(folder: Path) -> Literal["empty", "unfinished", "filled"]:
    """Whether the records of an extractor are there; "unfinished": its extraction goes on, or was stopped before its end."""
    if not any(folder.glob("part-*.json")):
        return "empty"
    return "unfinished" if any(folder.glob("unfinished-*")) else "filled"


class FeatureCache:
    """Records of one extractor. Reading needs only `feature` and the fingerprint; opening an absent cache is an empty one.

    Attributes:
        reads: what its extractor reads of a clip; says which key a clip has.
        damaged: why parts do not count, one line each.

    Raises:
        UserError: the folder was made by another extractor.
    """

    def __init__(self, root: str | os.PathLike, feature: str, fingerprint: str):
        self.feature, self.fingerprint = feature, fingerprint
        self.folder = folder_of(root, feature, fingerprint)
        self.damaged: list[str] = []
        self._parts: list[_Part] = []
        self._places: dict[str, tuple[int, int]] = {}
        self._files: list[records.RecordFile] = []
        self.reads = self._read_about()
        for index in sorted(self.folder.glob("part-*.json")):
            try:
                self._add(_Part.read(index))
            except ValueError as error:
                self.damaged.append(f"{index.with_suffix('.arrayrecord')}: {error}")

    def _read_about(self) -> tuple[str, ...]:
        about = self.folder / "about.json"
        if not about.is_file():
            return READABLE
        try:
            found = json.loads(about.read_text(encoding="utf-8"))
            maker, reads = found["fingerprint"], tuple(found.get("reads", READABLE))
            known = set(reads) <= set(READABLE)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            maker, reads, known = "", (), False
        if not maker or not known:
            raise UserError(f"{about} is damaged; delete it and run --mode=extract again, which keeps what is good")
        if maker != self.fingerprint:
            raise UserError(
                f"{self.folder} was made by {maker}, not by {self.fingerprint}; delete the folder and extract again"
            )
        return reads

    def _add(self, part: _Part) -> None:
        number = len(self._files)
        self._parts.append(part)
        self._files.append(records.RecordFile(part.path))
        self._places |= {key: (number, position) for position, key in enumerate(part.keys)}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """Keys of the clips."""
        return iter(self._places)

    def read(self, key: str) -> dict[str, np.ndarray]:
        """The arrays of a clip.

        Raises:
            UserError: there is no record for the key, it is damaged, or what is stored there was made for another one.
        """
        if key not in self._places:
            raise UserError(
                f"{self.folder} has no features with key {key[:16]}…; run --mode=extract with this config first"
            )
        number, position = self._places[key]
        file = self._files[number]
        arrays, note = file[position]
        if note.get("key") != key:
            raise UserError(
                f"{file.path}: record {position} is stale or foreign (its key {str(note.get('key'))[:16]}…, expected "
                f"{key[:16]}…); run --mode=extract --verify, which makes it anew"
            )
        return arrays

    def repair(self, reads: Sequence[str], *, host: int = 0, hosts: int = 1, verify: bool = False) -> list[str]:
        """Readies the folder for an extraction: parts that are damaged are dropped, so that their clips are computed again.

        A part whose file changed since it was written is read through, with `verify` every part is. Each host does so for
        its own parts, host 0 also for those of hosts that are no more.

        Returns:
            Why parts were dropped, one line each.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.folder / "about.json", self.folder / f"unfinished-h{host:03d}"):
            _make_way(path)
        write_json(
            self.folder / "about.json",
            {"what": self.feature, "fingerprint": self.fingerprint, "reads": list(reads)},
        )
        self.reads = tuple(reads)

        def ours(path: Path) -> bool:
            owner = int(found[1]) if (found := _PART_NAME.match(path.name)) else 0
            return owner == host or (host == 0 and owner >= hosts)

        reasons = {reason.partition(": ")[0]: reason for reason in self.damaged}
        good = {part.path for part in self._parts}
        for path in sorted({each.with_suffix(".arrayrecord") for each in self.folder.glob("part-*")} - good):
            if not ours(path):
                continue
            if part := _Part.from_records(path):  # only its index was damaged
                part.write_index()
                self._parts.append(part)
                reasons.pop(str(path), None)
            else:
                _delete(path)
        dropped = list(reasons.values())
        for path in self.folder.glob(f".part-h{host:03d}-*"):  # of a process that was killed while it wrote
            _remove(path)
        for path in self.folder.glob("unfinished-*"):  # of hosts that are no more, or of none (a copy)
            owner = path.name.removeprefix("unfinished-h")
            if host == 0 and (not owner.isdecimal() or int(owner) >= hosts):
                _remove(path)
        kept = []
        for part in self._parts:
            changed = part.path.stat().st_mtime_ns
            if ours(part.path) and (verify or changed != part.changed):
                try:
                    part.check()
                except UserError as error:
                    dropped.append(str(error))
                    _delete(part.path)
                    continue
                part = dataclasses.replace(part, changed=changed)
                part.write_index()
            kept.append(part)
        self._parts, self._files, self._places, self.damaged = [], [], {}, []
        for part in kept:
            self._add(part)
        return dropped

    def append(self, entries: Sequence[tuple[str, Mapping[str, np.ndarray], Mapping[str, Any]]], host: int = 0) -> None:
        """Writes one part: (key, arrays, note) each."""
        if not entries:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / "about.json"
        if not about.is_file():
            self.repair(self.reads, host=host)
        taken = {path.stem for path in self.folder.glob(f"part-h{host:03d}-*")}
        name = next(name for n in itertools.count() if (name := f"part-h{host:03d}-{n:05d}") not in taken)
        path = self.folder / f"{name}.arrayrecord"
        records.write_records(path, [records.pack(arrays, {**note, "key": key}) for key, arrays, note in entries])
        stat = path.stat()
        part = _Part(path, tuple(key for key, _, _ in entries), stat.st_size, stat.st_mtime_ns)
        part.write_index()  # last: a part without it does not exist
        self._add(part)


_PART_NAME = re.compile(r"part-h(\d+)-\d+\.")


def _delete(path: Path) -> None:
    _remove(path)
    _remove(path.with_suffix(".json"))


def _make_way(path: Path) -> None:
    """Removes what stands in the place of a file of a cache and is none."""
    if path.is_symlink() or not path.is_file():
        _remove(path)


def _remove(path: Path) -> None:
    """Removes a file, a link, a pipe or an empty folder, if it is there.

    Raises `UserError` for a folder that holds something: nobody can know whether it may go.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        raise UserError(
            f"{path} is a folder that holds something; expected a file of the feature cache; move it away"
        ) from None
