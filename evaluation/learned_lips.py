"""Does a mouth move as the mouths of recordings move with this sound: a measure that learns from recordings.

In the spirit of SyncNet (Chung and Zisserman, 2016), but small and in closed form. From recordings of people who speak it finds
a few *directions*: weights of the mouth's pixels, whose sum over time the sound predicts best (canonical correlations with
ridges). A direction counts where it is predicted in dialogues that were left out of the learning, too (a correlation of `SEEN` or
more). Let x_k be the mouth of a film along direction k, y_k what its sound predicts, and v_k the variance of x_k − y_k over
recordings that were left out. Then

    D(s) = mean over time of Σ_k (x_k(t) − y_k(t + s))² / v_k
    score = 100 (1 − D(0) / median of D over all shifts s)

The score is the share of the mismatch that is gone when a mouth has its own sound rather than that of another moment. It is
about 0 for a still mouth and for the sound of another film. A mouth that moves too much for its sound loses, as does one that
moves too little. The *offset* is the shift of the smallest distance (negative: the sound is late), as with SyncNet. Unlike
SyncNet's confidence, the score is that of the film as it is: a late sound lowers it.

A mouth is seen as grey values of the lower middle of the picture. Movements slower than about a second are taken off, since they
are the head's. Sound is log-mel energies over ±80 ms, relative to the recording's own level and spectrum.
The measure can be fooled: a mouth that moves exactly as predicted, like the average of recordings, scores 100, and recordings
do not.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from scipy import linalg
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from data_pipeline.layout import Clip, Tree
from empatheia_jax.conversation import schema
from empatheia_jax.dreamtalk.features import log_mel
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_bytes
from evaluation import films, lip_loudness
from evaluation.consistency import folds
from evaluation.speech_judges import Absent
from evaluation.store import content_hash, key_of

VERSION = 1
RATE, ROWS_PER_FRAME = 16_000, 2
SHIFT, LEAST = 15, 6
"""Largest shift in frames, as SyncNet's; fewest frames that must overlap."""
POOL = 12
"""Side of the squares over which pixels are averaged, in pictures of 256 × 256."""
SLOW = 6.0
"""σ in frames of the average that is taken off, of mouth and sound alike."""
BANDS, AROUND = 24, (-4, -2, 0, 2, 4)
"""Bands of the log-mel energies; rows of 20 ms before and after a frame that are heard."""
DIRECTIONS, SEEN = 4, 0.2
MOUTH_RIDGE, SOUND_RIDGE = 3.0, 0.3
"""In mean variances of a pixel and of a band. These constants were chosen on training recordings, with dialogues left out."""
CLIPS = 100
"""Recordings that are learned from, evenly from all of the split."""


@dataclass(frozen=True)
class LipMatch:
    """offset in frames (negative: the sound is late), score in per cent."""

    offset: int
    score: float


@dataclass(frozen=True)
class Take:
    """Mouth and sound of one recording, frame by frame, and its dialogue."""

    dialogue: str
    mouth: Float[np.ndarray, "N P"]
    sound: Float[np.ndarray, "N S"]


def _quick(values: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Without what changes slowly."""
    quick = values - gaussian_filter1d(values, SLOW, axis=0, mode="nearest")
    return quick - quick.mean(axis=0)


def mouth(frames: UInt8[np.ndarray, "N 256 256 3"]) -> Float[np.ndarray, "N P"]:
    """The quick movements of the mouth's region, in grey values."""
    return _quick(lip_loudness.mouth(frames, POOL).astype(np.float64))


def sound(samples: Float[np.ndarray, " N"], frames: int) -> Float[np.ndarray, "frames S"]:
    """What is heard around each frame: log-mel energies, which vary about 0 with variance 1 over all bands."""
    rows = log_mel(samples, BANDS).astype(np.float64)
    rows = (rows - rows.mean(axis=0)) / max(float(rows.std()), 1e-6)
    at = ROWS_PER_FRAME * np.arange(frames)[:, None] + np.asarray(AROUND)
    return _quick(rows[np.clip(at, 0, len(rows) - 1)].reshape(frames, -1))


def take(dialogue: str, frames: UInt8[np.ndarray, "N 256 256 3"], samples: Float[np.ndarray, " M"]) -> Take:
    """Mouth and sound of a film in its one form and its sound at 16 kHz, as long as both last.

    Raises:
      UserError: too short, or a sound that is none.
    """
    count = min(len(frames), round(len(samples) / RATE * films.RATE))
    if count < LEAST + 2:
        raise UserError(f"a clip of {count} frames; expected at least {LEAST + 2} with their sound")
    return Take(dialogue, mouth(frames[:count]), sound(samples, count))


def _directions(takes: Sequence[Take]) -> tuple[np.ndarray, np.ndarray]:
    """Weights (P, K) of the mouth's pixels and (S, K) of the sound, the most correlated pairs first."""
    x, y = np.concatenate([each.mouth for each in takes]), np.concatenate([each.sound for each in takes])
    roots = []
    for values, ridge in ((x, MOUTH_RIDGE), (y, SOUND_RIDGE)):
        cov = values.T @ values / len(values)
        cov += (ridge * np.trace(cov) / len(cov) + 1e-9) * np.eye(len(cov))
        roots.append(np.linalg.cholesky(cov))
    both = linalg.solve_triangular(roots[0], x.T @ y / len(x), lower=True)
    both = linalg.solve_triangular(roots[1], both.T, lower=True).T
    left, _, right = np.linalg.svd(both, full_matrices=False)
    return (
        linalg.solve_triangular(roots[0].T, left[:, :DIRECTIONS]),
        linalg.solve_triangular(roots[1].T, right[:DIRECTIONS].T),
    )


@dataclass(frozen=True)
class Lips:
    """What was learned.

    pixels, sounds: weights by direction, those of the sound scaled so that it predicts the mouth. noise: variance of what it
    does not predict. correlations: where dialogues were left out. recordings: how many. own_score: their mean score, left out.
    identity: what the numbers depend on.
    """

    pixels: Float[np.ndarray, "P K"]
    sounds: Float[np.ndarray, "S K"]
    noise: Float[np.ndarray, " K"]
    correlations: Float[np.ndarray, " K"]
    recordings: int
    own_score: float
    identity: str = ""

    def predicted(self, heard: Float[np.ndarray, "N S"]) -> Float[np.ndarray, "N K"]:
        """How a mouth of the recordings moves on average with this sound, along each direction."""
        return heard @ self.sounds

    def match(self, found: Take) -> LipMatch:
        """Offset and score of a film."""
        return _match(found.mouth @ self.pixels, self.predicted(found.sound), self.noise)

    def __call__(self, frames: UInt8[np.ndarray, "N 256 256 3"], samples: Float[np.ndarray, " M"]) -> LipMatch:
        """Offset and score of a film in its one form (`films`) with a sound at 16 kHz. Raises `UserError` as `take`."""
        return self.match(take("", frames, samples))


def _match(seen: Float[np.ndarray, "N K"], predicted: Float[np.ndarray, "N K"], noise: np.ndarray) -> LipMatch:
    count = len(seen)
    most = min(SHIFT, count - LEAST)
    distances = np.zeros(2 * most + 1)
    for place, s in enumerate(range(-most, most + 1)):
        x, y = seen[max(0, -s) : count - max(0, s)], predicted[max(0, s) : count - max(0, -s)]
        distances[place] = (np.square(x - y) / noise).sum(axis=1).mean()
    usual = float(np.median(distances))
    score = 100 * (1 - float(distances[most]) / usual) if usual > 0 else 0.0
    return LipMatch(most - int(distances.argmin()), score)


def learn(takes: Sequence[Take]) -> Lips:
    """Learns from recordings of at least two dialogues.

    Raises:
      Absent: too few dialogues, or no movement of their mouths that their sound predicts.
    """
    fold = folds([each.dialogue for each in takes])
    if len(set(fold.values())) < 2:
        raise Absent(f"{len(takes)} recordings of one dialogue; how lips move is learned from two dialogues or more")
    seen, heard = [np.zeros((0, DIRECTIONS))] * len(takes), [np.zeros((0, DIRECTIONS))] * len(takes)
    for out in sorted(set(fold.values())):
        pixels, sounds = _directions([each for each in takes if fold[each.dialogue] != out])
        for place, each in enumerate(takes):
            if fold[each.dialogue] == out:
                seen[place], heard[place] = each.mouth @ pixels, each.sound @ sounds
    x, y = np.concatenate(seen), np.concatenate(heard)
    xx, yy, xy = (np.maximum((a * b).sum(axis=0), 1e-12) for a, b in ((x, x), (y, y), (x, y)))
    correlations, slopes = xy / np.sqrt(xx * yy), xy / yy
    kept = correlations >= SEEN
    if not kept.any():
        raise Absent(
            f"in {len(takes)} recordings no movement in the lower middle of the picture follows the sound (largest correlation "
            f"{correlations.max():.2f}, dialogues left out); are they cropped to the face?"
        )
    noise = np.maximum(np.square(x - slopes * y).mean(axis=0), 1e-9)[kept]
    own = [_match(a[:, kept], (slopes * b)[:, kept], noise).score for a, b in zip(seen, heard)]
    pixels, sounds = _directions(takes)
    return Lips(pixels[:, kept], (slopes * sounds)[:, kept], noise, correlations[kept], len(takes), float(np.mean(own)))


def chosen(tree: Tree, split: str = "train") -> list[Clip]:
    """The recordings of a split that are learned from: at most `CLIPS` with a film and a sound, evenly from all."""
    read = [each for _, each in schema.iterate(tree.split_file(split)) if not isinstance(each, UserError)]
    found = [clip for each in read for clip in tree.clips(each) if clip.video and clip.audio]
    places = np.unique(np.linspace(0, len(found) - 1, min(CLIPS, len(found))).round().astype(int))
    return [found[place] for place in places]


def of_recordings(folder: Path | None, cache: Path | None = None) -> Lips:
    """Learns from the training split of a data set, or reads from `cache` what was learned from the same files.

    Raises:
      Absent: there is no such split with films, or as `learn`.
    """
    tree = None if folder is None or not folder.is_dir() else Tree(folder)
    clips = chosen(tree) if tree is not None and "train" in tree.splits() else []
    if not clips:
        raise Absent(
            f"no training recordings from which to learn how lips move ({folder or 'none given'}); expected films in the split "
            "train of --recordings=DATA"
        )
    files = [content_hash(path) for each in clips for path in (each.path("video"), each.path("audio"))]
    key = key_of(measure="learned lips", version=VERSION, form=films.WORDS, files=files)
    kept = None if cache is None else cache / f"lips-{key}.npz"
    found = _read(kept)
    if found is None:
        takes = []
        for each in tqdm(clips, desc="learn how lips move", unit="recording", disable=None):
            try:
                film = each.path("video")
                takes.append(
                    take(each.conversation_id, films.standard(film), films.sound(film, each.path("audio"), RATE))
                )
            except UserError:  # the others suffice; how many there were is said beside the scores
                continue
        found = learn(takes)
        if kept is not None:
            _write(kept, found)
    return dataclasses.replace(found, identity=f"lips of {found.recordings} recordings, {key}")


_ARRAYS = ("pixels", "sounds", "noise", "correlations")


def _write(path: Path, lips: Lips) -> None:
    file = io.BytesIO()
    arrays = {name: getattr(lips, name) for name in _ARRAYS}
    np.savez(file, allow_pickle=False, **arrays, recordings=lips.recordings, own_score=lips.own_score)
    write_bytes(path, file.getvalue())


def _read(path: Path | None) -> Lips | None:
    """What was kept, or None where it is not there or damaged."""
    if path is None or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            return Lips(**arrays, recordings=int(file["recordings"]), own_score=float(file["own_score"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
