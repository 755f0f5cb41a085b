"""`--mode=extract`: runs the frozen encoders and generators over every clip once and keeps what the stages need.

After it, no stage touches an encoder. Interrupted, it continues; with other weights or settings it computes anew beside
what is there, since the fingerprints differ (`data_pipeline.cache`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_pipeline.cache import ContentHashes, FeatureCache, FeatureExtractor, extract
from data_pipeline.examples import Example
from data_pipeline.features import ENCODED
from data_pipeline.fingerprints import STORE, fingerprints
from data_pipeline.layout import Clip, Tree
from data_pipeline.loader import DEBUG, cache_folder, load_examples
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import labels
from empatheia_jax.errors import UserError
from empatheia_jax.settings import Experiment


@dataclasses.dataclass(frozen=True)
class PerClip:
    """A `FeatureExtractor` from a function of one clip."""

    what: str
    fingerprint: str
    roles: tuple[str, ...]
    function: Callable[[Clip], np.ndarray]
    store: str = "float32"
    batch: int = 1

    def __call__(self, clips: Sequence[Clip]) -> list[Mapping[str, np.ndarray]]:
        """See `FeatureExtractor`. Raises `UserError` where the result is not finite: such a clip is unusable."""
        results = []
        for clip in clips:
            array = np.asarray(self.function(clip))
            if not np.isfinite(array.astype(np.float32)).all():
                raise UserError(f"{self.what} of utterance {clip.id} holds NaN or infinite values")
            results.append({self.what: array.astype(self.store)})
        return results


def extractors(config: Experiment) -> list[FeatureExtractor]:
    """The six extractors of a config, its networks loaded. Raises `UserError` where weights are missing."""
    from empatheia_jax import assemble

    marks = fingerprints(config)
    towers, speaker, animator = assemble.towers(config), assemble.speaker(config), assemble.animator(config)

    def speech_style(clip: Clip) -> np.ndarray:
        if hasattr(speaker, "style_of") and not speaker.voices.names:
            return speaker.style_of(clip.samples(24_000))
        from empatheia_jax.styletts2.voices import for_profile

        if clip.profile is None:
            raise UserError(f"utterance {clip.id} has no profile; the voice table needs one")
        voice = for_profile(*labels.profile_words(clip.profile.profile_id))
        return speaker.voice_style(voice, len(next(iter(speaker.passages(clip.text))).phonemes))

    def video_style(clip: Clip) -> np.ndarray:
        coefficients = clip.coefficients()
        if coefficients is None:
            raise UserError(
                f"utterance {clip.id} has no face coefficients; expected motion_v5_0/….npy (frames, 64) beside its video"
            )
        return animator.style_of(coefficients)

    functions = {
        "speech": lambda clip: towers.speech(clip.path("audio")),
        "video": lambda clip: towers.video(clip.path("video")),
        "speech_content": lambda clip: speaker.content_frames(speaker.token_ids(clip.text)),
        "speech_style": speech_style,
        "video_content": lambda clip: animator.content(clip.samples()),
        "video_style": video_style,
    }
    heard = ("speaker", "history") if config.data.listener_media else ("speaker",)
    return [
        PerClip(what, marks[what], heard if what in ENCODED else ("listener",), function, STORE.get(what, "float32"))
        for what, function in functions.items()
    ]


def clips_of(examples: Iterable[Example], tree: Tree, roles: Sequence[str]) -> list[Clip]:
    """The clips that examples need of these roles, each once: "speaker" and "history", the speaker's and the listener's in
    the histories; "listener", the replies.
    """
    kept = {"speaker": "speaker", "history": "listener"}
    kept = {said for role, said in kept.items() if role in roles}
    found: dict[str, Clip] = {}
    for example in examples:
        clips = [clip for clip in example.speaker_clips(tree) if clip.role in kept]
        if "listener" in roles and example.turn.response is not None:
            clips.append(example.reply_clip(tree))
        for clip in clips:
            found.setdefault(clip.id, clip)
    return list(found.values())


def run_extractors(
    config: Experiment, made: Sequence[FeatureExtractor], *, host: int = 0, hosts: int = 1, show: bool = True
) -> dict[str, int]:
    """Fills the cache of `config.data` with what the extractors make; returns the records added by each.

    Raises:
        UserError: more clips are unusable than `data.quarantine_limit` allows (what was computed stays).
    """
    root = cache_folder(config)
    tree = Tree(config.data.path)
    hashes = ContentHashes(root / "hashes.json")
    quarantine = Quarantine(config.data.quarantine_limit)
    examples = [
        example for split in tree.splits() for example in load_examples(config, split, quarantine, replies=False)[0]
    ]
    added = {}
    for extractor in made:
        clips = clips_of(examples, tree, extractor.roles)
        cache = FeatureCache(root, extractor.what, extractor.fingerprint)
        began = time.time()
        with tqdm(total=len(clips), desc=extractor.what, unit="clip", disable=not show) as bar:
            added[extractor.what] = extract(
                clips, extractor, cache, hashes, quarantine, host=host, hosts=hosts, progress=bar.update, tell=bar.write
            )
        if show:
            seconds = time.time() - began
            print(
                f"{extractor.what}: {added[extractor.what]} computed in {seconds:.1f} s, {len(cache)} in {cache.folder}"
            )
    hashes.save()
    quarantine.write(root / f"quarantine-extract-{host}.json")
    if show and quarantine.entries:
        print(quarantine.summary())
    quarantine.enforce()
    return added


def run(config: Experiment, workdir: Path) -> int:
    """The mode `extract`. Raises `UserError` where weights, data or too many clips are missing."""
    import jax

    from empatheia_jax import requirements

    if config.data.path == DEBUG:
        raise UserError("the made-up data set needs no extraction; start the training")
    requirements.require(config)
    run_extractors(config, extractors(config), host=jax.process_index(), hosts=jax.process_count())
    return 0
