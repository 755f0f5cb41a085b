"""What the small DreamTalk is trained on: drawn people who speak with feeling, made from seeds.

Training and evaluation never share a person or a sound: identities and clips below `HELD_OUT` train, those from it on test.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.dreamtalk.drawn_face import visemes
from empatheia_jax.dreamtalk.drawn_face.drawing import draw_many
from empatheia_jax.dreamtalk.drawn_face.expressions import EMOTIONS, perform
from empatheia_jax.dreamtalk.drawn_face.identity import sample_identity
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION, FULL, coefficients
from empatheia_jax.dreamtalk.windows import motion_windows
from empatheia_jax.training.drawn_face.babble import babble

HELD_OUT = 1_000_000
_NAMED = np.array(sorted(ACTIONS.values()))


@dataclasses.dataclass(frozen=True)
class Shard:
    """Frames to learn the renderer from: `portrait_index` says whose portrait each frame starts from."""

    portraits: UInt8[np.ndarray, "people 128 128 3"]
    frames: UInt8[np.ndarray, "frames 128 128 3"]
    windows: Float[np.ndarray, "frames 27 73"]
    portrait_index: np.ndarray


def performance(
    seed: int,
    seconds: float,
    wave: np.ndarray | None = None,
    emotion: str | None = None,
    intensity: float | None = None,
    idle: bool = True,
) -> tuple[Float[np.ndarray, " samples"], Float[np.ndarray, "frames 73"], str]:
    """A sound, the motion of a face that speaks it with an emotion, and that emotion; all from the seed unless given."""
    rng = np.random.default_rng([seed, 1])
    drawn = EMOTIONS[int(rng.integers(len(EMOTIONS)))]
    strength = float(rng.uniform(0.55, 1.1))
    wave = babble(rng, seconds) if wave is None else wave
    emotion = emotion or drawn
    mouth = visemes.from_audio(wave)
    strength = strength if intensity is None else intensity
    motion = perform(emotion, len(mouth["jaw_open"]), seed=seed, intensity=strength, mouth=mouth, idle=idle)
    return wave, motion, emotion


def _widen(rng: np.random.Generator, motion: np.ndarray) -> np.ndarray:
    """More variety than performances have, for the renderer: other actions mixed in, larger movements of the head."""
    motion = motion.copy()
    if rng.random() < 0.5:
        chosen = rng.choice(_NAMED, 4, replace=False)
        motion[:, chosen] += rng.normal(0.0, 0.35 * FULL, 4)
    if rng.random() < 0.25:  # a mouth that is held open or rounded
        lower = np.array([0, 2, 1])
        motion[:, lower] += rng.uniform(0.0, 0.6 * FULL, 3) * (rng.random(3) < 0.5)
    pose = slice(EXPRESSION, EXPRESSION + 6)
    rest = coefficients(1)[0, pose]
    motion[:, pose] = rest + (motion[:, pose] - rest) * rng.uniform(0.5, 2.0)
    return np.clip(motion, -1.4 * FULL, 1.4 * FULL)


def widened_windows(rng: np.random.Generator, seed: int, count: int, radius: int) -> Float[np.ndarray, "count 27 73"]:
    """Coefficient windows around random frames of a performance, with more variety than performances have."""
    _, motion, _ = performance(seed, 3.0)
    motion = _widen(rng, motion)
    chosen = rng.choice(len(motion), count, replace=False)
    return motion_windows(motion, radius=radius)[chosen].astype(np.float32)


def shard(seed: int, people: int, frames_each: int, radius: int = 13) -> Shard:
    """Draws `people` new persons, each at rest and in `frames_each` frames of performances of their own."""
    rng = np.random.default_rng([seed, 2])
    identities = [sample_identity(seed * 1000 + i) for i in range(people)]
    portraits = draw_many(identities, coefficients(people))
    rows, windows, index = [], [], []
    for i in range(people):
        _, motion, _ = performance(seed * 1000 + i, 3.0)
        motion = _widen(rng, motion)
        chosen = rng.choice(len(motion), frames_each, replace=False)
        rows.append(motion[chosen])
        windows.append(motion_windows(motion, radius=radius)[chosen])
        index += [i] * frames_each
    frames = draw_many([identities[i] for i in index], np.concatenate(rows))
    return Shard(portraits, frames, np.concatenate(windows).astype(np.float32), np.array(index))
