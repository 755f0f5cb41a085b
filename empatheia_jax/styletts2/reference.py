"""A recording whose voice is to be taken: what the style encoders accept, and what they cannot use."""

from __future__ import annotations

import numpy as np
import soxr
from jaxtyping import Float

from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.joins import SAMPLE_RATE

REFERENCE_SECONDS = 1.0
_SILENT = 1e-3  # RMS: 60 dB below full scale
_GRID = 12_000  # samples
_WINDOW, _HOP, _QUIET_DB = 2048, 512, 30.0


def prepare_reference(wave: Float[np.ndarray, " n *channels"], rate: int = SAMPLE_RATE) -> Float[np.ndarray, " m"]:
    """A recording as the style encoders take it: mono, 24 kHz, without the silence around the words (30 dB below its peak).

    Raises:
        UserError: as `Speaker.style_of`.
    """
    wave = np.asarray(wave, np.float32)
    if wave.ndim == 2:
        wave = wave.mean(axis=1)
    if wave.ndim != 1 or not 1_000 <= rate <= 768_000:
        raise UserError(f"reference: expected samples (n,) or (n, channels); found shape {wave.shape} at {rate} Hz")
    if not np.isfinite(wave).all():
        raise UserError("reference: the recording holds NaN or infinite samples")
    if wave.size == 0 or np.sqrt(np.mean(np.square(wave))) < _SILENT:
        raise UserError("reference: the recording is silent; expected someone speaking")
    if rate != SAMPLE_RATE:
        wave = soxr.resample(wave, rate, SAMPLE_RATE)
    wave = without_silence_around(wave)
    if len(wave) < REFERENCE_SECONDS * SAMPLE_RATE:
        raise UserError(
            f"reference: {len(wave) / SAMPLE_RATE:.2f} s of speech; at least {REFERENCE_SECONDS:g} s are needed"
        )
    return wave[: len(wave) // _GRID * _GRID]


def without_silence_around(wave: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """From the first to the last window whose RMS is less than 30 dB below that of the loudest.

    The rule and the windows are those of `librosa.effects.trim`, which the original calls. It is computed here, because that
    library compiles for half a minute when it is first used.
    """
    padded = np.pad(wave, _WINDOW // 2)
    energy = np.concatenate([[0.0], np.cumsum(np.square(padded, dtype=np.float64))])
    begins = np.arange(0, len(padded) - _WINDOW + 1, _HOP)
    power = (energy[begins + _WINDOW] - energy[begins]) / _WINDOW
    decibels = 10 * np.log10(np.maximum(power, 1e-10))
    loud = np.flatnonzero(decibels > decibels.max() - _QUIET_DB)
    return wave[loud[0] * _HOP : (loud[-1] + 1) * _HOP]
