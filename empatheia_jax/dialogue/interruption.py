"""Whether a user who makes a sound while the avatar speaks wants to speak: half a second of voice, and no less.

A cough, a "mh", a door or a key is shorter, or has no voice. What counts is time with voice: blocks of 20 ms that are clearly
louder than the quiet around them and periodic as voices are. A gap of up to 0.3 s joins what is before and after it; a longer one
begins anew.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

NEEDED = 0.5
"""Seconds of speech that end a reply."""
BLOCK = 0.02
GAP = 0.3
LOUD = 0.01
"""RMS below which nothing is speech: −40 dB of full scale, a quiet room at a usual gain."""
ABOVE_NOISE = 3.0
"""How many times louder than the room's noise speech is, in RMS."""
LOWEST, HIGHEST = 60.0, 450.0
"""Hz: the pitch of voices, children's included."""
PERIODIC = 0.35
"""Least peak of the normalised autocorrelation within the range of pitch."""
WINDOW = 0.04
"""Seconds that are looked at for a pitch: two periods of the lowest."""


class InterruptionDetector:
    """Listens to the microphone while the avatar speaks. `push` what comes in; it says when speech has lasted long enough.

    rate: samples a second of what is pushed.
    """

    def __init__(self, rate: int):
        if rate < 8000:
            raise ValueError(f"a rate of {rate} Hz; expected at least 8000, for the pitch of voices")
        self.rate = rate
        self._block, self._window = round(BLOCK * rate), round(WINDOW * rate)
        self.reset()

    def reset(self) -> None:
        """Forgets what was heard, the room's noise too."""
        self._rest = np.zeros(0, np.float32)
        self._noise: float | None = None
        self._voiced = self._silent = 0

    @property
    def seconds(self) -> float:
        """Speech that has lasted until now; 0 once it was silent for longer than a gap."""
        return self._voiced * BLOCK

    @property
    def interrupted(self) -> bool:
        """Whether it is enough to end the reply."""
        return self.seconds >= NEEDED

    def push(self, samples: Float[np.ndarray, " n"]) -> bool:
        """Takes in sound (float, full scale ±1), of any length; whether speech has now lasted `NEEDED` seconds."""
        self._rest = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        enough = False
        while len(self._rest) >= self._window:
            self._take(self._rest[: self._window])
            enough |= self.interrupted
            self._rest = self._rest[self._block :]
        return enough

    def _take(self, window: np.ndarray) -> None:
        level = float(np.sqrt(np.mean(np.square(window[: self._block], dtype=np.float64))))
        loud = level > max(LOUD, ABOVE_NOISE * (self._noise or 0.0))
        if loud and self._periodicity(window) > PERIODIC:
            self._voiced += 1
            self._silent = 0
            return
        if not loud:  # the room: follows down at once, up slowly
            self._noise = level if self._noise is None else min(level, 0.95 * self._noise + 0.05 * level)
        self._silent += 1
        if self._silent * BLOCK > GAP:
            self._voiced = 0

    def _periodicity(self, window: np.ndarray) -> float:
        """The highest peak of the autocorrelation at the distances of a voice's pitch; 1 = periodic, 0 = noise."""
        wave = window.astype(np.float64) - window.mean()
        size = 1 << (2 * len(wave) - 1).bit_length()
        spectrum = np.fft.rfft(wave, size)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(wave)]
        power = np.cumsum(np.square(wave))
        shortest, longest = int(self.rate / HIGHEST), min(int(self.rate / LOWEST), len(wave) - 2)
        lags = np.arange(shortest, longest + 1)
        first, second = power[len(wave) - 1 - lags], power[-1] - power[lags - 1]
        found = correlation[lags] / np.sqrt(np.maximum(first * second, 1e-12))
        # A slow drift correlates at every distance: only a peak that stands apart is a pitch.
        peaks = (found[1:-1] > found[:-2]) & (found[1:-1] >= found[2:])
        return float(found[1:-1][peaks].max(initial=0.0))
