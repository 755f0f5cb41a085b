"""Do lips move with the loudness of the voice: a measure that has learned nothing.

Lips that speak change with the loudness of the voice. For a shift s of the sound, the score is the share of the variance of the
mouth's pixels that the loudness explains:

    explained(s) = Σ_p cov(x_p, l_s)² / (var(l_s) Σ_p var(x_p)),   x_p the grey of pixel p over time, l_s the loudness s frames
    off

As with SyncNet, the *offset* is the shift of the largest score (negative: the sound is late), and the *confidence* is the
largest minus the median over all shifts, here in per cent of the variance. It knows nothing of phonemes: a mouth that does
nothing but follow the loudness scores above one that speaks. So it does not rank systems (`learned_lips` does). It needs a mouth
that stays in the lower middle of the picture: talking heads that are cropped to the face, as all of ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.errors import UserError
from evaluation.frames import to_gray

SHIFT, LEAST = 8, 6
"""Largest shift in frames; fewest frames that must overlap."""
ROWS, COLUMNS = (0.55, 0.9), (0.28, 0.72)
"""Where the mouth is, as shares of the picture's height and width."""
POOL = 4
"""Pixels are averaged over squares of this side, so that the grain of the codec does not count."""


@dataclass(frozen=True)
class LipMotion:
    """offset in frames; confidence and best in per cent of the mouth's variance; the score of every shift."""

    offset: int
    confidence: float
    best: float
    explained: Float[np.ndarray, " shifts"]


def loudness(
    samples: Float[np.ndarray, " N"], rate: int, frames: int, per_second: float = 25
) -> Float[np.ndarray, " F"]:
    """Loudness of each film frame in decibels, no less than 40 below the loudest."""
    size = rate / per_second
    edges = np.minimum(np.round(np.arange(frames + 1) * size).astype(int), len(samples))
    power = np.array([np.mean(np.square(samples[a:b])) if b > a else 0.0 for a, b in zip(edges, edges[1:])])
    top = power.max()
    return 10 * np.log10(np.maximum(power, top * 1e-4) / top) if top > 0 else np.zeros(frames)


def mouth(frames: UInt8[np.ndarray, "N H W 3"], pool: int = POOL) -> Float[np.ndarray, "N P"]:
    """Grey values of the mouth's region, averaged over squares of `pool` pixels a side."""
    height, width = frames.shape[1:3]
    rows, columns = (slice(int(a * n), int(b * n)) for (a, b), n in ((ROWS, height), (COLUMNS, width)))
    region = to_gray(frames[:, rows, columns]).astype(np.float32)
    h, w = (n // pool * pool for n in region.shape[1:])
    pooled = region[:, :h, :w].reshape(len(region), h // pool, pool, w // pool, pool).mean((2, 4))
    return pooled.reshape(len(region), -1)


def score(pixels: Float[np.ndarray, "N P"], loud: Float[np.ndarray, " N"], shift: int = SHIFT) -> LipMotion:
    """Offset and confidence. Raises `UserError` where the clip is too short."""
    count = min(len(pixels), len(loud))
    shift = min(shift, count - LEAST)
    if shift < 2:
        raise UserError(f"a clip of {count} frames; expected at least {LEAST + 2} with their sound")
    explained = np.zeros(2 * shift + 1)
    for index, s in enumerate(range(-shift, shift + 1)):
        first, last = max(0, s), count + min(0, s)
        x, sound = pixels[first - s : last - s], loud[first:last]
        x, sound = x - x.mean(0), sound - sound.mean()
        total, power = float(np.square(x).sum()), float(np.square(sound).sum())
        explained[index] = 100 * float(np.square(sound @ x).sum()) / (power * total) if power * total > 0 else 0.0
    best = int(explained.argmax())
    return LipMotion(shift - best, float(explained[best] - np.median(explained)), float(explained[best]), explained)
