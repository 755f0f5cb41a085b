"""The feature cache: what frozen encoders and generators say about every clip, computed once.

    CACHE/<what>-<first 16 digits of the fingerprint>/about.json               what made it
                                                    /part-h000-00000.arrayrecord   up to `PART` records
                                                    /part-h000-00000.json          their keys

A record's key is a hash of the clip's content (bytes of its files, its text, its profile) and of the extractor's
fingerprint, which itself hashes the weights and every setting. A changed recording, other weights or another setting
give another key: nothing stale can be found, and a record whose inner key differs from the one asked for is refused.
Parts are written whole or not at all; an interrupted extraction continues after the last complete part.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_pipeline import records
from data_pipeline.layout import Clip, file_hash
from data_pipeline.quarantine import Quarantine
from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing, write_json, write_text

PART = 128
"""Records per file: at most this many clips are computed again after a kill."""


class FeatureExtractor(Protocol):
    """A frozen network behind one call: clips in, named arrays out. The data pipeline knows nothing else of it.

    what         name of the folder and of the role in a batch: "speech" and "video" (encoders, for the speaker's clips),
                 "speech_content", "video_content", "speech_style", "video_style" (generators, for the replies)
    fingerprint  hash of the weights and of every setting that changes the result
    roles        whose clips it reads: "speaker", "listener" (the replies), "history" (what the listener said before)
    batch        clips per call
    """

    what: str
    fingerprint: str
    roles: tuple[str, ...]
    batch: int

    def __call__(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, np.ndarray]]:
        """One mapping per clip; a batch names its array `what`. Raises `UserError` where a clip is unusable."""


class ContentHashes:
    """SHA-256 of files, remembered with size and time of change so that an unchanged file is read once only."""

    def __init__(self, path: str | os.PathLike | None = None):
        self.path = None if path is None else Path(path)
        self._known: dict[str, list] = {}
        if self.path is not None and self.path.is_file():
            try:
                self._known = json.loads(self.path.read_text())
            except ValueError:
                self._known = {}  # only a memory aid: a broken one is rebuilt

    def __call__(self, path: Path | None) -> str | None:
        """The hash of a file, or None without one. Raises `UserError` where it cannot be read."""
        if path is None:
            return None
        try:
            stat = path.stat()
            mark = [stat.st_size, stat.st_mtime_ns]
            known = self._known.get(str(path))
            if known is None or known[:2] != mark:
                self._known[str(path)] = known = [*mark, file_hash(path)]
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); expected a recording") from None
        return known[2]

    def save(self) -> None:
        """Writes what is known beside the cache."""
        if self.path is not None:
            write_text(self.path, json.dumps(self._known))


def clip_key(clip: Clip, fingerprint: str, hashes: ContentHashes) -> str:
    """The key of a clip's record: content and maker. Names and places of files do not matter."""
    content = {
        "text": clip.text,
        "audio": hashes(clip.audio),
        "video": hashes(clip.video),
        "motion": hashes(clip.motion),
        "profile": None if clip.profile is None else clip.profile.profile_id,
        "maker": fingerprint,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class FeatureCache:
    """Records of one extractor. Reading needs only `what` and the fingerprint; opening an absent cache is an empty one."""

    def __init__(self, root: str | os.PathLike, what: str, fingerprint: str):
        self.what, self.fingerprint = what, fingerprint
        self.folder = Path(root) / f"{what}-{fingerprint[:16]}"
        self._places: dict[str, tuple[int, int]] = {}
        self._files: list[records.RecordFile] = []
        about = self.folder / "about.json"
        if about.is_file():
            found = json.loads(about.read_text()).get("fingerprint")
            if found != fingerprint:
                raise UserError(
                    f"{self.folder} was made by {found}, not by {fingerprint}; delete the folder and extract again"
                )
        for index in sorted(self.folder.glob("part-*.json")):
            self._add_part(index.with_suffix(".arrayrecord"), json.loads(index.read_text()))

    def _add_part(self, path: Path, keys: Sequence[str]) -> None:
        number = len(self._files)
        self._files.append(records.RecordFile(path))
        self._places |= {key: (number, position) for position, key in enumerate(keys)}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, key: str) -> dict[str, np.ndarray]:
        """The arrays of a clip.

        Raises:
            UserError: there is no record for the key, or what is stored there was made for another one.
        """
        if key not in self._places:
            raise UserError(
                f"{self.folder} has no features with key {key[:16]}…; run --mode=extract with this config first"
            )
        number, position = self._places[key]
        file = self._files[number]
        try:
            arrays, note = records.unpack(file[position])
        except ValueError as error:
            raise UserError(
                f"{file.path}: record {position} is broken ({error}); delete the file and extract again"
            ) from None
        if note.get("key") != key:
            raise UserError(
                f"{file.path}: record {position} is stale or foreign (its key {str(note.get('key'))[:16]}…, expected "
                f"{key[:16]}…); delete the file and extract again"
            )
        return arrays

    def append(self, entries: Sequence[tuple[str, Mapping[str, np.ndarray], Mapping[str, Any]]], host: int = 0) -> None:
        """Writes one part: (key, arrays, note) each."""
        if not entries:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / "about.json"
        if not about.is_file():
            write_json(about, {"what": self.what, "fingerprint": self.fingerprint})
        number = sum(1 for _ in self.folder.glob(f"part-h{host:03d}-*.json"))
        stem = self.folder / f"part-h{host:03d}-{number:05d}"
        data = [records.pack(arrays, {**note, "key": key}) for key, arrays, note in entries]
        records.write_records(stem.with_suffix(".arrayrecord"), data)
        keys = [key for key, _, _ in entries]
        with replacing(stem.with_suffix(".json")) as temporary:  # last: a part without it does not exist
            temporary.write_text(json.dumps(keys))
        self._add_part(stem.with_suffix(".arrayrecord"), keys)


def extract(
    clips: Iterable[Clip],
    extractor: FeatureExtractor,
    cache: FeatureCache,
    hashes: ContentHashes,
    quarantine: Quarantine,
    *,
    host: int = 0,
    hosts: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Computes what the cache lacks, in parts; returns how many records were added.

    A clip on which the extractor raises `UserError` is set aside with the reason and the others of its batch are
    computed without it. Clips are dealt to hosts by their key, so that each is computed once.
    """
    added, waiting, ready = 0, [], []
    ours: set[str] = set()

    def flush(all_of_it: bool) -> None:
        nonlocal added, ready
        while len(ready) >= PART or (all_of_it and ready):
            cache.append(ready[:PART], host)
            added += len(ready[:PART])
            ready = ready[PART:]
            quarantine.enforce()

    def compute(batch: list[tuple[str, Clip]]) -> None:
        try:
            results = extractor([clip for _, clip in batch])
        except UserError as error:
            if len(batch) == 1:
                quarantine.add(batch[0][1].id, f"unusable for {extractor.what}", error)
                return
            for each in batch:
                compute([each])
            return
        for (key, clip), arrays in zip(batch, results, strict=True):
            ready.append((key, arrays, {"id": clip.id}))

    for clip in clips:
        quarantine.saw()
        try:
            key = clip_key(clip, extractor.fingerprint, hashes)
        except UserError as error:
            quarantine.add(clip.id, "unreadable", error)
            continue
        progress(1)
        if int(key[:8], 16) % hosts != host or key in cache or key in ours:
            continue
        ours.add(key)
        waiting.append((key, clip))
        if len(waiting) == extractor.batch:
            compute(waiting)
            waiting = []
            flush(False)
    if waiting:
        compute(waiting)
    flush(True)
    return added
