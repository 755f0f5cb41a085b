"""Mel-frequency cepstra (MFCC) as SyncNet hears sound: those of the package `python_speech_features`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.fft import dct

RATE = 16_000
ROWS_PER_SECOND = 100


def _filters(count: int, bins: int) -> Float[np.ndarray, "filters bins"]:
    """Triangles, evenly spaced on the mel scale 2595 log10(1 + f / 700) from 0 to half the rate."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, count + 2) / 2595) - 1)
    places = np.floor((2 * (bins - 1) + 1) * edges / RATE)
    index = np.arange(bins)[None]
    low, top, high = (places[k : k + count, None] for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        rising, falling = (index - low) / (top - low), (high - index) / (high - top)
    triangle = np.where((index >= low) & (index < top), rising, np.where((index >= top) & (index < high), falling, 0))
    return np.nan_to_num(triangle)


def mfcc(samples: Int[np.ndarray, " N"]) -> Float[np.ndarray, "rows 13"]:
    """Mel-frequency cepstra of 16-bit samples, as `python_speech_features` gives them: 25 ms every 10 ms without a window
    function, pre-emphasis 0.97, 512-point spectrum, 26 filters, lifter 22, the first coefficient replaced by the log energy.
    """
    width, hop, points = 400, 160, 512
    x = samples.astype(np.float64)
    x = np.append(x[0], x[1:] - 0.97 * x[:-1])
    rows = 1 if len(x) <= width else 1 + int(np.ceil((len(x) - width) / hop))
    x = np.pad(x, (0, max(0, (rows - 1) * hop + width - len(x))))
    frames = x[np.arange(width)[None] + hop * np.arange(rows)[:, None]]
    power = np.square(np.abs(np.fft.rfft(frames, points))) / points
    tiny = np.finfo(float).eps
    energy = np.maximum(power.sum(axis=1), tiny)
    energy = np.where(power.sum(axis=1) == 0, tiny, energy)
    mel = power @ _filters(26, points // 2 + 1).T
    cepstra = dct(np.log(np.where(mel == 0, tiny, mel)), type=2, axis=1, norm="ortho")[:, :13]
    cepstra = cepstra * (1 + 11 * np.sin(np.pi * np.arange(13) / 22))
    cepstra[:, 0] = np.log(energy)
    return cepstra
