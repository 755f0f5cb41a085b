"""A listener of decoding (`core.decoding.generate`) that turns tokens into text and ends rows at stop strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from empatheia_jax.core.tokenizer import Tokenizer, contains_any


class StopStrings:
    """An `on_token` that ends a row once its text holds one of `stops`; passes tokens' new text on to `on_text`.

    on_text: called with (row, new text); text from a stop string on is not passed on. A tail that might become a stop
    string is held back until it is certain.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        batch: int,
        stops: Sequence[str] = (),
        on_text: Callable[[int, str], None] | None = None,
    ):
        self._streams = [tokenizer.stream() for _ in range(batch)]
        self._texts, self._told = [""] * batch, [0] * batch
        self._stops, self._on_text = tuple(stops), on_text

    def __call__(self, tokens: np.ndarray, real: np.ndarray) -> np.ndarray:
        ends = np.zeros(len(tokens), bool)
        for row in map(int, np.flatnonzero(real)):
            self._texts[row] += self._streams[row].push(int(tokens[row]))
            place = contains_any(self._texts[row], self._stops)
            ends[row] = place is not None
            self._say(row, place if place is not None else len(self._texts[row]) - self._held(self._texts[row]))
        return ends

    def text(self, row: int) -> str:
        """The row's text up to its stop string."""
        return self._texts[row][: contains_any(self._texts[row], self._stops)]

    def finish(self) -> None:
        """Passes on what was held back; call it after decoding."""
        for row in range(len(self._texts)):
            self._say(row, len(self.text(row)))

    def _held(self, text: str) -> int:
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        tails = (n for n in range(min(longest, len(text)), 0, -1) if any(s.startswith(text[-n:]) for s in self._stops))
        return next(tails, 0)

    def _say(self, row: int, upto: int) -> None:
        if self._on_text is not None and upto > self._told[row]:
            self._on_text(int(row), self._texts[row][self._told[row] : upto])
            self._told[row] = upto
