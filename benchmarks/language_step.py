"""The loss of stage 1 on a language model alone, for the benchmarks of the training step."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from empatheia_jax.training.losses import chunked_cross_entropy


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Tokens:
    """Token ids (B, T), every one of them to be predicted from those before it."""

    tokens: jax.Array


def language_loss(chunk: int):
    """`(model, batch, rng) → {"ce": (sum, weight)}` with the logits of `chunk` positions at once; 0 = of all."""

    def loss(model, batch, rng):
        hidden = model(model.embed(batch.tokens), rng=rng).hidden
        labels, mask = batch.tokens[:, 1:], jnp.ones(batch.tokens[:, 1:].shape)
        return {"ce": chunked_cross_entropy(model.logits, hidden[:, :-1], labels, mask, chunk=chunk or None)[0]}

    return loss
