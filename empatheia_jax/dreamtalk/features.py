"""Speech features at 50 rows per second: what the content encoder reads where wav2vec 2.0 is too large to ship."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float

from empatheia_jax.errors import UserError

SAMPLE_RATE = 16_000
HOP = 320  # samples per row: the stride of wav2vec 2.0, so both kinds of features count rows alike
WINDOW = 400
FFT = 1024
FLOOR = 1e-5
SHIFT, SCALE = 4.0, 4.0  # brings the logarithm of speech near zero mean and unit size


def rows_of(samples: int) -> int:
    """Feature rows of so many samples at 16 kHz."""
    return max(0, (samples - WINDOW) // HOP + 1)


def frames_of(samples: int, rows_per_frame: int = 2) -> int:
    """Video frames of so many samples: rows // 2, plus one where the picture would end more than a frame early.

    The released program always takes rows // 2, which for some lengths (719 samples, for instance) is more than one
    frame short. The added frame's centre row exists, so nothing is invented.
    """
    rows = rows_of(samples)
    frames = rows // rows_per_frame
    return frames + 1 if samples > (frames + 1) * rows_per_frame * HOP and rows > frames * rows_per_frame else frames


def check_wave(wave: np.ndarray) -> Float[np.ndarray, " samples"]:
    """The wave as float32.

    Raises:
        UserError: not mono, empty, shorter than one video frame, or with NaN or infinite samples.
    """
    wave = np.asarray(wave)
    if wave.ndim != 1:
        raise UserError(f"speech of shape {wave.shape}; expected mono samples (n,) at {SAMPLE_RATE} Hz")
    if wave.dtype.kind != "f":
        raise UserError(f"speech of type {wave.dtype}; expected floating-point samples in [-1, 1]")
    if not np.isfinite(wave).all():
        raise UserError(f"speech has {int((~np.isfinite(wave)).sum())} NaN or infinite samples; expected finite ones")
    if frames_of(len(wave)) < 1:
        raise UserError(
            f"speech of {len(wave)} samples is shorter than one video frame; expected at least 0.05 s at {SAMPLE_RATE} Hz"
        )
    return wave.astype(np.float32)


def standardise(wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """Zero mean and unit variance over the clip: (x - mean) / sqrt(var + 1e-7). Silence stays silence."""
    wave = np.asarray(wave)
    wide = wave.astype(np.float64)
    return ((wide - wide.mean()) / np.sqrt(wide.var() + 1e-7)).astype(wave.dtype)


@cache
def mel_filters(bands: int) -> Float[np.ndarray, "bins bands"]:
    """Triangular filters, equally spaced on the mel scale 2595 log10(1 + f / 700) from 0 Hz to 8 kHz, peaks at 1."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequency = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    rising = (frequency[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequency[:, None]) / (corners[2:] - corners[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(wave: Float[np.ndarray, " samples"], bands: int) -> Float[np.ndarray, "rows bands"]:
    """Log-mel energies of the standardised wave, scaled to about zero mean and unit size.

    Row r covers samples 320 r … 320 r + 399 (Hann window). Any length in bounded memory.
    """
    wave = standardise(check_wave(wave))
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    out = np.empty((len(frames), bands), np.float32)
    for begin in range(0, len(frames), 1000):
        power = np.abs(np.fft.rfft(frames[begin : begin + 1000] * window, FFT)).astype(np.float32) ** 2 / WINDOW
        out[begin : begin + 1000] = (np.log(power @ mel_filters(bands) + FLOOR) + SHIFT) / SCALE
    return out
