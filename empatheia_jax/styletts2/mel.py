"""The mel front-end that StyleTTS 2's encoders were trained on.

Power spectrogram of 24 kHz audio (FFT 2048, periodic Hann of 1200 centred in it, hop 300, reflected by 1024 at both ends) →
80 triangular HTK mel bands without area normalisation → (ln(1e-5 + mel) + 4) / 4. The filterbank is the one for a *sample
rate of 16000*: the original never told its library the real rate (`meldataset.py`), and the weights know no other.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

FFT = 2048
WINDOW = 1200
HOP = 300
BANDS = 80
FILTERBANK_RATE = 16000
MEAN, STD, FLOOR = -4.0, 4.0, 1e-5


def _ramp(first: float, last: float, count: int) -> Float[np.ndarray, " count"]:
    """Equally spaced float32 numbers, counted from the nearer end in float32 steps."""
    low, high, index = np.float32(first), np.float32(last), np.arange(count, dtype=np.float32)
    step = (high - low) / np.float32(count - 1)
    return np.where(index < count // 2, low + step * index, high - step * (np.float32(count - 1) - index))


@functools.cache
def filterbank() -> Float[np.ndarray, "1025 80"]:
    """Triangles whose corners are equally spaced on the HTK mel scale 2595 log10(1 + f / 700), from 0 to 8000 Hz.

    In float32 step by step, as the filters were that the weights were trained with: exact corners would move filter values
    by up to 5e-6.
    """
    single = np.float32
    frequencies = _ramp(0, FILTERBANK_RATE / 2, FFT // 2 + 1)
    mels = _ramp(0, 2595 * np.log10(1 + FILTERBANK_RATE / 2 / 700), BANDS + 2) / single(2595)
    corners = single(700) * ((10 ** mels.astype(np.float64)).astype(single) - single(1))
    distance = corners[None] - frequencies[:, None]  # (1025, 82)
    width = np.diff(corners)
    rising, falling = -distance[:, :-2] / width[:-1], distance[:, 2:] / width[1:]
    return np.maximum(single(0), np.minimum(rising, falling))


@functools.cache
def window() -> Float[np.ndarray, " 2048"]:
    """Periodic Hann of 1200 samples, zeros around it."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    before = (FFT - WINDOW) // 2
    return np.pad(hann, (before, FFT - WINDOW - before))


def mel_power(wave: Float[Array, "*B N"]) -> Float[Array, "*B N//300+1 80"]:
    """Mel power spectrogram; needs more than 1024 samples (what the reflection takes)."""
    count = wave.shape[-1] // HOP + 1
    padded = jnp.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(FFT // 2, FFT // 2)], mode="reflect")
    frames = padded[..., np.arange(count)[:, None] * HOP + np.arange(FFT)]
    spectrum = jnp.fft.rfft(frames * jnp.asarray(window(), wave.dtype))
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return power @ jnp.asarray(filterbank(), wave.dtype)


def log_mel(wave: Float[Array, "*B N"]) -> Float[Array, "*B N//300+1 80"]:
    """What the encoders see: log of the mel power, shifted and scaled to about unit range."""
    return (jnp.log(FLOOR + mel_power(wave)) - MEAN) / STD
