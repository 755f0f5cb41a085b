"""A recording whose voice is to be taken: what the style encoders accept, and what they cannot use."""

from __future__ import annotations

import librosa
import numpy as np
import soxr
from jaxtyping import Float

from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.joins import SAMPLE_RATE

REFERENCE_SECONDS = 1.0
_SILENT = 1e-3  # RMS: 60 dB below full scale
_GRID = 12_000  # samples


def prepare_reference(wave: Float[np.ndarray, " n *channels"], rate: int = SAMPLE_RATE) -> Float[np.ndarray, " n"]:
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
    wave, _ = librosa.effects.trim(wave, top_db=30)
    if len(wave) < REFERENCE_SECONDS * SAMPLE_RATE:
        raise UserError(
            f"reference: {len(wave) / SAMPLE_RATE:.2f} s of speech; at least {REFERENCE_SECONDS:g} s are needed"
        )
    return wave[: len(wave) // _GRID * _GRID]
