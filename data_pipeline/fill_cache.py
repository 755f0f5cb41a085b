"""Computes what the feature cache lacks (`data_pipeline.cache`), with any frozen network behind `FeatureExtractor`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from data_pipeline.cache import PART, READABLE, ContentHashes, FeatureCache, clip_key
from data_pipeline.layout import Clip
from data_pipeline.quarantine import Quarantine
from empatheia_jax.errors import UserError


@runtime_checkable
class FeatureExtractor(Protocol):
    """A frozen network behind one call: clips in, named arrays out. The data pipeline knows nothing else of it.

    feature      name of the folder and of the role in a batch: "speech" and "video" (encoders, for the speaker's clips),
                 "speech_content", "video_content", "speech_style", "video_style" (generators, for the replies)
    fingerprint  hash of the weights and of every setting that changes the result
    roles        whose clips it reads: "speaker", "listener" (the replies), "history" (what the listener said before)
    reads        what it reads of a clip, of `READABLE`: a change of anything else leaves its records as they are
    batch        clips per call
    """

    @property
    def feature(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def reads(self) -> tuple[str, ...]: ...
    @property
    def batch(self) -> int: ...

    def __call__(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, np.ndarray] | UserError]:
        """One mapping per clip, which names its array `feature`; or the reason why that clip is unusable.

        Raises `UserError` where some clip is unusable and it does not say which.
        """


def extract(
    clips: Iterable[Clip],
    extractor: FeatureExtractor,
    cache: FeatureCache,
    hashes: ContentHashes,
    quarantine: Quarantine,
    *,
    host: int = 0,
    hosts: int = 1,
    verify: bool = False,
    progress: Callable[[int], None] = lambda done: None,
    tell: Callable[[str], None] = lambda line: None,
) -> int:
    """Computes what the cache lacks or holds damaged, in parts; returns how many records were added.

    A clip that the extractor cannot use is set aside with the reason, and the others of its batch are computed without it.
    Clips are dealt to hosts by their names, so that each host reads its own clips alone.

    Args:
        host, hosts: which share of the clips is computed here.
        verify: read every record of the cache through, not only those of parts that changed.
        progress: told how many clips are done.
        tell: told why parts of the cache are made anew.

    Raises:
        UserError: more clips are unusable than the quarantine allows; what was computed stays.
    """
    mine = [clip for clip in clips if host_of(clip, hosts) == host]
    quarantine.saw(len(mine))
    reads = tuple(getattr(extractor, "reads", READABLE))
    for reason in cache.repair(reads, host=host, hosts=hosts, verify=verify):
        tell(f"{reason}; its clips are computed again")
    unfinished = cache.folder / f"unfinished-h{host:03d}"
    unfinished.touch()
    added = 0
    waiting: list[tuple[str, Clip]] = []
    ready: list[tuple[str, Mapping[str, np.ndarray], Mapping[str, Any]]] = []
    alike: dict[str, list[Clip]] = {}  # clips of one content have one key, for instance all that miss their recording
    unusable: dict[str, UserError] = {}

    def set_aside(clip: Clip, key: str) -> None:
        reason = str(unusable[key]).replace(alike[key][0].id, clip.id)  # found out on the first of those that are alike
        quarantine.add(clip.id, f"unusable for {extractor.feature}", reason)

    def flush(least: int) -> None:
        nonlocal added
        while len(ready) >= least:
            cache.append(ready[:PART], host)
            added += len(ready[:PART])
            del ready[:PART]
            quarantine.enforce()

    def compute(batch: list[tuple[str, Clip]]) -> None:
        try:
            results = extractor([clip for _, clip in batch])
        except UserError as error:
            if len(batch) > 1:
                for pair in batch:
                    compute([pair])
                return
            results = [error]
        for (key, clip), result in zip(batch, results, strict=True):
            if isinstance(result, UserError):
                unusable[key] = result
                for clip_alike in alike[key]:
                    set_aside(clip_alike, key)
            else:
                ready.append((key, result, {"id": clip.id}))
        progress(len(batch))

    for clip in mine:
        try:
            key = clip_key(clip, extractor.fingerprint, hashes, reads)
        except UserError as error:
            quarantine.add(clip.id, "unreadable", error)
            progress(1)
            continue
        if key in cache or key in alike:
            if key in unusable:
                set_aside(clip, key)
            elif key in alike:
                alike[key].append(clip)
            progress(1)
            continue
        alike[key] = [clip]
        waiting.append((key, clip))
        if len(waiting) == extractor.batch:
            compute(waiting)
            waiting = []
            flush(PART)
    if waiting:
        compute(waiting)
    flush(1)
    quarantine.enforce()
    unfinished.unlink(missing_ok=True)
    return added


def host_of(clip: Clip, hosts: int) -> int:
    """Which of several hosts a clip belongs to, by its name."""
    return int.from_bytes(hashlib.sha256(clip.id.encode("utf-8", "surrogatepass")).digest()[:8], "big") % hosts
