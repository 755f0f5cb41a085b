"""Pitch, pace and loudness of speech: numbers that need no judge.

The pitch of a frame (40 ms, every 10 ms) is the lag of the largest normalised autocorrelation between 60 and 500 Hz, refined by
a parabola. A frame is voiced where that autocorrelation is at least 0.5 and the frame is at most 30 dB below the loudest one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

WINDOW, HOP = 0.040, 0.010
LOWEST, HIGHEST = 60.0, 500.0
VOICED, QUIET = 0.5, 30.0


@dataclass(frozen=True)
class Voice:
    """f0: median in Hz of the voiced frames (NaN where there is none); f0_range: from the 10th to the 90th percentile in
    semitones; level: RMS in dB of full scale; level_range: of the voiced frames, from the 10th to the 90th percentile in dB;
    voiced: share of the frames; seconds.
    """

    f0: float
    f0_range: float
    level: float
    level_range: float
    voiced: float
    seconds: float


def pitch(samples: Float[np.ndarray, " N"], rate: int) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
    """(pitch in Hz, NaN where a frame is not voiced; level in dB) of each frame."""
    width, hop = round(WINDOW * rate), round(HOP * rate)
    samples = np.pad(samples.astype(np.float64), (0, max(0, width - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, width)[::hop]
    frames = frames - frames.mean(1, keepdims=True)
    size = 1 << (2 * width - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(frames, size)) ** 2
    correlation = np.fft.irfft(spectrum, size)[:, :width]
    # The overlap shrinks with the lag: divided by the energies of the two halves that do overlap.
    energy = np.cumsum(np.square(frames), axis=1)
    lags = np.arange(width)
    left = energy[:, width - 1 - lags]
    right = energy[:, -1:] - np.where(lags > 0, energy[:, lags - 1], 0)
    normal = correlation / np.sqrt(np.maximum(left * right, 1e-20))
    low, high = int(rate / HIGHEST), min(int(rate / LOWEST), width - 2)
    inside = normal[:, low : high + 1]
    # The first lag that is nearly as good as the best: multiples of the period are as good as the period itself.
    near = inside >= 0.9 * inside.max(1, keepdims=True)
    peak = inside[:, 1:-1] >= np.maximum(inside[:, :-2], inside[:, 2:])
    candidates = np.pad(peak, ((0, 0), (1, 1))) & near
    best = np.where(candidates.any(1), candidates.argmax(1), inside.argmax(1)) + low
    row = np.arange(len(best))
    a, b, c = normal[row, best - 1], normal[row, best], normal[row, np.minimum(best + 1, width - 1)]
    bend = a - 2 * b + c
    lag = best + np.where(np.abs(bend) > 1e-12, 0.5 * (a - c) / np.where(bend == 0, 1, bend), 0).clip(-0.5, 0.5)
    level = 10 * np.log10(np.maximum(np.square(frames).mean(1), 1e-12))
    voiced = (b >= VOICED) & (level >= level.max() - QUIET) & (level > -90)
    return np.where(voiced, rate / lag, np.nan), level


def describe(samples: Float[np.ndarray, " N"], rate: int) -> Voice:
    """Pitch and loudness of one recording."""
    found, level = pitch(samples, rate)
    voiced = ~np.isnan(found)
    rms = 10 * np.log10(max(float(np.mean(np.square(samples))), 1e-12))
    seconds = len(samples) / rate
    if not voiced.any():
        return Voice(float("nan"), float("nan"), rms, float("nan"), 0.0, seconds)
    low, middle, high = np.percentile(found[voiced], (10, 50, 90))
    quiet, loud = np.percentile(level[voiced], (10, 90))
    return Voice(
        float(middle), float(12 * np.log2(high / low)), rms, float(loud - quiet), float(voiced.mean()), seconds
    )
