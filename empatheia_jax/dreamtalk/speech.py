"""Speech → feature rows for the content encoder: wav2vec 2.0, or log-mel energies where that is too large to ship."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from empatheia_jax.dreamtalk import features
from empatheia_jax.dreamtalk.compiled import Compiled
from empatheia_jax.encoders.batching import in_batches
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2

LOG_MEL = "log-mel"  # the name of speech features that need no weights
PIECE = 20 * features.SAMPLE_RATE  # samples that wav2vec 2.0 attends over at once …
MARGIN = 100  # … in speech of more than one piece, with so many rows of context on either side
BUCKET = 5 * features.SAMPLE_RATE  # shorter speech is padded (and masked) to a multiple of this


class SpeechFeatures:
    """Features of any length of speech, 50 rows per second, in bounded memory and under few compilations.

    Args:
        network: the wav2vec 2.0 whose last hidden states are the features; None = log-mel energies.
        width: of a row; the number of bands of the energies.
        piece, margin, bucket: see the constants above.
    """

    def __init__(
        self, network: Wav2Vec2 | None, width: int, *, piece: int = PIECE, margin: int = MARGIN, bucket: int = BUCKET
    ):
        self.width = width
        self._piece, self._margin, self._bucket = piece, margin, bucket
        self._network = None if network is None else Compiled(network, _last_hidden)

    def __call__(self, wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "rows C"]:
        """Feature rows of 16 kHz mono samples in [-1, 1].

        wav2vec 2.0 attends over the whole clip as the released program does, up to one piece (20 s); longer speech is
        read in pieces of that length that overlap by two seconds on either side.

        Raises:
            UserError: see `features.check_wave`.
        """
        wave = features.check_wave(wave)
        if self._network is None:
            return features.log_mel(wave, self.width)
        wave = features.standardise(wave)
        rows = features.rows_of(len(wave))
        if len(wave) <= self._piece:
            return self._read(wave, -(-len(wave) // self._bucket) * self._bucket)[:rows]
        out = np.empty((rows, self.width), np.float32)
        kept = self._piece // features.HOP - 2 * self._margin
        for begin in range(0, rows, kept):
            first = max(0, begin - self._margin)
            got = self._read(wave[first * features.HOP :][: self._piece], self._piece)
            end = min(begin + kept, rows)
            out[begin:end] = got[begin - first : end - first]
        return out

    def many(self, waves: Sequence[Float[np.ndarray, " _"]]) -> list[Float[np.ndarray, "_ C"]]:
        """Features of several sounds. Those of one piece that have the same bucket are read together. Raises as a call does."""
        sizes = [-(-len(wave) // self._bucket) * self._bucket if len(wave) <= self._piece else 0 for wave in waves]
        found: dict[int, Float[np.ndarray, "rows C"]] = {}
        for size in sorted(set(sizes)) if self._network is not None else ():
            if size:
                members = [number for number, each in enumerate(sizes) if each == size]
                kept = [features.standardise(features.check_wave(waves[number])) for number in members]
                read = in_batches(partial(self._read_many, size=size), kept)
                found |= {n: rows[: features.rows_of(len(waves[n]))] for n, rows in zip(members, read)}
        return [found[number] if number in found else self(wave) for number, wave in enumerate(waves)]

    def _read(self, wave: np.ndarray, size: int) -> np.ndarray:
        return self._read_many([wave], size)[0]

    def _read_many(self, waves: Sequence[np.ndarray], size: int) -> np.ndarray:
        if self._network is None:
            raise ValueError("energies are not read in batches")
        padded = np.zeros((len(waves), size), np.float32)
        for row, wave in enumerate(waves):
            padded[row, : len(wave)] = wave
        return np.asarray(self._network(padded, np.asarray([len(wave) for wave in waves])))


def _last_hidden(network: Wav2Vec2, values, lengths):
    return network(values, lengths=lengths).last
