"""How much of the replies stands in the training data already: copied, not composed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from empatheia_jax.conversation import schema
from empatheia_jax.errors import UserError
from evaluation.text import ngrams, normalise

LENGTH = 8
"""Words of a run that counts as copied. Shorter runs are common phrases."""


class TrainingReplies:
    """The responses of training splits: whole, and as runs of `LENGTH` words."""

    def __init__(self, responses: Iterable[str]):
        self._whole: set[tuple[str, ...]] = set()
        self._runs: set[int] = set()
        for each in responses:
            tokens = normalise(each)
            self._whole.add(tuple(tokens))
            self._runs.update(map(hash, ngrams(tokens, LENGTH)))

    @classmethod
    def of(cls, paths: Iterable[Path]) -> TrainingReplies:
        """The replies in files of the released layout. Malformed conversations are left out, as in training."""
        found = (each for path in paths for _, each in schema.iterate(path) if not isinstance(each, UserError))
        return cls(turn.response for each in found for turn in each.turns if turn.response)

    def verbatim(self, tokens: Sequence[str]) -> bool:
        """Whether a reply is one of them, word for word."""
        return tuple(tokens) in self._whole

    def copied(self, tokens: Sequence[str]) -> float:
        """Share of a reply's words that lie in a run of `LENGTH` words of the training data."""
        inside = [False] * len(tokens)
        for start, gram in enumerate(ngrams(tokens, LENGTH)):
            if hash(gram) in self._runs:
                inside[start : start + LENGTH] = [True] * LENGTH
        return sum(inside) / len(tokens) if tokens else 0.0
