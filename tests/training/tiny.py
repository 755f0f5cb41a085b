"""A real network small enough for any test: embedding, scanned residual layers with low-rank terms, dropout, a head."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from empatheia_jax.training import losses, partition

VOCABULARY, WIDTH, LAYERS, RANK, LENGTH = 32, 16, 3, 2, 12
TRAINABLE = (nnx.LoRAParam, "style.*")


def _param(kind, random, shape, axes, scale, dtype=jnp.float32):
    """Drawn by NumPy: to compile a program for each shape takes longer than any test that uses them."""
    value = jnp.asarray(scale * random.standard_normal(shape), dtype)
    return kind(value, out_sharding=axes, eager_sharding=False)


class Layers(nnx.Module):
    def __init__(self, random, dtype, dropout):
        self.kernel = _param(nnx.Param, random, (LAYERS, WIDTH, 4 * WIDTH), ("layers", "embed", "mlp"), 0.2, dtype)
        self.down = _param(nnx.Param, random, (LAYERS, 4 * WIDTH, WIDTH), ("layers", "mlp", "embed"), 0.1, dtype)
        self.lora_a = _param(nnx.LoRAParam, random, (LAYERS, WIDTH, RANK), ("layers", "embed", "lora"), 0.3)
        self.lora_b = _param(nnx.LoRAParam, random, (LAYERS, RANK, 4 * WIDTH), ("layers", "lora", "mlp"), 0.1)
        self.rate = dropout

    def layer(self, x, weights, key):
        kernel, down, a, b = weights
        inside = x
        if key is not None and self.rate:
            keep = jax.random.bernoulli(key, 1 - self.rate, x.shape)
            inside = jnp.where(keep, x / (1 - self.rate), 0)
        return x + jnp.tanh(x @ kernel[...].astype(x.dtype) + inside @ a @ b) @ down.astype(x.dtype)

    def __call__(self, x, key, scan=True):
        weights = (self.kernel.get_value(), self.down[...], self.lora_a[...], self.lora_b[...])

        def body(x, inputs):
            index, weights = inputs
            return self.layer(x, weights, None if key is None else jax.random.fold_in(key, index)), None

        if scan:
            return jax.lax.scan(jax.checkpoint(body), x, (jnp.arange(LAYERS), weights))[0]
        for index in range(LAYERS):
            x, _ = body(x, (index, jax.tree.map(lambda w, i=index: w[i], weights)))
        return x


class Style(nnx.Module):
    def __init__(self, random, rngs):
        self.kernel = _param(nnx.Param, random, (WIDTH, 8), ("embed", None), 0.3)
        self.bias = nnx.Param(jnp.zeros((8,)))
        self.dropout = nnx.Dropout(0.1, rngs=rngs)


class TinyModel(nnx.Module):
    """Tokens in, next-token scores and one style vector per example out."""

    def __init__(self, *, rngs, dtype=jnp.float32, dropout=0.1):
        shape, random = (VOCABULARY, WIDTH), np.random.default_rng(0)
        self.table = _param(nnx.Param, random, shape, ("vocab", "embed"), 0.5, dtype)
        self.layers = Layers(random, dtype, dropout)
        self.style = Style(random, rngs)

    def hidden(self, tokens, key=None, scan=True):
        return self.layers(self.table[...][tokens].astype(jnp.float32), key, scan)

    def logits(self, hidden):
        return hidden @ self.table[...].astype(hidden.dtype).T

    def styles(self, hidden, lengths, deterministic):
        mask = (jnp.arange(hidden.shape[1]) < lengths[:, None])[..., None]
        pooled = jnp.sum(hidden * mask, 1) / jnp.maximum(jnp.sum(mask, 1), 1)
        pooled = self.style.dropout(pooled, deterministic=deterministic)
        return pooled @ self.style.kernel[...] + self.style.bias[...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class TinyBatch:
    tokens: jax.Array
    lengths: jax.Array
    style: jax.Array
    weight: jax.Array


def loss(model, batch, rng, *, scan=True):
    """Cross-entropy in chunks and a style regression, as the stages do it."""
    hidden = model.hidden(batch.tokens, rng, scan)
    mask = (jnp.arange(LENGTH - 1) < batch.lengths[:, None] - 1) * batch.weight[:, None]
    ce, correct = losses.chunked_cross_entropy(model.logits, hidden[:, :-1], batch.tokens[:, 1:], mask, chunk=4)
    styles = model.styles(hidden, batch.lengths, deterministic=rng is None)
    return {"ce": ce, "accuracy": correct, "style": losses.regression(styles, batch.style, weight=batch.weight)}


COEFFICIENTS = {"ce": 1.0, "style": 0.5}


def batch(seed: int, size: int = 8) -> TinyBatch:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, VOCABULARY, (size, 1))
    tokens = ((tokens + 3 * np.arange(LENGTH)) % VOCABULARY).astype(np.int32)
    lengths = rng.integers(3, LENGTH + 1, size).astype(np.int32)
    weight = np.ones(size, np.float32)
    weight[-1] = 0.0  # a padding example, and so micro-batches of unequal weight
    return TinyBatch(tokens, lengths, np.tile(tokens[:, :1] / 16.0, (1, 8)).astype(np.float32), weight)


def model(dtype=jnp.float32, dropout=0.1) -> TinyModel:
    return TinyModel(rngs=nnx.Rngs(0), dtype=dtype, dropout=dropout)


def split(dtype=jnp.float32, dropout=0.1) -> partition.Partition:
    return partition.split(model(dtype, dropout), TRAINABLE)


class Batches:
    """Endless batches; the position is all there is to remember."""

    def __init__(self, size: int = 8):
        self.position, self.size = 0, size

    def __iter__(self):
        return self

    def __next__(self):
        self.position += 1
        return batch(self.position, self.size)

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]
