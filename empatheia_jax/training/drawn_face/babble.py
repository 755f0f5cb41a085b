"""Speech-like sound without a speaker: random syllables of a source-filter voice, to train on without any recording."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.signal import lfilter

RATE = 16_000

# The first three formants (Hz) of vowels all over the vowel chart, men's values (Peterson and Barney 1952).
_VOWELS = np.array(
    [
        (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440),
        (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690),
    ],
    np.float64,
)  # fmt: skip
_BANDWIDTHS = (80.0, 110.0, 160.0)


def _resonate(source: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Two-pole resonators in a row, each with unit gain at zero frequency."""
    for frequency, bandwidth in zip(formants, _BANDWIDTHS):
        radius = np.exp(-np.pi * bandwidth / RATE)
        a1, a2 = -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2
        source = lfilter([1 + a1 + a2], [1.0, a1, a2], source)
    return source


def babble(rng: np.random.Generator, seconds: float) -> Float[np.ndarray, " samples"]:
    """Syllables of random consonants and vowels with pauses, one random voice, at 16 kHz and a peak of 0.5."""
    total = int(seconds * RATE)
    out = np.zeros(total + RATE)
    pitch = float(rng.uniform(85, 300))
    tract = float(rng.uniform(0.95, 1.3)) if pitch > 150 else float(rng.uniform(0.9, 1.1))
    rate = float(rng.uniform(3.0, 6.0))  # syllables per second
    at = int(rng.uniform(0.0, 0.5) * RATE)
    vowel = _VOWELS[rng.integers(len(_VOWELS))] * tract
    while at < total:
        if rng.random() < 0.14:
            at += int(rng.uniform(0.15, 0.8) * RATE)  # a breath
            continue
        length = int(RATE / rate * rng.uniform(0.6, 1.6))
        before, vowel = vowel, _VOWELS[rng.integers(len(_VOWELS))] * tract * rng.uniform(0.94, 1.06, 3)
        # Glottal pulses: falling spectrum, gliding pitch, a little jitter.
        track = pitch * (1.0 + rng.uniform(-0.15, 0.2) + rng.uniform(-0.2, 0.2) * np.linspace(0, 1, length))
        phase = np.cumsum(track / RATE)
        pulses = np.diff(np.floor(phase), prepend=0.0) + 0.02 * rng.standard_normal(length)
        source = lfilter([1.0], [1.0, -0.94], pulses)
        source = lfilter([1.0, -1.0], [1.0, -0.995], source)
        glide = np.clip(np.linspace(0, length / (0.07 * RATE), length), 0, 1)
        sound = (1 - glide) * _resonate(source, before) + glide * _resonate(source, vowel)
        ramp = min(int(rng.uniform(0.02, 0.05) * RATE), length // 3)
        envelope = np.ones(length)
        envelope[:ramp] = np.linspace(0, 1, ramp)
        envelope[-ramp:] = np.linspace(1, rng.uniform(0.0, 0.5), ramp)
        syllable = sound * envelope * rng.uniform(0.5, 1.2)
        kind = rng.random()
        if kind < 0.3:  # a hiss before the vowel
            hiss = rng.standard_normal(int(rng.uniform(0.05, 0.12) * RATE))
            hiss = lfilter([1.0, -0.95], [1.0], hiss) * np.hanning(len(hiss)) * 0.05 * rng.uniform(0.4, 1.5)
            syllable = np.concatenate([hiss, syllable])
        elif kind < 0.65:  # closed lips or tongue, with a burst
            syllable = np.concatenate([np.zeros(int(rng.uniform(0.04, 0.11) * RATE)), syllable])
        end = min(at + len(syllable), len(out))
        out[at:end] += syllable[: end - at]
        at += len(syllable)
    out = out[:total] + 10 ** rng.uniform(-5, -3) * rng.standard_normal(total) * max(np.abs(out).max(), 1e-9)
    return (0.5 * out / max(np.abs(out).max(), 1e-9)).astype(np.float32)
