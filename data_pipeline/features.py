"""Where a batch's features and targets come from: the feature cache, or made-up numbers for debugging."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from data_pipeline.cache import ContentHashes, FeatureCache, clip_key
from data_pipeline.layout import Clip
from empatheia_jax.errors import UserError
from empatheia_jax.media.video import frames_for
from empatheia_jax.settings import Experiment

ENCODED = ("speech", "video")
"""Features of the speaker's clips: (24, C) each."""
TARGETS = {
    "emp": (),
    "ccl": ("speech_content", "video_content"),
    "sac": ("speech_style", "video_style"),
}
"""Loss → what the generators say about the reply's clip, which it compares with."""


def targets(config: Experiment, stage: str) -> tuple[str, ...]:
    """What the losses of a stage compare with; what `objective.without` leaves out needs nothing."""
    return tuple(feature for loss in config.losses(stage) for feature in TARGETS[loss])


def needed(config: Experiment) -> tuple[str, ...]:
    """The features and targets that the schedule of a config needs."""
    wanted = {feature for stage in config.schedule for feature in targets(config, stage)} | set(config.data.modalities)
    everything = (*ENCODED, *(feature for each in TARGETS.values() for feature in each))
    return tuple(feature for feature in everything if feature in wanted)


@runtime_checkable
class Features(Protocol):
    """Arrays of a clip by what they are."""

    def missing(self, feature: str, clip: Clip) -> str | None:
        """Why this clip has no such feature, or None where it has."""

    def get(self, feature: str, clip: Clip) -> np.ndarray:
        """The array. Raises `UserError` where it is absent or stale."""


class CachedFeatures:
    """Reads the feature cache. Keys are computed once per clip and feature.

    Args:
        root: the cache folder.
        fingerprints: feature → fingerprint of the extractor that the config stands for.

    Raises:
        UserError: the cache holds nothing at all for one of them, or parts of it are damaged.
    """

    def __init__(self, root: str | os.PathLike, fingerprints: Mapping[str, str]):
        self.caches = {feature: FeatureCache(root, feature, mark) for feature, mark in fingerprints.items()}
        damaged = [reason for cache in self.caches.values() for reason in cache.damaged]
        if damaged:
            raise UserError(
                f"the feature cache has {len(damaged)} damaged parts ({damaged[0]}); run --mode=extract again, which makes "
                "them anew"
            )
        empty = [str(cache.folder) for cache in self.caches.values() if not len(cache)]
        if empty:
            raise UserError(
                f"the feature cache is empty ({', '.join(empty)}); fill it with --mode=extract and the same config"
            )
        self.hashes = ContentHashes(Path(root) / "hashes.json")
        self._keys: dict[tuple, str] = {}

    def _key(self, feature: str, clip: Clip) -> str:
        name = feature, clip.id, clip.text, clip.audio, clip.video, clip.motion  # an id may be in two splits
        if name not in self._keys:
            cache = self.caches[feature]
            self._keys[name] = clip_key(clip, cache.fingerprint, self.hashes, cache.reads)
        return self._keys[name]

    def missing(self, feature: str, clip: Clip) -> str | None:
        """See `Features`."""
        try:
            if self._key(feature, clip) in self.caches[feature]:
                return None
        except UserError as error:
            return str(error)
        return f"the cache has no {feature} of utterance {clip.id}: not extracted, or its recording changed since"

    def get(self, feature: str, clip: Clip) -> np.ndarray:
        """See `Features`."""
        return self.caches[feature].read(self._key(feature, clip))[feature]


class MadeUpFeatures:
    """Numbers of the right shapes without a network or a file, a fixed function of the words: for debugging only.

    Args:
        shapes: feature → shape of its last axes: (C,) of the features and styles, (C,) of the speech content, (window, D)
            of the video content.
        slots: places per utterance.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], slots: int):
        self.shapes, self.slots = dict(shapes), slots

    def missing(self, feature: str, clip: Clip) -> str | None:
        """Nothing is missing here."""
        return None

    def get(self, feature: str, clip: Clip) -> np.ndarray:
        """See `Features`."""
        seed = hashlib.sha256(f"{feature}/{clip.role}/{clip.text}".encode()).digest()
        random = np.random.Generator(np.random.Philox(key=int.from_bytes(seed[:16], "little")))
        words = len(clip.text.split())
        length = {
            "speech": (self.slots,),
            "video": (self.slots,),
            "speech_content": (4 * words + 2,),
            "video_content": (frames_for(0.35 * words),),
        }.get(feature, ())
        return random.standard_normal((*length, *self.shapes[feature]), np.float32)
