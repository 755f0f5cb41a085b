"""A reply while it is written: its steps and words as they become certain, its sentences, and when its words are said."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from empatheia_jax.conversation import answer
from empatheia_jax.conversation.answer import END, Answer
from empatheia_jax.dialogue.events import Word
from empatheia_jax.dialogue.request import CHAIN
from empatheia_jax.styletts2.joins import SAMPLE_RATE
from empatheia_jax.styletts2.speaker import FIRST_PIECE, Speech
from empatheia_jax.styletts2.text import normalise

_BREAK = re.compile(r"[.!?…]+[\"”’')\]]*(?=\s)")
_CLOSED = re.compile(r"[.!?…][\"”’')\]]*$")


class Reader:
    """Reads an answer that grows.

    steps: whether the answer has the chain (`conversation.answer.form`).
    """

    def __init__(self, *, steps: bool):
        self.steps = steps
        self._told_steps = 0
        self._told = 0
        self.answer = answer.parse_reply("")

    def read(self, text: str, *, ended: bool) -> tuple[list[tuple[str, str]], str]:
        """(steps that are complete now: name and value; new words of the response) from all text so far.

        What may still become the closing tag, and blanks that may turn out to be the last ones, are held back until `ended`.
        """
        certain = text if ended else text[: len(text) - _held(text)]
        found = answer.parse_reply(certain)
        begun = ended or answer.response_begun(certain, steps=self.steps)
        self.answer = found if begun else _without_response(found)
        names = CHAIN if self.steps else ("speaker_emotion",)
        values = [(name, getattr(found, name)) for name in names]
        # A step is complete when the next one has begun; they come in order.
        known = max((place + 1 for place, (_, value) in enumerate(values) if value), default=0)
        complete = known if begun else known - 1
        new = [(name, value) for name, value in values[self._told_steps : complete] if value]
        self._told_steps = max(self._told_steps, complete)
        words = self.answer.response[self._told :]
        self._told += len(words)
        return new, words


def _held(text: str) -> int:
    """How many of the last characters may be the beginning of the closing tag."""
    return next((n for n in range(min(len(END) - 1, len(text)), 0, -1) if END.startswith(text[-n:])), 0)


def _without_response(found: Answer) -> Answer:
    return Answer(
        found.event_scenario, found.speaker_emotion, found.emotion_cause, found.goal_to_response, "", found.complete
    )


def sentence_ends(text: str, start: int = 0) -> list[int]:
    """Where sentences end in a text that may go on, from `start` on; "Dr." may be one."""
    return [match.end() for match in _BREAK.finditer(text, start)]


class Sentences:
    """Cuts a response that grows into pieces to speak: sentences, the shortest together with what follows them.

    A piece ends with a sentence and has at least `FIRST_PIECE` characters: shorter ones sound better in company. Where the
    cuts are depends on the text alone, not on when it came. "Dr." ends no sentence: it is spoken "Doctor".
    """

    def __init__(self):
        self._done = 0

    def cut(self, text: str, *, ended: bool) -> list[tuple[str, int]]:
        """(piece, where it ends in the text) for each piece that has become complete."""
        pieces = []
        for match in _BREAK.finditer(text, self._done):
            piece = text[self._done : match.end()].strip()
            if len(piece) >= FIRST_PIECE and _CLOSED.search(normalise(piece)):
                pieces.append((piece, match.end()))
                self._done = match.end()
        rest = text[self._done :].strip()
        if ended and rest:
            pieces.append((rest, len(text)))
            self._done = len(text)
        return pieces


def word_times(text: str, spoken: Sequence[Speech], start: int) -> list[Word]:
    """When each word of `text` is said.

    Args:
        text: as it is written.
        spoken: its sound, in pieces that follow each other.
        start: position of the first sample.

    The durations of the phonemes say it. Where the phonemes of a word cannot be told from its neighbours' (a number that is
    spoken as several words in another way than by itself, say), time is shared out by the lengths of the words.
    """
    groups: list[tuple[int, int]] = []  # samples at which each spoken word begins and ends
    at = start
    for piece in spoken:
        ends = at + piece.ends
        begins = np.concatenate([[at], ends[:-1]])
        for match in re.finditer(r"\S+", piece.phonemes):
            # Symbol i of the phonemes is token i + 1: a pad stands before them.
            first, last = match.start() + 1, min(match.end(), len(ends) - 1)
            if any(symbol.isalpha() for symbol in match[0]):
                groups.append((int(begins[first]), int(ends[last])))
        at = int(ends[-1]) if len(ends) else at
    words = text.split()
    counts = [sum(any(c.isalnum() for c in part) for part in normalise(word).split()) for word in words]
    if groups and sum(counts) == len(groups):
        places = np.concatenate([[0], np.cumsum(counts)])
        times = [
            (groups[a][0], groups[b - 1][1]) if b > a else (groups[a - 1][1] if a else groups[0][0],) * 2
            for a, b in zip(places, places[1:])
        ]
    else:
        first, last = (groups[0][0], groups[-1][1]) if groups else (start, at)
        sizes = np.cumsum([0, *(max(len(word), 1) for word in words)])
        edges = first + (last - first) * sizes // max(int(sizes[-1]), 1)
        times = [(int(a), int(b)) for a, b in zip(edges, edges[1:])]
    return [(word, begin / SAMPLE_RATE, end / SAMPLE_RATE) for word, (begin, end) in zip(words, times)]
