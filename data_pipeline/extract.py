"""`--mode=extract`: runs the frozen encoders and generators over every clip once and keeps what the schedule needs.

After it, no stage touches an encoder. Interrupted, it continues; with other weights or settings it computes anew beside
what is there, since the fingerprints differ (`data_pipeline.cache`). Several processes share the clips among them.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data_pipeline.cache import READABLE, ContentHashes, FeatureCache
from data_pipeline.examples import Example
from data_pipeline.features import ENCODED, needed
from data_pipeline.fill_cache import FeatureExtractor, extract, host_of
from data_pipeline.fingerprints import NETWORK, STORE, fingerprints
from data_pipeline.layout import Clip, Tree
from data_pipeline.loader import DEBUG, cache_folder, load_examples
from data_pipeline.quarantine import Quarantine
from data_pipeline.requirements import no_room
from empatheia_jax.conversation import labels
from empatheia_jax.errors import UserError
from empatheia_jax.media.video import video_info
from empatheia_jax.settings import Experiment

CLIPS = 32
"""Clips that are decoded together, in threads, before a device encodes them in its own batches."""
LARGE = 1920 * 1088
"""Pixels of a frame above which only one film is decoded at a time: a decoder holds up to twenty frames."""


def _record(feature: str, store: str, clip: Clip, array: np.ndarray) -> Mapping[str, np.ndarray] | UserError:
    """What goes into the cache; the reason where the array is not finite."""
    array = np.asarray(array)
    if not np.isfinite(array.astype(np.float32)).all():
        return UserError(f"{feature} of utterance {clip.id} holds NaN or infinite values")
    return {feature: array.astype(store)}


@dataclasses.dataclass(frozen=True)
class PerClip:
    """A `FeatureExtractor` from a function of one clip."""

    feature: str
    fingerprint: str
    roles: tuple[str, ...]
    function: Callable[[Clip], np.ndarray]
    store: str = "float32"
    batch: int = 1
    reads: tuple[str, ...] = READABLE

    def __call__(self, clips: Sequence[Clip]) -> list[Mapping[str, np.ndarray] | UserError]:
        """See `FeatureExtractor`."""
        results: list[Mapping[str, np.ndarray] | UserError] = []
        for clip in clips:
            try:
                results.append(_record(self.feature, self.store, clip, self.function(clip)))
            except UserError as error:
                results.append(error)
        return results


@dataclasses.dataclass(frozen=True)
class Batched:
    """A `FeatureExtractor` that reads clips in threads and computes many at once.

    read        what the network takes of one clip; raises `UserError` where it is unusable
    compute     the arrays of several such inputs
    """

    feature: str
    fingerprint: str
    roles: tuple[str, ...]
    reads: tuple[str, ...]
    read: Callable[[Clip], Any]
    compute: Callable[[Sequence[Any]], Sequence[np.ndarray]]
    store: str = "float32"
    batch: int = CLIPS

    def __call__(self, clips: Sequence[Clip]) -> list[Mapping[str, np.ndarray] | UserError]:
        """See `FeatureExtractor`."""

        def read(clip: Clip) -> Any:
            try:
                return self.read(clip)
            except UserError as error:
                return error

        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            inputs = list(pool.map(read, clips))
        arrays = iter(self.compute([each for each in inputs if not isinstance(each, UserError)]))
        return [
            each if isinstance(each, UserError) else _record(self.feature, self.store, clip, next(arrays))
            for clip, each in zip(clips, inputs)
        ]


def extractors(config: Experiment, wanted: Sequence[str] = tuple(NETWORK)) -> list[FeatureExtractor]:
    """The extractors of a config that make what is wanted, their networks loaded.

    Raises `UserError` where weights are missing.
    """
    from empatheia_jax import assemble

    marks = fingerprints(config, wanted)
    heard = ("speaker", "history") if config.data.listener_media else ("speaker",)
    made: dict[str, FeatureExtractor] = {}

    def batched(feature: str, reads: str, read: Callable, compute: Callable) -> None:
        roles = heard if feature in ENCODED else ("listener",)
        made[feature] = Batched(feature, marks[feature], roles, (reads,), read, compute, STORE.get(feature, "float32"))

    def per_clip(feature: str, reads: tuple[str, ...], function: Callable[[Clip], np.ndarray]) -> None:
        made[feature] = PerClip(
            feature, marks[feature], ("listener",), function, STORE.get(feature, "float32"), reads=reads
        )

    if set(wanted) & set(ENCODED):
        towers, one_at_a_time = assemble.towers(config), threading.Lock()

        def film(clip: Clip) -> np.ndarray:
            path = clip.path("video")
            info = video_info(path)
            if info.height * info.width <= LARGE:
                return towers.read_video(path)
            with one_at_a_time:
                return towers.read_video(path)

        if "speech" in wanted:
            batched("speech", "audio", lambda clip: towers.read_speech(clip.path("audio")), towers.hear.many)
        if "video" in wanted:
            batched("video", "video", film, towers.see.many)
    if set(wanted) & {"speech_content", "speech_style"}:
        speaker = assemble.speaker(config)
        copies = hasattr(speaker, "style_of") and not speaker.voices.names

        def voice_style(clip: Clip) -> np.ndarray:
            from empatheia_jax.styletts2.voices import for_profile

            if clip.profile is None:
                raise UserError(f"utterance {clip.id} has no profile; the voice table needs one")
            voice = for_profile(*labels.profile_words(clip.profile.profile_id))
            return speaker.voice_style(voice, len(next(iter(speaker.passages(clip.text))).phonemes))

        if "speech_content" in wanted:
            both = config.bridge.speech_target == "with_bert"
            per_clip(
                "speech_content", ("text",), lambda c: speaker.content_frames(speaker.token_ids(c.text), bert=both)
            )
        if "speech_style" in wanted and copies:
            per_clip("speech_style", ("audio",), lambda clip: speaker.style_of(clip.samples(24_000)))
        elif "speech_style" in wanted:
            per_clip("speech_style", ("text", "profile"), voice_style)
    if set(wanted) & {"video_content", "video_style"}:
        animator = assemble.animator(config)

        def video_style(clip: Clip) -> np.ndarray:
            coefficients = clip.coefficients()
            if coefficients is None:
                raise UserError(
                    f"utterance {clip.id} has no face coefficients; expected a file in motion_v5_0 that is named as its "
                    "video: an array (frames, 64) as .npy or a track of Deep3DFaceRecon as .mat"
                )
            return animator.style_of(coefficients)

        if "video_content" in wanted:
            compute = animator.contents if config.bridge.video_target == "content" else animator.speech_frames
            batched("video_content", "audio", lambda clip: clip.samples(), compute)
        if "video_style" in wanted:
            per_clip("video_style", ("motion",), video_style)
    return [made[feature] for feature in wanted]


def clips_of(examples: Iterable[Example], tree: Tree, roles: Sequence[str]) -> list[Clip]:
    """The clips that examples need of these roles, each once: "speaker" and "history", the speaker's and the listener's in
    the histories; "listener", the replies.
    """
    said_by = {"speaker": "speaker", "history": "listener"}
    kept = {speaker for role, speaker in said_by.items() if role in roles}
    found: dict[tuple[str, str, str], Clip] = {}
    for example in examples:
        clips = [clip for clip in example.speaker_clips(tree) if clip.role in kept]
        if "listener" in roles and example.turn.response is not None:
            clips.append(example.reply_clip(tree))
        for clip in clips:
            found.setdefault((clip.id, clip.role, clip.text), clip)  # a conversation may be in two splits
    return list(found.values())


def run_extractors(
    config: Experiment,
    made: Sequence[FeatureExtractor],
    *,
    host: int = 0,
    hosts: int = 1,
    show: bool = True,
    verify: bool = False,
) -> dict[str, int]:
    """Fills the cache of `config.data` with what the extractors make; returns the records added by each.

    An extractor that finds more unusable clips than `data.quarantine_limit` allows is left, and the others go on.

    Args:
        config: with `data`.
        made: the extractors.
        host, hosts: which share of the clips is computed here.
        show: print and draw what is done.
        verify: read every recording and every record again instead of believing what is remembered of them.

    Raises:
        UserError: more dialogues, or more clips of an extractor, are unusable than the limit allows. What was computed stays.
    """
    root = cache_folder(config)
    tree = Tree(config.data.path)
    hashes = ContentHashes(root / "hashes.json", verify=verify)
    limit = config.data.quarantine_limit
    dialogues = Quarantine(limit)
    examples = [
        example for split in tree.splits() for example in load_examples(config, split, dialogues, replies=False)[0]
    ]
    everything, added, failed = [("dialogues", dialogues)], {}, []
    for extractor in made:
        clips = clips_of(examples, tree, extractor.roles)
        cache, quarantine = FeatureCache(root, extractor.feature, extractor.fingerprint), Quarantine(limit)
        everything.append((extractor.feature, quarantine))
        began, before = time.time(), len(cache)
        with tqdm(
            total=sum(host_of(clip, hosts) == host for clip in clips),
            desc=extractor.feature,
            unit="clip",
            disable=not show,
        ) as bar:
            try:
                added[extractor.feature] = extract(
                    clips,
                    extractor,
                    cache,
                    hashes,
                    quarantine,
                    host=host,
                    hosts=hosts,
                    verify=verify,
                    progress=bar.update,
                    tell=bar.write if show else lambda line: None,
                )
            except UserError as error:
                added[extractor.feature] = len(cache) - before
                failed.append(f"{extractor.feature}: {error}")
        hashes.save()
        if show:
            seconds = time.time() - began
            print(
                f"{extractor.feature}: {added[extractor.feature]} computed in {seconds:.1f} s, {len(cache)} in {cache.folder}"
            )
            if quarantine.entries:
                print(f"{extractor.feature}: {quarantine.summary()}")
    report = root / f"quarantine-extract-{host}.json"
    Quarantine.write_all(report, everything)
    try:
        dialogues.enforce()
    except UserError as error:
        failed.insert(0, f"dialogues: {error}")
    if failed:
        raise UserError.of([*failed, f"the whole list is in {report}"])
    return added


def run(config: Experiment, workdir: Path, verify: bool = False) -> int:
    """The mode `extract`. Raises `UserError` where weights, data or too many clips are missing."""
    import jax

    from empatheia_jax import requirements

    requirements.writable(cache_folder(config), "data.cache")
    if config.data.path == DEBUG:
        raise UserError("the made-up data set needs no extraction; start the training")
    wanted = needed(config)
    requirements.require(config, networks=tuple(dict.fromkeys(NETWORK[feature] for feature in wanted)))
    if lines := no_room(config):
        raise UserError.of(lines)
    left = [feature for feature in NETWORK if feature not in wanted]
    if left and jax.process_index() == 0:
        print(f"not needed by this schedule, and left out: {', '.join(left)}")
    if wanted:
        made = extractors(config, wanted)
        run_extractors(config, made, host=jax.process_index(), hosts=jax.process_count(), verify=verify)
    return 0
