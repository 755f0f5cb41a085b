"""CEM: commonsense-aware empathetic response generation (Sabour, Zheng, Huang; AAAI 2022; github.com/Sahandfer/CEM).

COMET infers five relations from the speaker's last utterance. Intent, need, want and effect are *cognition*, reaction is
*affection*. Each refines the encoded context; a gate joins the five refinements, and the decoder reads what it lets through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from empatheia_jax.baselines import losses
from empatheia_jax.baselines.batch import TextBatch
from empatheia_jax.baselines.layers import Decoder, Encoder, Memory, WordByWord, Words, linear, shifted
from empatheia_jax.baselines.losses import Pair
from empatheia_jax.baselines.settings import BaselineConfig
from empatheia_jax.baselines.words import PAD
from empatheia_jax.conversation.labels import EMOTIONS_32
from empatheia_jax.nn.parameters import parameter


class CEM(WordByWord):
    """The network."""

    coefficients: Mapping[str, float] = {"reply": 1.0, "emotion": 1.0, "diversity": 1.5, "frequency": 1.0}

    def __init__(
        self, config: BaselineConfig, *, rngs: nnx.Rngs, dtype: Any = jnp.float32, param_dtype: Any = jnp.float32
    ):
        size = config.network
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        sizes = (size.width, size.depth, size.heads, size.filter)
        self.words = Words(config.words, size.width, **kinds)
        self.encoder, self.cognition, self.affection = (Encoder(size.width, *sizes, **kinds) for _ in range(3))
        self.refine_cognition, self.refine_affection = (Encoder(2 * size.width, *sizes, **kinds) for _ in range(2))
        self.emotion = linear(size.width, len(EMOTIONS_32), bias=False, **kinds)
        self.join1 = linear(5 * size.width, 3 * size.width, bias=False, **kinds)
        self.join2 = linear(3 * size.width, size.width, bias=False, **kinds)
        self.decoder = Decoder(1, *sizes, **kinds)
        self.head = linear(size.width, config.words, **kinds)
        self.frequency = parameter(rngs, jax.nn.initializers.zeros, (config.words,), jnp.float32, ("vocab",))

    def encode(self, batch: TextBatch, rng: jax.Array | None = None) -> Memory:
        """The refined context and the emotion's logits. Nothing here is random."""
        if batch.relations is None:
            raise ValueError("CEM reads relations; build the batch for it")
        valid = batch.context != PAD
        context = self.encoder(self.words(batch.context) + self.words(batch.roles), valid)
        size, length, width = context.shape
        words = batch.relations[:, :4].reshape(4 * size, -1)  # four in one, which compiles faster
        summaries = self.cognition(self.words(words), words != PAD)[
            :, 0
        ]  # (B · 4, D): the relation's root stands for it
        words = batch.relations[:, 4]
        kept = (words != PAD)[..., None]
        felt = self.affection(self.words(words), kept[..., 0])
        reaction = jnp.sum(felt * kept, axis=1) / jnp.maximum(jnp.sum(kept, axis=1), 1)

        def beside(context: Array, summary: Array) -> Array:
            return jnp.concatenate([context, jnp.broadcast_to(summary[:, None], context.shape)], axis=-1)

        affection = self.refine_affection(beside(context, reaction), valid)
        four = beside(jnp.repeat(context, 4, axis=0), summaries)
        refined = self.refine_cognition(four, jnp.repeat(valid, 4, axis=0)).reshape(size, 4, length, width)
        joined = jnp.concatenate([refined.swapaxes(1, 2).reshape(size, length, 4 * width), affection], axis=-1)
        joined = self.join2(jax.nn.relu(self.join1(jax.nn.sigmoid(joined) * joined)))
        return {"sources": ((joined, valid),), "emotion": self.emotion(affection[:, 0])}

    def loss(self, batch: TextBatch, rng: jax.Array | None) -> dict[str, Pair]:
        """Words, emotion and diversity."""
        memory = self.encode(batch, rng)
        found = self.log_probabilities(memory, *self.states(memory, shifted(batch.target)))
        emotion, accuracy = losses.emotion(memory["emotion"], batch.emotion, batch.weight)
        diversity, moving = losses.diversity(found, batch.target, batch.weight, self.frequency[...])
        return {
            "reply": losses.reply(found, batch.target, batch.weight),
            "emotion": emotion,
            "diversity": diversity,
            "frequency": moving,
            "emotion_accuracy": accuracy,
        }
