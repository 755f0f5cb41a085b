"""A turn of a dialogue as the arrays that a text baseline reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from empatheia_jax.baselines import words
from empatheia_jax.baselines.batch import Concepts, Events, TextBatch
from empatheia_jax.baselines.knowledge import INFERENCES, NONE, RELATIONS, Knowledge
from empatheia_jax.baselines.settings import Kind, Shapes
from empatheia_jax.baselines.words import CLS, EOS, PAD, SEP, SYS, USR, Vocabulary
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.schema import Conversation, Turn

_IGNORED = {"to", "none"}
"""Words of an inference that CEM leaves out."""
_SENTENCE = re.compile(r"[.!?]+")


@dataclass(frozen=True)
class Said:
    """A turn in words: the utterances so far (the speaker's first), the reply (empty where there is none), and the number of
    the speaker's emotion (−1 = not known).
    """

    history: tuple[tuple[str, ...], ...]
    last: str
    reply: tuple[str, ...] = ()
    emotion: int = labels.UNKNOWN

    @classmethod
    def of(cls, conversation: Conversation, turn: Turn) -> Said:
        """The words of a turn."""
        word = turn.chain.speaker_emotion if turn.chain else conversation.extra.get("emotion")
        label = labels.emotion32(word) if isinstance(word, str) else None
        return cls(
            tuple(tuple(words.split(each.text)) for each in turn.history),
            turn.history[-1].text,
            tuple(words.split(turn.response or "")),
            labels.UNKNOWN if label is None else labels.EMOTIONS_32.index(label),
        )


def turns(path: Path) -> list[tuple[Conversation, Turn]]:
    """The turns of a file in the released layout that end with the speaker. Raises `UserError` as `schema.read`."""
    return [(each, turn) for each in schema.read(path) for turn in each.turns if turn.ends_with_speaker]


def _padded(numbers: Sequence[int], length: int) -> Any:
    found = np.full(length, PAD, np.int32)
    found[: min(len(numbers), length)] = numbers[:length]
    return found


def _rows(rows: Sequence[Sequence[int]], count: int, length: int) -> Any:
    found = np.full((count, length), PAD, np.int32)
    for place, row in enumerate(rows[:count]):
        found[place] = _padded(row, length)
    return found


@dataclass(frozen=True)
class Encoder:
    """Turns as arrays for one baseline. Without knowledge its arrays are only as large as their roots."""

    kind: Kind
    shapes: Shapes
    vocabulary: Vocabulary
    knowledge: Knowledge = field(default_factory=lambda: NONE)

    def __call__(self, said: Said, weight: float = 1.0) -> TextBatch:
        """One example, without the axis of the batch."""
        numbers, roles, texts = self._context(said)
        reply = [*self.vocabulary.numbers(said.reply)[: self.shapes.reply - 1], EOS]
        # Numbers of the host until they are placed on devices, as every batch of the trainer.
        emotion: Any = np.int32(said.emotion)
        counts: Any = np.float32(weight)
        return TextBatch(
            context=_padded(numbers, self.shapes.context),
            roles=_padded(roles, self.shapes.context),
            target=_padded(reply, self.shapes.reply),
            emotion=emotion,
            weight=counts,
            relations=self._relations(said) if self.kind == "cem" else None,
            concepts=None if self.kind == "cem" else self._concepts(texts),
            events=self._events(said) if self.kind == "case" else None,
        )

    def batch(self, examples: Sequence[Said], size: int) -> TextBatch:
        """Examples as a batch of `size`; what fills it has no weight."""
        made = [self(each) for each in examples]
        made += [self(examples[-1], 0.0)] * (size - len(made))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *made)

    def _context(self, said: Said) -> tuple[list[int], list[int], list[str]]:
        """Numbers, roles and words of the context behind its root; the oldest words go first where it is too long."""
        spoken = [(word, USR if place % 2 == 0 else SYS) for place, each in enumerate(said.history) for word in each]
        spoken = spoken[-(self.shapes.context - 1) :]
        texts = [word for word, _ in spoken]
        return [CLS, *self.vocabulary.numbers(texts)], [CLS, *(role for _, role in spoken)], texts

    def _relations(self, said: Said) -> Any:
        rows = []
        for relation in RELATIONS:
            phrases = self.knowledge.inferred(said.history[-1], relation)
            found = self.vocabulary.known(word for each in phrases for word in each if word not in _IGNORED)
            # The reaction has no root: it is a mean over its words. Where it has none, the root stands for it.
            rows.append(found if found and relation == "xReact" else [CLS, *found])
        length = self.shapes.relation if self.knowledge.inferences else 1
        return _rows(rows, len(RELATIONS), length)

    def _concepts(self, texts: Sequence[str]) -> Concepts:
        length = self.shapes.context
        count = 1 + (self.shapes.concepts if self.knowledge.concepts else 0)
        found = [
            (place, concept)
            for place, word in enumerate(texts, 1)
            for concept in self.knowledge.concepts.get(word, ())[: self.shapes.per_word]
        ]
        if len(found) > count - 1:  # the most intense ones, in the order of the context
            best = sorted(range(len(found)), key=lambda each: -self.knowledge.intensity(found[each][1]))[: count - 1]
            found = [found[each] for each in sorted(best)]
        intensity: Any = np.zeros(length + count, np.float32)
        intensity[1 : 1 + len(texts)] = [self.knowledge.intensity(word) for word in texts]
        intensity[length + 1 : length + 1 + len(found)] = [self.knowledge.intensity(word) for _, word in found]
        numbers = [SEP, *self.vocabulary.numbers(word for _, word in found)]
        owners = [place for place, _ in found]
        linked: Any = links(self.kind, 1 + len(texts), length, count, owners)
        return Concepts(_padded(numbers, count), intensity, linked)

    def _events(self, said: Said) -> Events:
        known, length = bool(self.knowledge.inferences), self.shapes.event
        sentences = [tuple(words.split(each)) for each in _SENTENCE.split(said.last) if words.split(each)]
        events = [said.history[-1], *sentences[: self.shapes.sentences]]
        count, each = 1 + self.shapes.sentences, INFERENCES if known else 1
        inferences: list[list[int]] = []
        reactions = []
        for place in range(count):
            event = events[place] if place < len(events) else ()
            for relation in RELATIONS[:4]:
                phrases = self.knowledge.inferred(event, relation)
                rows = [[CLS, *self.vocabulary.known(phrase)] for phrase in phrases[:each]]
                inferences += rows + [[]] * (each - len(rows))
            felt = [word for phrase in self.knowledge.inferred(event, RELATIONS[4]) for word in phrase]
            chosen = self.vocabulary.known(word for word in dict.fromkeys(felt) if word not in _IGNORED)
            reactions.append(chosen or ([CLS] if event else []))
        numbers = _rows([[CLS, *self.vocabulary.numbers(event)] for event in events], count, length)
        table: Any = _rows(inferences, len(inferences), length if known else 1)
        table = np.pad(table, ((0, 0), (0, length - table.shape[1])), constant_values=PAD)
        kinds: Any = edges(len(events), count, each, table[:, 0] != PAD)
        return Events(numbers, table, _rows(reactions, count, length), kinds)


def links(
    kind: Kind, spoken: int, length: int, concepts: int, owners: Sequence[int]
) -> Bool[np.ndarray, "nodes nodes"]:
    """Which node of the graph of words and concepts reads which.

    The root reads every word and every concept, a word the root, the word before it and its own concepts. In CASE the links go
    both ways, and a node reads itself.

    Args:
      kind: the baseline whose graph is built.
      spoken: words of the context, the root among them.
      length: places for them.
      concepts: places for concepts, their root among them.
      owners: place of the word of each concept.
    """
    found = np.zeros((length + concepts, length + concepts), bool)
    found[0, :spoken] = found[:spoken, 0] = True
    found[np.arange(1, spoken), np.arange(spoken - 1)] = True
    for place, owner in enumerate(owners, length + 1):
        found[owner, place] = found[0, place] = True
    if kind == "case":
        found |= found.T | np.eye(len(found), dtype=bool)
    return found


def edges(events: int, places: int, each: int, inferred: Bool[np.ndarray, " N"]) -> Int[np.ndarray, "nodes nodes"]:
    """Kinds of the edges between events and inferences (numbers of `case.EDGES`), the same in both directions.

    Args:
      events: how many events there are: the utterance, then its sentences.
      places: places for events.
      each: places for the inferences of an event and a relation.
      inferred: which inferences there are, by event and then by relation.
    """
    size = places + len(inferred)
    found = np.zeros((size, size), np.int32)
    found[1:events, 1:events] = 3
    found[0, 1:events] = found[1:events, 0] = 2
    for place in np.flatnonzero(inferred):
        event, relation = place // (4 * each), place // each % 4
        found[event, places + place] = found[places + place, event] = 4 + relation
    found[np.arange(size), np.arange(size)] = 1
    return found
