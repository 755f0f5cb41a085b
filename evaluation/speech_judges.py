"""Judges of speech that others trained: words heard (Whisper), predicted opinion (DNSMOS), whose voice (Resemblyzer).

All belong to the extra `eval`; one that is not installed raises `Absent`, and the report names it.

* words: Whisper tiny.en (`media.transcription`). Both texts are normalised by `styletts2.text` before words are compared, so
  that "$3.50" and "three dollars and fifty cents" are the same words. Word errors = substitutions + insertions + deletions.
* DNSMOS P.835 overall (speechmos), 16 kHz.
* voices: Resemblyzer's embeddings; their cosine says how alike two voices are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from empatheia_jax.media import transcription
from empatheia_jax.styletts2.text import normalise

RATE = 16_000
EXTRA = "pip install 'empatheia-jax[eval]'"


class Absent(Exception):
    """A judge is not there; the message says what is missing and how to get it."""


def _imported(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except ImportError as error:
        raise Absent(f"{error.name or error} is missing; run: {EXTRA}") from None


def words(text: str) -> list[str]:
    """Words to compare: spoken form, lower case, no punctuation."""
    letters = "".join(c if c.isalnum() or c == "'" else " " for c in normalise(text).lower())
    return letters.replace("'", "").split()


def word_errors(heard: Sequence[str], said: Sequence[str]) -> int:
    """Levenshtein distance over words."""
    row = list(range(len(said) + 1))
    for i, ours in enumerate(heard, 1):
        previous, row = row, [i]
        for j, theirs in enumerate(said, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (ours != theirs)))
    return row[-1]


class Whisper:
    """Writes down what is said. `identity` is part of what results are cached by."""

    identity = "whisper tiny.en, faster-whisper, beam 5"

    def __init__(self) -> None:
        if not transcription.is_installed():
            raise Absent(f"the recogniser is missing; run: {EXTRA}")

    def __call__(self, wave: Float[np.ndarray, " N"]) -> str:
        """The words of 16-kHz speech."""
        return transcription.words(wave)


class Opinion:
    """DNSMOS P.835: the predicted overall opinion, 1 to 5."""

    identity = "DNSMOS P.835 overall, speechmos"

    def __init__(self) -> None:
        def load() -> Any:
            from speechmos import dnsmos

            return dnsmos

        self._dnsmos = _imported(load)

    def __call__(self, wave: Float[np.ndarray, " N"]) -> float:
        """The opinion of 16-kHz speech."""
        return float(self._dnsmos.run(np.clip(wave, -1, 1), sr=RATE)["ovrl_mos"])


class VoicePrint:
    """Resemblyzer: an embedding of whose voice it is, of length 1."""

    identity = "resemblyzer"

    def __init__(self) -> None:
        def load() -> Any:
            from resemblyzer import VoiceEncoder

            return VoiceEncoder

        self._encoder = _imported(load)("cpu", verbose=False)

    def __call__(self, wave: Float[np.ndarray, " N"]) -> Float[np.ndarray, " 256"]:
        """The embedding of 16-kHz speech."""
        return np.asarray(self._encoder.embed_utterance(wave))
