"""KEMP: knowledge bridging for empathetic dialogue generation (Li, Li, Ren, Ren, Chen; AAAI 2022; github.com/qtli/KEMP).

Concepts of ConceptNet join the context's words in an *emotional context graph*. The emotion is read from the encoded nodes by
their emotional intensity, and the decoder begins with it; it may copy words of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.baselines import losses
from empatheia_jax.baselines.batch import TextBatch
from empatheia_jax.baselines.layers import (
    Decoder,
    Dropout,
    Encoder,
    Memory,
    Norm,
    Words,
    linear,
    shifted,
    softmax,
)
from empatheia_jax.baselines.losses import Pair
from empatheia_jax.baselines.settings import BaselineConfig
from empatheia_jax.baselines.words import KG, PAD
from empatheia_jax.conversation.labels import EMOTIONS_32


class Graph(nnx.Module):
    """One step of attention from the context's words to the nodes that they are linked with.

    A node that is not linked gets the score 0 and so keeps a weight, as in the repository, which fills 1e-24 where −∞ is meant.
    Padding gets none.
    """

    def __init__(self, width: int, dropout: float, **kinds: Any):
        self.query, self.key, self.value, self.out = (linear(width, width, **kinds) for _ in range(4))
        self.norm, self.dropout = Norm(width, **kinds), Dropout(dropout)

    def __call__(
        self,
        context: Float[Array, "B S D"],
        nodes: Float[Array, "B S+C D"],
        links: Bool[Array, "B S S+C"],
        valid: Bool[Array, "B S+C"],
        rng: jax.Array | None,
    ) -> Float[Array, "B S D"]:
        first, second = (None, None) if rng is None else jax.random.split(rng)
        scores = jnp.einsum("bsd,bnd->bsn", self.query(context), self.key(nodes))
        weights = self.dropout(softmax(jnp.where(links, scores, 0), valid[:, None]), first)
        return self.norm(context + self.dropout(self.out(weights @ self.value(nodes)), second))


class KEMP(nnx.Module):
    """The network."""

    coefficients: Mapping[str, float] = {"smoothed": 1.0, "emotion_sum": 1.0, "attention": 0.1}

    def __init__(
        self, config: BaselineConfig, *, rngs: nnx.Rngs, dtype: Any = jnp.float32, param_dtype: Any = jnp.float32
    ):
        size = config.network
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        sizes = (size.width, size.depth, size.heads, size.filter)
        self.words = Words(config.words, size.width, **kinds)
        self.graph = Graph(size.width, size.dropout, **kinds)
        self.encoder = Encoder(size.width, *sizes, **kinds)
        self.emotion = linear(size.width, len(EMOTIONS_32), bias=False, **kinds)
        self.emotion_embedding = linear(len(EMOTIONS_32), size.width, **kinds)
        self.decoder = Decoder(1, *sizes, **kinds)
        self.head = linear(size.width, config.words, **kinds)
        self.generates = linear(size.width, 1, **kinds)

    def encode(self, batch: TextBatch, rng: jax.Array | None = None) -> Memory:
        """Nodes of the graph, the emotion's logits, and what the decoder begins with."""
        if batch.concepts is None:
            raise ValueError("KEMP reads concepts; build the batch for it")
        numbers = jnp.concatenate([batch.context, batch.concepts.words], axis=1)
        valid, length = numbers != PAD, batch.context.shape[1]
        context = self.words(batch.context) + self.words(batch.roles)
        concepts = self.words(batch.concepts.words) + self.words(jnp.full_like(batch.concepts.words, KG))
        nodes = jnp.concatenate([context, concepts], axis=1)
        context = self.graph(context, nodes, batch.concepts.links[:, :length], valid, rng)
        # What is padded goes to the end, so that the concepts follow the last word in positions and convolutions.
        order = jnp.argsort(~valid, axis=1, stable=True)
        nodes = jnp.take_along_axis(jnp.concatenate([context, concepts], axis=1), order[..., None], axis=1)
        intensity, numbers, valid = (
            jnp.take_along_axis(each, order, axis=1) for each in (batch.concepts.intensity, numbers, valid)
        )
        nodes = self.encoder(nodes, valid)
        strength = softmax(intensity, valid)
        emotion = self.emotion(jnp.einsum("bn,bnd->bd", strength, nodes))
        return {
            "sources": ((nodes, valid),),
            "emotion": emotion,
            "start": self.emotion_embedding(emotion),
            "strength": strength,
            "numbers": numbers,
        }

    def states(self, memory: Memory, written: Int[Array, "B T"]) -> tuple[Float[Array, "B T D"], Float[Array, "B T N"]]:
        """States behind each of the words that are written, and scores of the nodes; the emotion stands for the first word."""
        words = jnp.concatenate([memory["start"][:, None], self.words(written[:, 1:])], axis=1)
        return self.decoder(words, *memory["sources"])

    def log_probabilities(
        self, memory: Memory, states: Float[Array, "B T D"], scores: Float[Array, "B T N"]
    ) -> Float[Array, "B T V"]:
        """Log probabilities of the next word, which is either written or copied from the graph (See et al., 2017)."""
        (_, valid), numbers = memory["sources"][0], memory["numbers"]
        share = jax.nn.sigmoid(self.generates(states))
        written = share * jax.nn.softmax(self.head(states), axis=-1)
        copied = (1 - share) * softmax(scores, valid[:, None])
        add = jax.vmap(lambda table, places, values: table.at[:, places].add(values))
        return jnp.log(add(written, numbers, copied) + 1e-18)

    def loss(self, batch: TextBatch, rng: jax.Array | None) -> dict[str, Pair]:
        """Per example: sums over its words, as the repository adds them."""
        memory = self.encode(batch, rng)
        states, scores = self.states(memory, shifted(batch.target))
        found = self.log_probabilities(memory, states, scores)
        (emotion, known), accuracy = losses.emotion(memory["emotion"], batch.emotion, batch.weight)
        examples = jnp.sum(batch.weight)
        return {
            "smoothed": losses.smoothed(found, batch.target, batch.weight),
            "emotion_sum": (emotion, examples),
            "attention": (attention_error(scores, memory, batch), examples),
            "reply": losses.reply(found, batch.target, batch.weight),
            "emotion": (emotion, known),
            "emotion_accuracy": accuracy,
        }


def attention_error(scores: Float[Array, "B T N"], memory: Memory, batch: TextBatch) -> Float[Array, ""]:
    """Mean squared difference between the nodes' scores, averaged over the reply, and their emotional intensity.

    The repository compares scores before softmax. Those of padding are −10¹⁸ there: they make its value useless and have no
    gradient, so they are left out here.
    """
    valid = memory["sources"][0][1]
    words = (batch.target != PAD)[..., None]
    mean = jnp.sum(scores * words, axis=1) / jnp.maximum(jnp.sum(words, axis=1), 1)
    kept = valid * batch.weight[:, None]
    error = jnp.sum(jnp.square(mean - memory["strength"]) * kept)
    return error / jnp.maximum(jnp.sum(kept), 1)
