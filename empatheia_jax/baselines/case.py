"""CASE: aligning coarse-to-fine cognition and affection for empathetic response generation (Zhou, Zheng, Wang, Zhang, Huang;
ACL 2023; github.com/jfzhouyoo/CASE).

*Cognition* is a graph of events (the speaker's last utterance and its sentences) and of what COMET infers of each. *Affection*
is a graph of the context's words and concepts of ConceptNet. A prior and, in training, a posterior that knows the reply choose
from both; the two are aligned, as wholes and event by event. The decoder reads cognition, affection, and the context joined
with both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.baselines import losses
from empatheia_jax.baselines.batch import Concepts, Events, TextBatch
from empatheia_jax.baselines.layers import (
    Attention,
    Decoder,
    Dropout,
    Encoder,
    Memory,
    Norm,
    WordByWord,
    Words,
    linear,
    shifted,
    softmax,
)
from empatheia_jax.baselines.losses import Pair
from empatheia_jax.baselines.settings import BaselineConfig
from empatheia_jax.baselines.words import CLS, EOS, KG, PAD, USR
from empatheia_jax.conversation.labels import EMOTIONS_32
from empatheia_jax.nn.linear import LayerNorm
from empatheia_jax.nn.parameters import parameter

EDGES = ("none", "self", "contains", "beside", "xIntent", "xNeed", "xWant", "xEffect")
"""Kinds of edges of the cognition graph by number."""
HEADS = 2
"""Attention heads of both graphs."""
COARSE, FINE = 1.0, 0.2
"""Coefficients of the two alignments."""


class GraphLayer(nnx.Module):
    """The feed-forward half of a graph Transformer (post-norm, GELU)."""

    def __init__(self, width: int, dropout: float, **kinds: Any):
        self.norm_attention, self.norm_feed = Norm(width, **kinds), Norm(width, **kinds)
        self.up, self.down, self.dropout = (
            linear(width, width, **kinds),
            linear(width, width, **kinds),
            Dropout(dropout),
        )

    def __call__(
        self, nodes: Float[Array, "B N D"], read: Float[Array, "B N D"], rng: jax.Array | None
    ) -> Float[Array, "B N D"]:
        first, second = (None, None) if rng is None else jax.random.split(rng)
        nodes = self.norm_attention(nodes + self.dropout(read, first))
        fed = self.down(jax.nn.gelu(self.up(nodes), approximate=False))
        return self.norm_feed(nodes + self.dropout(fed, second))


class RelationAttention(nnx.Module):
    """Attention over a graph whose edges have kinds: (q_i + u_r) · (k_j + w_r) / √(D / heads) for an edge of kind r.

    The product is expanded, so that only tables of the few kinds are needed and nothing of the size N × N × D.
    """

    def __init__(self, width: int, dropout: float, **kinds: Any):
        self.query, self.key, self.value, self.out = (linear(width, width, **kinds) for _ in range(4))
        self.relation = linear(width, 2 * width, bias=False, **kinds)
        self.dropout = Dropout(dropout)

    def __call__(
        self,
        nodes: Float[Array, "B N D"],
        edges: Int[Array, "B N N"],
        kinds: Float[Array, "K D"],
        rng: jax.Array | None,
    ) -> Float[Array, "B N D"]:
        def split(y: Array) -> Array:  # (…, D) -> (…, H, D / H)
            return y.reshape(*y.shape[:-1], HEADS, -1)

        q, k, v = split(self.query(nodes)), split(self.key(nodes)), split(self.value(nodes))
        q = q * q.shape[-1] ** -0.5
        u, w = (split(each) for each in jnp.split(self.relation(kinds), 2, axis=-1))
        by_kind = jnp.eye(len(kinds), dtype=q.dtype)[edges]  # (B, N, N, K)
        scores = jnp.einsum("bihd,bjhd->bhij", q, k)
        scores += jnp.einsum("bihk,bijk->bhij", jnp.einsum("bihd,khd->bihk", q, w), by_kind)
        scores += jnp.einsum("bjhk,bijk->bhij", jnp.einsum("bjhd,khd->bjhk", k, u), by_kind)
        scores += jnp.einsum("kh,bijk->bhij", jnp.einsum("khd,khd->kh", u, w), by_kind)
        weights = self.dropout(softmax(scores, (edges > 0)[:, None]), rng)
        return self.out(jnp.einsum("bhij,bjhd->bihd", weights, v).reshape(nodes.shape))


def chosen(
    query: Float[Array, "B D"], memory: Float[Array, "B K D"], valid: Bool[Array, "B K"]
) -> tuple[Float[Array, "B D"], Float[Array, "B K"]]:
    """What a query reads of a memory behind tanh, and its weights; nothing where nothing is valid."""
    memory = jnp.tanh(memory)
    weights = softmax(jnp.einsum("bd,bkd->bk", query, memory), valid)
    return jnp.einsum("bk,bkd->bd", weights, memory), weights


class CASE(WordByWord):
    """The network."""

    coefficients: Mapping[str, float] = {
        "bag_of_words": 1.0,
        "prior_concepts": 1.0,
        "prior_inferences": 1.0,
        "coarse": COARSE,
        "fine": FINE,
        "reply": 1.0,
        "diversity": 1.5,
        "emotion": 1.0,
        "frequency": 1.0,
    }

    def __init__(
        self, config: BaselineConfig, *, rngs: nnx.Rngs, dtype: Any = jnp.float32, param_dtype: Any = jnp.float32
    ):
        size = config.network
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        width, sizes = size.width, (size.width, size.depth, size.heads, size.filter)
        self.words = Words(config.words, width, **kinds)
        self.kinds = parameter(
            rngs, jax.nn.initializers.xavier_uniform(), (len(EDGES), width), param_dtype, (None, "embed")
        )
        self.encoder, self.cognition, self.reaction = (Encoder(width, *sizes, **kinds) for _ in range(3))
        self.refine_reaction = Encoder(2 * width, *sizes, **kinds)
        self.edges = RelationAttention(width, size.dropout, **kinds)
        self.cognition_graph = GraphLayer(width, size.dropout, **kinds)
        self.links = Attention(width, width, HEADS, **kinds)
        self.affection_graph = GraphLayer(width, size.dropout, **kinds)
        self.norm_strength = LayerNorm(width, 1e-5, **kinds)
        self.prior = linear(width, width, **kinds)
        self.reaction_out = linear(width, width, **kinds)
        self.emotion_join, self.emotion_gate = linear(2 * width, width, **kinds), linear(width, 1, **kinds)
        self.emotion = linear(width, len(EMOTIONS_32), **kinds)
        self.bag1, self.bag2 = linear(2 * width, width, **kinds), linear(width, config.words, **kinds)
        self.join1 = linear(3 * width, width, bias=False, **kinds)
        self.join2 = linear(width, width, bias=False, **kinds)
        self.decoder = Decoder(3, *sizes, **kinds)
        self.head = linear(width, config.words, **kinds)
        self.frequency = parameter(rngs, jax.nn.initializers.zeros, (config.words,), jnp.float32, ("vocab",))

    def encode(self, batch: TextBatch, rng: jax.Array | None = None) -> Memory:
        """Everything that a reply needs: both graphs, what the prior chooses of them, the emotion, and the joined context."""
        if batch.concepts is None or batch.events is None:
            raise ValueError("CASE reads concepts and events; build the batch for it")
        keys = [None] * 3 if rng is None else list(jax.random.split(rng, 3))
        valid = batch.context != PAD
        words = self.words(batch.context) + self.words(batch.roles)
        context = self.encoder(words, valid)
        affection, affection_valid = self._affection(batch.context, batch.concepts, words, keys[0])
        cognition, cognition_valid = self._cognition(batch.events, keys[1], keys[2])
        query = jnp.tanh(self.prior(context[:, 0]))
        concept, concept_weights = chosen(query, affection, affection_valid)
        inference, inference_weights = chosen(query, cognition, cognition_valid)
        reactions = self._reactions(batch.events.reactions, context, valid)
        fine = reactions[:, 0]
        gate = jax.nn.sigmoid(self.emotion_gate(self.emotion_join(jnp.concatenate([concept, fine], axis=-1))))
        felt = gate * concept + (1 - gate) * fine
        beside = [jnp.broadcast_to(each[:, None], context.shape) for each in (inference, felt)]
        joined = self.join2(jax.nn.relu(self.join1(jnp.concatenate([context, *beside], axis=-1))))
        return {
            "sources": ((cognition, cognition_valid), (affection, affection_valid), (joined, valid)),
            "emotion": self.emotion(felt),
            "concept": concept,
            "inference": inference,
            "concept_weights": concept_weights,
            "inference_weights": inference_weights,
            "reactions": reactions,
        }

    def _affection(
        self, context: Array, concepts: Concepts, words: Array, rng: jax.Array | None
    ) -> tuple[Array, Array]:
        """The graph of words and concepts, by emotional intensity: (B, S + C, D), and which nodes there are."""
        numbers = concepts.words
        marked = self.words(numbers) + self.words(jnp.full_like(numbers, KG))
        nodes = jnp.concatenate([words, marked], axis=1)
        valid = jnp.concatenate([context, numbers], axis=1) != PAD
        nodes = self.affection_graph(nodes, self.links(nodes, nodes, concepts.links)[0], rng)
        strength = softmax(concepts.intensity, valid)
        return self.norm_strength(strength[..., None] * nodes), valid

    def _cognition(self, events: Events, first: jax.Array | None, second: jax.Array | None) -> tuple[Array, Array]:
        """The inferences of the graph of events: (B, N, D), and which there are."""
        numbers = jnp.concatenate([events.events, events.inferences], axis=1)
        flat = numbers.reshape(-1, numbers.shape[-1])
        nodes = self.cognition(self.words(flat), flat != PAD)[:, 0].reshape(*numbers.shape[:2], -1)
        read = self.edges(nodes, events.edges, self.kinds[...], first)
        nodes = self.cognition_graph(nodes, read, second)
        first_inference = events.events.shape[1]
        return nodes[:, first_inference:], numbers[:, first_inference:, 0] != PAD

    def _reactions(self, reactions: Array, context: Array, valid: Array) -> Array:
        """What the speaker feels at each event, seen with the context: (B, U, D)."""
        size, events = reactions.shape[:2]
        flat = reactions.reshape(-1, reactions.shape[-1])
        kept = (flat != PAD)[..., None]
        felt = self.reaction(self.words(flat), kept[..., 0])
        felt = jnp.sum(felt * kept, axis=1) / jnp.maximum(jnp.sum(kept, axis=1), 1)
        shape = (size, events, *context.shape[1:])
        beside = jnp.concatenate(
            [
                jnp.broadcast_to(felt.reshape(size, events, 1, -1), shape),
                jnp.broadcast_to(context[:, None], shape),
            ],
            axis=-1,
        )
        beside = beside.reshape(size * events, *beside.shape[2:])
        found = self.refine_reaction(beside, jnp.repeat(valid, events, axis=0))[:, 0]
        return self.reaction_out(found.reshape(size, events, -1))

    def _posterior(self, batch: TextBatch, memory: Memory) -> tuple[Pair, Pair, Pair]:
        """(bag of words, divergence of the concepts' choice, of the inferences'); the posterior reads the reply."""
        (cognition, cognition_valid), (affection, affection_valid), _ = memory["sources"]
        root = jnp.full_like(batch.target[:, :1], CLS)
        words = jnp.where(batch.target == EOS, PAD, batch.target)
        reply = jnp.concatenate([root, words], axis=1)
        # The repository marks the reply as the speaker's.
        roles = jnp.where((reply == PAD) | (reply == CLS), reply, USR)
        embedded, valid = self.words(reply) + self.words(roles), reply != PAD
        concept, concepts = chosen(self.encoder(embedded, valid)[:, 0], affection, affection_valid)
        inference, inferences = chosen(self.cognition(embedded, valid)[:, 0], cognition, cognition_valid)
        bag = self.bag2(jnp.tanh(self.bag1(jnp.concatenate([concept, inference], axis=-1))))
        bag = jnp.broadcast_to(jax.nn.log_softmax(bag)[:, None], (*batch.target.shape, bag.shape[-1]))
        return (
            losses.reply(bag, batch.target, batch.weight),
            losses.divergence(concepts, memory["concept_weights"], affection_valid, batch.weight),
            losses.divergence(inferences, memory["inference_weights"], cognition_valid, batch.weight),
        )

    def bag_loss(self, batch: TextBatch, rng: jax.Array | None) -> dict[str, Pair]:
        """The first phase: the posterior's choice must tell the reply's words."""
        return {"bag_of_words": self._posterior(batch, self.encode(batch, rng))[0]}

    def loss(self, batch: TextBatch, rng: jax.Array | None) -> dict[str, Pair]:
        """Everything. Wrong partners of the alignments are those of the batch's neighbour."""
        memory = self.encode(batch, rng)
        bag, concepts, inferences = self._posterior(batch, memory)
        found = self.log_probabilities(memory, *self.states(memory, shifted(batch.target)))
        emotion, accuracy = losses.emotion(memory["emotion"], batch.emotion, batch.weight)
        diversity, moving = losses.diversity(found, batch.target, batch.weight, self.frequency[...])
        cognition, valid = memory["sources"][0]
        events = memory["reactions"].shape[1]
        owners = jnp.repeat(memory["reactions"], cognition.shape[1] // events, axis=1)
        pairs = {"coarse": (memory["inference"], memory["concept"]), "fine": (cognition, owners)}
        kept = {"coarse": batch.weight, "fine": valid * batch.weight[:, None]}
        aligned = {
            name: losses.alignment(one, other, jnp.roll(one, 1, axis=0), jnp.roll(other, 1, axis=0))
            for name, (one, other) in pairs.items()
        }
        return {
            "bag_of_words": bag,
            "prior_concepts": concepts,
            "prior_inferences": inferences,
            **{name: (jnp.sum(aligned[name] * kept[name]), jnp.sum(kept[name])) for name in aligned},
            "reply": losses.reply(found, batch.target, batch.weight),
            "diversity": diversity,
            "frequency": moving,
            "emotion": emotion,
            "emotion_accuracy": accuracy,
        }
