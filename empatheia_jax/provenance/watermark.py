"""A watermark in a sound that nobody hears and that compression, resampling, noise and gain leave in it.

    watermark = Watermark.load()            # weights/perth
    marked = watermark.mark(samples, rate)
    watermark.score(marked, rate)           # 0 … 1; found above `THRESHOLD`

It says "this was generated"; it carries no message. A change of speed by 5 % or a re-recording may remove it.
"""

from __future__ import annotations

import os

import jax
import numpy as np
import scipy.fft
import soxr
from flax import nnx
from jaxtyping import Complex, Float

from empatheia_jax import weights
from empatheia_jax.provenance.perth import KIND, STACKS, Perth, PerthConfig

WEIGHTS = "perth"
THRESHOLD = 0.5
"""Where the release rounds its score to yes."""
HEADROOM, LOUD = 15.0, 0.05
"""Decibels above full scale at a normalised magnitude of 1; share of the loudest frame's sum that a frame needs to count."""
STRETCHES = {"slow": 1.25, "normal": 1.0, "fast": 0.75}
SHORTEST = 128
"""Frames of the smallest compiled size; sizes double."""


class Watermark:
    """Marks sounds and finds marks. Make one by `load`."""

    def __init__(self, model: Perth):
        self.config = model.config
        graph, self._state = nnx.split(model)
        self._residual = jax.jit(lambda state, x, valid: nnx.merge(graph, state).residual(x, valid))
        self._votes = {
            name: jax.jit(lambda state, x, valid, name=name: nnx.merge(graph, state).votes(name, x, valid))
            for name in STACKS[1:]
        }

    @classmethod
    def load(cls, folder: str | os.PathLike = WEIGHTS) -> Watermark:
        """With the weights of `folder` (`weights.find`). Raises `UserError` where there are none."""
        return cls(weights.restore(weights.find(folder), Perth, PerthConfig, kind=KIND))

    def warm(self, seconds: float) -> None:
        """Compiles what marking sounds of up to so many seconds needs."""
        frames = SHORTEST
        while True:
            self._run(self._residual, np.zeros((frames, self.config.bands), np.float32))
            if frames * self.config.hop_size >= seconds * self.config.sample_rate:
                return
            frames *= 2

    def mark(self, samples: Float[np.ndarray, " n"], rate: int) -> Float[np.ndarray, " n"]:
        """The sound with the mark. It is equally long and changed below 2 kHz only. A sound below 0.05 s is returned unchanged.

        Only the difference is resampled, so what is above the marked band keeps every sample's value but rounding.
        """
        samples = np.asarray(samples, np.float32)
        spectrum = self._spectrum_of(samples, rate)
        if spectrum is None:
            return samples
        bands = self.config.bands
        levels = self.levels(spectrum)
        added = self._run(self._residual, levels[:, :bands]) * loud(levels)[:, None]
        old = spectrum[:, :bands]
        phase = np.exp(1j * np.angle(old))
        change = np.zeros_like(spectrum)
        change[:, :bands] = self.magnitudes(levels[:, :bands] + added) * phase - old
        difference = soxr.resample(self.sound(change), self.config.sample_rate, rate)
        marked = samples.copy()
        n = min(len(marked), len(difference))
        marked[:n] += difference[:n].astype(np.float32)
        return np.clip(marked, -1.0, 1.0)

    def score(self, samples: Float[np.ndarray, " n"], rate: int) -> float:
        """How sure the detector is that a sound is marked, 0 … 1."""
        spectrum = self._spectrum_of(np.asarray(samples, np.float32), rate)
        return 0.0 if spectrum is None else self.score_of(self.levels(spectrum))

    def score_of(self, levels: Float[np.ndarray, "T F"]) -> float:
        """`score` of normalised magnitudes."""
        counts, bands = loud(levels), levels[:, : self.config.bands]
        attention, votes = [], []
        for name, factor in STRETCHES.items():
            size = int(len(bands) * factor)
            told = self._run(self._votes[name], stretched(bands, size))
            weight = counts[np.minimum((np.arange(size) * (len(counts) / size)).astype(int), len(counts) - 1)]
            attention.append(float((told[:, 0] * weight).sum() / max(weight.sum(), 1.0)))
            votes.append(float((told[:, 1] * weight).sum() / max(weight.sum(), 1.0)))
        share = np.exp(np.array(attention) - max(attention))
        return float(np.clip(np.dot(share / share.sum(), votes), 0.0, 1.0))

    def found(self, samples: Float[np.ndarray, " n"], rate: int) -> bool:
        """Whether a sound is marked."""
        return self.score(samples, rate) > THRESHOLD

    # ------------------------------------------------------------------------------------------------ spectrograms

    def _spectrum_of(self, samples: np.ndarray, rate: int) -> Complex[np.ndarray, "T F"] | None:
        """None where the sound is too short for one, or silent."""
        config = self.config
        if len(samples) / rate < 0.05 or not np.any(samples):
            return None
        sound = samples if rate == config.sample_rate else soxr.resample(samples, rate, config.sample_rate)
        return self.spectrum(np.pad(sound, (0, max(-len(sound) % config.hop_size, config.n_fft // 2 + 1 - len(sound)))))

    def _window(self) -> Float[np.ndarray, " W"]:
        n = self.config.n_fft
        return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)

    def spectrum(self, sound: Float[np.ndarray, " n"]) -> Complex[np.ndarray, "T F"]:
        """The short-time Fourier transform with frames centred at multiples of the hop, edges mirrored."""
        config = self.config
        padded = np.pad(np.asarray(sound, np.float32), config.n_fft // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop_size]
        return scipy.fft.rfft(frames * self._window(), axis=1)

    def sound(self, spectrum: Complex[np.ndarray, "T F"]) -> Float[np.ndarray, " n"]:
        """The inverse: (T − 1) · hop samples."""
        config, window = self.config, self._window()
        frames = scipy.fft.irfft(spectrum, config.n_fft, axis=1) * window
        total = np.zeros(config.n_fft + config.hop_size * (len(frames) - 1))
        power = np.zeros_like(total)
        for n, frame in enumerate(frames):
            at = slice(n * config.hop_size, n * config.hop_size + config.n_fft)
            total[at] += frame
            power[at] += window**2
        edge = config.n_fft // 2
        return (total[edge:-edge] / np.maximum(power[edge:-edge], 1e-8)).astype(np.float32)

    def levels(self, spectrum: Complex[np.ndarray, "T F"]) -> Float[np.ndarray, "T F"]:
        """Magnitudes in decibels, normalised: 0 at the least that counts, 1 at 15 dB above full scale."""
        least = 20 * np.log10(self.config.stft_magnitude_min)
        decibels = 20 * np.log10(np.maximum(np.abs(spectrum), self.config.stft_magnitude_min))
        return ((decibels - least) / (HEADROOM - least)).astype(np.float32)

    def magnitudes(self, levels: Float[np.ndarray, "T F"]) -> Float[np.ndarray, "T F"]:
        """The inverse of `levels`."""
        least = 20 * np.log10(self.config.stft_magnitude_min)
        return 10.0 ** (np.asarray(levels * (HEADROOM - least) + least, np.float64) / 20)

    def _run(self, program, levels: Float[np.ndarray, "T F"]) -> Float[np.ndarray, "T O"]:
        """A network over the frames, padded to a size that is compiled already or once."""
        frames = len(levels)
        size = max(SHORTEST, 1 << (frames - 1).bit_length())
        padded = np.zeros((1, size, levels.shape[1]), np.float32)
        padded[0, :frames] = levels
        return np.asarray(program(self._state, padded, (np.arange(size) < frames)[None]))[0, :frames]


def loud(levels: Float[np.ndarray, "T F"]) -> Float[np.ndarray, " T"]:
    """1 for frames that are marked, 0 for those too quiet."""
    sums = levels.sum(axis=1)
    return (sums > LOUD * sums.max()).astype(np.float32)


def stretched(x: Float[np.ndarray, "T F"], size: int) -> Float[np.ndarray, "S F"]:
    """Linear interpolation over time; first and last frame stay."""
    if size == len(x):
        return x
    places = np.linspace(0, len(x) - 1, size)
    below = np.minimum(places.astype(int), len(x) - 2) if len(x) > 1 else np.zeros(size, int)
    share = (places - below)[:, None].astype(np.float32)
    return x[below] * (1 - share) + x[np.minimum(below + 1, len(x) - 1)] * share
