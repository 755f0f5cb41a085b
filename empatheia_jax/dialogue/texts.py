"""Where the engine's texts come from: answers that grow, with the states that the bridge needs.

The bridge reads r^t at the tokens of the response, and r^s and r^v at the signal tokens behind `</response>`. While a response
is still written there are no such signal tokens. `SlotTexts.states` asks what they would be if the response ended with the
sentence that is complete: the closing tag and the signal tokens are fed behind it, on a copy of that row's cache. What is spoken
of a sentence is then what a shorter answer would sound like, which is what the bridge was trained on. For a response of one
sentence, and for a request with `early=False`, it is exactly what training saw.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

import numpy as np

from empatheia_jax.conversation import answer as answers
from empatheia_jax.conversation import labels
from empatheia_jax.conversation.answer import END, RESPONSE, Answer, one_line, token_spans
from empatheia_jax.conversation.policy import MODALITIES
from empatheia_jax.core.causal import CausalLM
from empatheia_jax.core.form import Form
from empatheia_jax.core.outputs import KVCache
from empatheia_jax.core.slots import UNLIMITED, SlotDecoder, Wrote
from empatheia_jax.core.tokenizer import TextStream
from empatheia_jax.dialogue.request import CHAIN, Request
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

    def prompt_tokens(self, generation: str) -> int:
        """Tokens that an answer's prompt has, with recordings and given steps; of one that is still written."""

    def stop(self, generation: str) -> None:
        """Frees the place of an answer at the next step."""

    def warm(self) -> None:
        """Compiles what texts of any length need."""


PLACES, CHUNK = 8, 8
CHUNK_SECONDS = 0.25
"""How long the worker may be away for one chunk, so that a cancelled answer's place is free soon."""
CHUNK_ALONE = 4
"""The most tokens of a chunk of one answer alone, so that its words are seen soon. It takes no longer for it than with longer
chunks; for eight answers together each look costs more.
"""


@dataclass(frozen=True)
class _Prefix:
    """Tokens with which prompts begin, and what the core read of them."""

    tokens: tuple[int, ...] = ()
    cache: KVCache | None = None

    @property
    def length(self) -> int:
        return len(self.tokens)


@dataclass
class _Text:
    """One answer in a row of the decoder."""

    row: int
    writer: Writer
    heard: tuple[str, ...]
    before: str
    prompt: int
    response_slot: int
    stream: TextStream
    tokens: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    hidden: list[np.ndarray] = field(default_factory=list)
    text: str = ""


class SlotTexts:
    """Many answers at once, by continuous batching (`core.slots`).

    Args:
      writer: the model, and how its answers are made.
      places: answers that are written at once. chunk: the most tokens between two looks at what came in.
    """

    early = True

    def __init__(self, writer: Writer, *, places: int = PLACES, chunk: int = CHUNK):
        self.places = places
        self._writer, self._plain = writer, writer.plain()
        form = writer.form
        self._starts: tuple[int, ...] = (0, 0)
        self._first_slots: tuple[int, ...] = (0, 0)
        if form is not None and self._plain.form is not None:
            form, self._starts, self._first_slots = Form.beside([form, self._plain.form])
        tokenizer = writer.tokenizer
        self._closing = [*tokenizer.encode_parts([(END, True)]), *writer.model.special.signals]
        writers = (self._writer, self._plain)
        beginnings = [each.beginning() for each in writers]
        self._decoder = SlotDecoder(
            cast(CausalLM, writer.model.core),  # `engine` takes this class for such cores alone
            writer.model.added,
            writer.settings,
            form=form,
            longest_prompt=writer.policy.max_length - min(map(len, beginnings)),
            longest_prefix=max(map(len, beginnings)),
            forced=len(self._closing),
            places=places,
            chunk=chunk,
        )
        self._prefixes = [self._read_prefix(*each) for each in zip(writers, beginnings)]
        self._texts: dict[str, _Text] = {}
        self._stopped: set[str] = set()
        self._lock = threading.Lock()
        self._step_seconds = CHUNK_SECONDS / chunk

    def _read_prefix(self, writer: Writer, tokens: Sequence[int]) -> _Prefix:
        """What all prompts begin with, read: it depends on nobody's words, so a reply does not depend on who came before."""
        if not tokens:
            return _Prefix()
        padded = np.zeros((1, self._decoder.prefix_size), np.int32)
        padded[0, : len(tokens)] = tokens
        return _Prefix(tuple(tokens), self._decoder.read_prefix(writer.embed(padded, None, None), len(tokens)))

    @property
    def free(self) -> bool:
        return len(self._texts) - len(self._stopped) < self.places

    @property
    def compilations(self) -> int:
        """Programs compiled so far."""
        return self._decoder.compilations

    def begin(self, generation: str, question: Question, request: Request, steps: Mapping[str, str]) -> None:
        self._drop()
        writer = self._plain if request.pipeline else self._writer
        prompt, embeds, prefix, heard = self._prompt(writer, question, request, steps)
        before, node = prompt.before, None
        form, plain = self._decoder.form, int(request.pipeline)
        response_slot, caps = -1, None
        if form is not None:
            own = writer.form
            assert own is not None
            node = self._starts[plain]
            if prompt.steps:
                node = form.node_after(self._first_slots[plain] + prompt.steps - 1)
            response_slot = self._first_slots[plain] + own.names.index(RESPONSE)
            caps = np.full(form.limits.shape[0], UNLIMITED, np.int32)
            if request.decoding.response_tokens is not None:
                caps[form.free_slot(response_slot)] = request.decoding.response_tokens
        given = {
            name: value
            for name in ("temperature", "top_k", "top_p", "repetition_penalty")
            if (value := getattr(request.decoding, name)) is not None
        }
        row = self._decoder.admit(
            embeds,
            prompt.length - prefix.length,
            prefix=prefix.cache,
            seed=writer.seed if request.seed is None else request.seed,
            node=node,
            settings=replace(writer.settings, **given),
            caps=caps,
        )
        text = _Text(row, writer, heard, before, prompt.length, response_slot, writer.tokenizer.stream(), text=before)
        with self._lock:
            self._texts[generation] = text

    def _prompt(self, writer: Writer, question: Question, request: Request, steps: Mapping[str, str]):
        """(tokens and steps that are given, embeddings of what follows the prefix, the prefix, kinds of recordings)."""
        encoded = writer.prompt(question)
        given = _given(writer, request.chain_edits, steps)
        tokens = np.concatenate([encoded.tokens, np.asarray(given.tokens, np.int32)])
        prefix = self._prefixes[request.pipeline]
        if tuple(tokens[: prefix.length].tolist()) != prefix.tokens:
            prefix = _Prefix()
        follows = tokens[prefix.length :]
        most = min(writer.policy.max_length, prefix.length + self._decoder.prompt_sizes[-1])
        if len(tokens) > most:
            raise UserError(
                f"the prompt and the edited steps are {len(tokens)} tokens; expected at most {most}; shorten the steps"
            )
        size = self._decoder.prompt_size(len(follows))
        padded = np.zeros((1, size), np.int32)
        padded[0, : len(follows)] = follows
        embeds = writer.embed(padded, question, encoded)
        heard = tuple(kind for kind in MODALITIES if getattr(encoded, kind))
        return replace(given, length=len(tokens)), embeds, prefix, heard

    def step(self, grew: Grew) -> None:
        self._drop()
        if not self._texts:
            return
        most = min(CHUNK_ALONE, self._decoder.chunk) if len(self._texts) == 1 else self._decoder.chunk
        steps = int(np.clip(CHUNK_SECONDS / self._step_seconds, 1, most))
        began = time.perf_counter()
        try:
            found = {each.row: each for each in self._decoder.step(steps)}
        except Exception:
            with self._lock:  # what the device held of the rows is gone
                self._decoder.reset()
                self._texts.clear()
                self._stopped.clear()
            raise
        longest = max((len(each.tokens) for each in found.values()), default=0)
        if longest:
            self._step_seconds += 0.3 * ((time.perf_counter() - began) / longest - self._step_seconds)
        for generation, text in list(self._texts.items()):
            if generation not in self._stopped and text.row in found:
                ended = self._grown(text, found[text.row])
                grew(generation, text.text, len(text.tokens), ended)
                if ended:
                    self.stop(generation)

    def _grown(self, text: _Text, wrote: Wrote) -> bool:
        """Takes in what a row wrote; whether its answer is complete."""
        count, closed = 0, False
        for token in wrote.tokens.tolist():
            text.text += text.stream.push(token)
            count += 1
            # What a free answer says behind its end would depend on how many tokens are written at once.
            if closed := self._decoder.form is None and END in text.text:
                break
        text.tokens += wrote.tokens[:count].tolist()
        text.slots += wrote.slots[:count].tolist()
        text.hidden += list(wrote.hidden[:count])
        if wrote.ended and not closed:
            text.text = text.before + text.stream.text
        return wrote.ended or closed

    def states(self, generation: str, answer: Answer, upto: int) -> Written:
        text = self._texts[generation]
        tokenizer, size = text.writer.tokenizer, text.writer.model.config.reply_tokens
        if text.response_slot >= 0:
            positions = [place for place, slot in enumerate(text.slots) if slot == text.response_slot]
            if upto < len(answer.response):
                own = [text.tokens[place] for place in positions]
                said = tokenizer.decode(own)
                upto += len(said) - len(said.lstrip())
                positions = [place for place, (begin, _) in zip(positions, token_spans(tokenizer, own)) if begin < upto]
        else:
            positions = answers.reply_positions(tokenizer, text.tokens, answer.response, upto)
        last = positions[-1] if positions else len(text.tokens) - 1
        forced = self._decoder.probe(text.row, text.prompt + last + 1, self._closing)
        hidden = np.stack(text.hidden)
        signals = forced[-len(text.writer.model.special.signals) :]
        return Written(
            answer,
            text.text,
            tuple(text.tokens[: last + 1]),
            text.heard,
            hidden[positions[:size]],
            signals,
            np.concatenate([hidden[: last + 1], forced]),
        )

    def heard(self, generation: str) -> tuple[str, ...]:
        return self._texts[generation].heard

    def prompt_tokens(self, generation: str) -> int:
        return self._texts[generation].prompt

    def stop(self, generation: str) -> None:
        with self._lock:
            if generation in self._texts:
                self._stopped.add(generation)

    def _drop(self) -> None:
        with self._lock:
            for generation in self._stopped:
                self._decoder.drop(self._texts.pop(generation).row)
            self._stopped.clear()

    def warm(self) -> None:
        """Compiles the programs for every length of prompts and every number of answers."""
        decoder = self._decoder
        for size in reversed(decoder.prompt_sizes):
            for writer in (self._plain, self._writer):
                embeds = writer.embed(np.zeros((1, size), np.int32), None, None)
            decoder.drop(decoder.admit(embeds, 1, prefix=self._prefixes[False].cache))
        rows: list[int] = []
        while decoder.free:
            rows.append(decoder.admit(embeds, 1, prefix=self._prefixes[False].cache))
            if len(rows) in decoder.sizes:
                decoder.step(1)
        decoder.probe(0, 1, self._closing)
        # A long prompt in company makes the cache large, and short again when its answer has ended.
        decoder.drop(rows.pop())
        size = decoder.prompt_sizes[-1]
        embeds = self._writer.embed(np.zeros((1, size), np.int32), None, None)
        rows.append(decoder.admit(embeds, size, prefix=self._prefixes[False].cache))
        decoder.step(1)
        decoder.probe(rows[-1], 1, self._closing)
        decoder.drop(rows.pop())
        for row in rows:
            decoder.step(1)
            decoder.drop(row)


@dataclass(frozen=True)
class _Given:
    """The beginning of an answer that is not written but given: its tokens, text and number of steps; `length` of it all."""

    tokens: Sequence[int]
    before: str
    steps: int
    length: int = 0


def _given(writer: Writer, edits: Mapping[str, str], known: Mapping[str, str]) -> _Given:
    """The answer up to the last edited step.

    Raises:
      UserError: a step before it is neither edited nor known.
    """
    if not edits:
        return _Given((), "", 0)
    if not writer.policy.chain_of_empathy:
        raise UserError("this run writes no chain of empathy, so no step can be edited; leave chain_edits out")
    upto = max(CHAIN.index(name) for name in edits) + 1
    values: dict[str, str] = {}
    for name in CHAIN[:upto]:
        value = edits.get(name, known.get(name))
        if not value:
            raise UserError(
                f"the step {name} comes before an edited one and is not known; edit it too, or edit a reply that has it"
            )
        values[name] = labels.emotion32(value) or value if name == answers.EMOTION else one_line(value)
    before, _, _ = answers.form(steps=True)
    parts: list[tuple[str, bool]] = []
    for piece in before:
        if isinstance(piece, str):
            parts.append((piece, True))
        elif piece.key in values:
            parts.append((values.pop(piece.key), False))
            if not values:
                break
    return _Given(writer.tokenizer.encode_parts(parts), "".join(text for text, _ in parts), upto)


class WholeTexts:
    """One answer after the other, each to its end: for cores whose cache cannot be shared (an encoder-decoder's)."""

    places, early = 1, False

    def __init__(self, writer: Writer):
        self._writer, self._plain = writer, writer.plain()
        self._next: tuple[str, Question, Request] | None = None
        self._prompt_tokens = 0
        self._written: dict[str, Written] = {}

    @property
    def free(self) -> bool:
        return self._next is None

    def begin(self, generation: str, question: Question, request: Request, steps: Mapping[str, str]) -> None:
        if request.chain_edits:
            raise UserError("this core cannot go on behind an edited step; leave chain_edits out")
        self._next = (generation, question, request)
        self._prompt_tokens = len((self._plain if request.pipeline else self._writer).prompt(question).tokens)

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
        try:
            grew(generation, written.text, len(written.states), True)
        finally:
            del self._written[generation]

    def states(self, generation: str, answer: Answer, upto: int) -> Written:
        return self._written[generation]

    def heard(self, generation: str) -> tuple[str, ...]:
        return self._written[generation].heard

    def prompt_tokens(self, generation: str) -> int:
        return self._prompt_tokens

    def stop(self, generation: str) -> None:
        """A text that has begun is written to its end."""

    def warm(self) -> None:
        """Nothing is compiled for texts alone."""
