"""One reply while it is made: what was asked, what is written, spoken and shown so far."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator

from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.dialogue.events import Done
from empatheia_jax.dialogue.performance import Performance
from empatheia_jax.dialogue.reading import Reader, Sentences
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.responder import DEFAULT_LISTENER, Responder
from empatheia_jax.dialogue.session import Session
from empatheia_jax.dialogue.stream import Stream
from empatheia_jax.dialogue.texts import Texts
from empatheia_jax.dialogue.watch import Watch
from empatheia_jax.dialogue.writer import Question, Written


class Job:
    """The state of one reply; the engine's worker alone changes it, or a thread that holds the engine's lock.

    steps: whether its text has the chain of empathy. watch: checks its words; None: nobody does. pieces: what is to be spoken
    next, with its states (None: a given text).
    """

    def __init__(
        self,
        session: Session,
        request: Request,
        stream: Stream,
        responder: Responder,
        steps: bool,
        watch: Watch | None = None,
    ):
        self.watch = watch
        self.session, self.request, self.stream, self.responder = session, request, stream, responder
        self.generation = stream.generation
        self.listener = request.profile or session.profile
        self.reader, self._sentences = Reader(steps=steps), Sentences()
        self.pieces: deque[tuple[str, Written | None]] = deque()
        self._unspoken: list[tuple[str, int]] = []  # pieces of the text whose states are not asked for yet
        self.heard: tuple[str, ...] = ()
        self.text, self.tokens, self.text_ended = "", 0, False
        self.prompt_tokens = 0
        self.instead = ""
        self.performance: Performance | None = None
        self.acting: Generator[bool, None, None] | None = None
        self.idle = False  # the performance waits for the next piece of the text
        self.emotion: dict[str, str | None] = {"written": None, "of_32": None, "of_7": None, "classified": None}
        self.shown: tuple[str, float] = (NEUTRAL, 1.0)
        self._began = time.perf_counter()
        self.timings: dict[str, float] = {}
        self.cancelled = False

    def mark(self, name: str) -> None:
        """Notes the seconds since the request, the first time that `name` happens."""
        self.timings.setdefault(name, round(time.perf_counter() - self._began, 4))

    @property
    def answer(self) -> Answer:
        """The answer as far as it is written."""
        return self.reader.answer

    @property
    def seed(self) -> int:
        """The request's seed, or its session's."""
        return self.session.seed if self.request.seed is None else self.request.seed

    @property
    def question(self) -> Question:
        """What is to be answered: without the reply itself, which may have begun."""
        history, media = self.session.history(before=self.generation)
        return Question(history, media, self.listener)

    @property
    def said(self) -> str:
        """The user's words of the dialogue, one utterance a line."""
        return "\n".join(each.text for each in self.question.history if each.role == "speaker")

    @property
    def can_act(self) -> bool:
        """Whether the next step of its performance can be taken: there is something to say, and room for its frames."""
        return not self.stream.full and (not self.idle or bool(self.pieces) or self.text_ended)

    def cut_pieces(self, texts: Texts, *, ended: bool) -> None:
        """Cuts what is new of the response into pieces to speak, each with the states of the response up to its end.

        Where the request wants early speech and `texts` can give states early, they are taken at once. Otherwise all pieces get
        the states of the complete response, when it has ended.
        """
        self._unspoken += self._sentences.cut(self.answer.response, ended=ended)
        early = self.request.early and texts.early
        if ended or early:
            for piece, end in self._unspoken:
                upto = end if early else len(self.answer.response)
                self.pieces.append((piece, texts.states(self.generation, self.answer, upto)))
            self._unspoken.clear()

    def take_given(self, text: str) -> None:
        """The rest of the reply is a text that is given: nothing else of it will be spoken, and nobody looks at it."""
        self.watch = None
        self.text = text.strip()
        self.reader.answer = Answer(None, None, None, None, self.text, True)
        self._unspoken.clear()
        self.pieces.clear()
        self.pieces.extend((piece, None) for piece, _ in Sentences().cut(self.text, ended=True))

    def done(self, *, finished: bool) -> Done:
        """The event that ends it."""
        performance = self.performance
        return Done(
            generation=self.generation,
            answer=self.answer,
            emotion=self.emotion,
            timings={**self.timings, "prompt_tokens": self.prompt_tokens, "tokens": self.tokens},
            finished=finished,
            shown=self.shown,
            profile=self.listener or DEFAULT_LISTENER,
            heard=self.heard,
            text=self.text,
            seconds=0.0 if performance is None else performance.seconds,
            instead=self.instead,
        )
