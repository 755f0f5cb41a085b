"""Where the engine's texts come from: answers that grow, with the states that the bridge needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from empatheia_jax.conversation.answer import Answer
from empatheia_jax.dialogue.session import Request
from empatheia_jax.dialogue.writer import Question, Writer, Written
from empatheia_jax.errors import UserError

Grew = Callable[[str, str, int, bool], None]
"""(generation, all text so far, tokens so far, whether it is complete)."""


class Texts(Protocol):
    """Writes several answers at once. Only the engine's worker calls it, except `stop`, which any thread may call."""

    places: int
    """Answers that can be written at once."""
    early: bool
    """Whether `states` can be asked for while an answer is written."""

    @property
    def free(self) -> bool:
        """Whether another answer can begin."""

    def begin(self, generation: str, question: Question, request: Request, steps: Mapping[str, str]) -> None:
        """Takes a question; `steps` are those of the reply that it replaces. Raises `UserError`."""

    def step(self, grew: Grew) -> None:
        """Writes on for a moment, and tells of every answer that grew."""

    def states(self, generation: str, answer: Answer, upto: int) -> Written:
        """The states of an answer as though its response ended after so many characters."""

    def heard(self, generation: str) -> tuple[str, ...]:
        """The kinds of recordings that an answer answers to."""

    def stop(self, generation: str) -> None:
        """Frees the place of an answer at the next step."""


class WholeTexts:
    """One answer after the other, each to its end: for cores whose cache cannot be shared (an encoder-decoder's)."""

    places, early = 1, False

    def __init__(self, writer: Writer):
        self._writer, self._plain = writer, writer.plain()
        self._next: tuple[str, Question, Request] | None = None
        self._written: dict[str, Written] = {}

    @property
    def free(self) -> bool:
        return self._next is None

    def begin(self, generation: str, question: Question, request: Request, steps: Mapping[str, str]) -> None:
        if request.chain_edits:
            raise UserError("this core cannot go on behind an edited step; leave chain_edits out")
        self._next = (generation, question, request)

    def step(self, grew: Grew) -> None:
        if self._next is None:
            return
        generation, question, request = self._next
        writer = self._plain if request.pipeline else self._writer
        text = [""]

        def tell(_: int, piece: str) -> None:
            text[0] += piece
            grew(generation, text[0], 0, False)

        try:
            written = writer.write([question], tell)[0]
        except UserError:
            self._next = None
            raise
        self._written[generation] = written
        self._next = None
        grew(generation, written.text, len(written.states), True)

    def states(self, generation: str, answer: Answer, upto: int) -> Written:
        return self._written[generation]

    def heard(self, generation: str) -> tuple[str, ...]:
        return self._written[generation].heard

    def stop(self, generation: str) -> None:
        self._written.pop(generation, None)
