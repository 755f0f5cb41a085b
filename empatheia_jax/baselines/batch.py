"""What data and networks of the text baselines exchange.

Letters: B batch, S words of the context, T words of a reply, C concepts, U events (an utterance and its sentences), N inferences,
L words of an event or an inference, R words of a relation. A word is its number in the vocabulary; `words.PAD` pads.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.baselines.words import PAD


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Concepts:
    """KEMP and CASE: concepts of ConceptNet beside the context.

    words      the first is `words.SEP`
    intensity  emotional intensity of the context's words, then of the concepts
    links      [i, j]: whether node i reads node j; nodes are the context's words, then the concepts
    """

    words: Int[Array, "B C"]
    intensity: Float[Array, "B S+C"]
    links: Bool[Array, "B S+C S+C"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Events:
    """CASE: the speaker's last utterance and its sentences, with what COMET infers of each.

    events      the utterance, then its sentences
    inferences  of event u, relation r (of four): rows u · 4k + r · k to … + k − 1, where k is the number of inferences
    reactions   words of what the speaker feels, by event
    edges       kind of the edge between two nodes (`case.EDGES`; 0 = none); nodes are events, then inferences
    """

    events: Int[Array, "B U L"]
    inferences: Int[Array, "B N L"]
    reactions: Int[Array, "B U R"]
    edges: Int[Array, "B U+N U+N"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TextBatch:
    """One batch of turns.

    context    `words.CLS`, then every word said so far, the latest last
    roles      `words.CLS`, then `words.USR` or `words.SYS` for each of these words
    target     the reply's words, then `words.EOS`
    emotion    the speaker's of the 32, −1 where it is not known
    weight     0 for an example that only fills the batch
    relations  CEM: words of the five relations, each after `words.CLS`
    """

    context: Int[Array, "B S"]
    roles: Int[Array, "B S"]
    target: Int[Array, "B T"]
    emotion: Int[Array, " B"]
    weight: Float[Array, " B"]
    relations: Int[Array, "B 5 R"] | None = None
    concepts: Concepts | None = None
    events: Events | None = None

    @property
    def lengths(self) -> Int[Array, " B"]:
        """Words that are predicted, by example."""
        return np.sum(np.asarray(self.target) != PAD, axis=-1)
