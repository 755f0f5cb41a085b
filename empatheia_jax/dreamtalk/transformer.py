"""Post-norm Transformer layers of the motion denoiser (Vaswani et al. 2017), batch first.

DreamTalk's layers differ from the common DETR ones in one point: positions are added once, before the first layer, and
never again to queries and keys.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.nn.bias import bias_of


class Buffer(nnx.Variable):
    """A constant that checkpoints store beside the weights; never trained."""


def dropout(x: Array, rate: float, key: Array | None) -> Array:
    """Inverted dropout; `key` None means evaluation."""
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0).astype(x.dtype)


def split(key: Array | None, count: int) -> list[Array | None]:
    """`count` keys, or as many None."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def sinusoidal_table(positions: int, dim: int) -> np.ndarray:
    """Positional table (1, positions, dim), interleaved: even columns sin, odd columns cos of p / 10000^(2⌊j/2⌋/dim).

    Computed in float64 and rounded to float32, as checkpoints store it.
    """
    angle = np.arange(positions)[:, None] / np.power(10000.0, 2 * (np.arange(dim) // 2) / dim)[None]
    table = np.where(np.arange(dim) % 2 == 0, np.sin(angle), np.cos(angle))
    return table[None].astype(np.float32)


class MultiHeadAttention(nnx.Module):
    """Attention with one packed input projection (q, k, v side by side), as checkpoints hold it."""

    def __init__(self, dim: int, num_heads: int, *, rngs: nnx.Rngs, dtype, param_dtype):
        options: dict[str, Any] = dict(
            rngs=rngs, dtype=dtype, param_dtype=param_dtype, kernel_init=nnx.initializers.xavier_uniform()
        )
        self.num_heads = num_heads
        self.in_proj = nnx.Linear(dim, 3 * dim, **options)
        self.out_proj = nnx.Linear(dim, dim, **options)

    def project(self, x: Float[Array, "... T D"], first: int, count: int) -> list[Float[Array, "... T H d"]]:
        """`count` of the three projections of x, beginning with number `first` (0 = q, 1 = k, 2 = v)."""
        dim = self.out_proj.out_features
        columns = slice(first * dim, (first + count) * dim)
        dtype = self.in_proj.dtype
        kernel, bias = self.in_proj.kernel[...][:, columns], bias_of(self.in_proj)[...][columns]
        y = x.astype(dtype) @ kernel.astype(dtype) + bias.astype(dtype)
        y = y.reshape(*x.shape[:-1], count, self.num_heads, dim // self.num_heads)
        return [y[..., i, :, :] for i in range(count)]

    def attend(
        self,
        query: Float[Array, "... T H d"],
        key: Float[Array, "... S H d"],
        value: Float[Array, "... S H d"],
        *,
        padding: Bool[Array, "... S"] | None = None,
        rate: float = 0.0,
        dropout_key: Array | None = None,
    ) -> Float[Array, "... T D"]:
        """softmax(q kᵀ / √d) v and the output projection; `padding` True = a key to be ignored."""
        logits = jnp.einsum("...thd,...shd->...hts", query, key) / np.sqrt(query.shape[-1]).astype(query.dtype)
        if padding is not None:
            logits = jnp.where(padding[..., None, None, :], -jnp.inf, logits)
        weights = dropout(jax.nn.softmax(logits, axis=-1), rate, dropout_key)
        out = jnp.einsum("...hts,...shd->...thd", weights, value)
        return self.out_proj(out.reshape(*out.shape[:-2], -1))


def layer_norm(dim: int, eps: float, *, rngs: nnx.Rngs, dtype, param_dtype) -> nnx.LayerNorm:
    """LayerNorm with the numerically safe (two-pass) variance."""
    return nnx.LayerNorm(dim, epsilon=eps, use_fast_variance=False, rngs=rngs, dtype=dtype, param_dtype=param_dtype)


class FeedForward(nnx.Module):
    """Linear, ReLU, Linear."""

    def __init__(self, dim: int, hidden: int, *, rngs: nnx.Rngs, dtype, param_dtype):
        options: dict[str, Any] = dict(
            rngs=rngs, dtype=dtype, param_dtype=param_dtype, kernel_init=nnx.initializers.xavier_uniform()
        )
        self.linear1 = nnx.Linear(dim, hidden, **options)
        self.linear2 = nnx.Linear(hidden, dim, **options)

    def __call__(
        self,
        x: Float[Array, "... T D"],
        style: Float[Array, "... D"] | None = None,
        *,
        rate: float = 0.0,
        key: Array | None = None,
    ) -> Float[Array, "... T D"]:
        return self.linear2(dropout(jax.nn.relu(self.linear1(x)), rate, key))


class DynamicFeedForward(nnx.Module):
    """Style-adaptive feed-forward (StyleTalk, Ma et al. 2023): the first layer is a mixture of K experts.

    The mixture is softmax(W₂ relu(W₁ style) / temperature); weights and biases of the experts are averaged with it
    before they are applied. Off in the released DreamTalk. The reference fails for a batch or a window of one; this
    does not.
    """

    def __init__(
        self, dim: int, hidden: int, experts: int, ratio: int, temperature: float, *, rngs: nnx.Rngs, dtype, param_dtype
    ):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        init = nnx.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform", batch_axis=0)
        self.temperature = temperature
        self.dtype = dtype
        self.kernel = nnx.Param(init(rngs.params(), (experts, dim, hidden), param_dtype))
        self.bias = nnx.Param(jnp.zeros((experts, hidden), param_dtype))
        self.attention1 = nnx.Linear(dim, dim // ratio, use_bias=False, **options)
        self.attention2 = nnx.Linear(dim // ratio, experts, use_bias=False, **options)
        self.linear2 = nnx.Linear(hidden, dim, kernel_init=nnx.initializers.xavier_uniform(), **options)

    def mixture(self, style: Float[Array, "... D"]) -> Float[Array, "... K"]:
        """Weights of the experts."""
        return jax.nn.softmax(self.attention2(jax.nn.relu(self.attention1(style))) / self.temperature, axis=-1)

    def __call__(
        self, x: Float[Array, "... T D"], style: Float[Array, "... D"], *, rate: float = 0.0, key: Array | None = None
    ) -> Float[Array, "... T D"]:
        weights = self.mixture(style)
        kernel = jnp.einsum("...k,kio->...io", weights, self.kernel[...].astype(self.dtype))
        bias = weights @ self.bias[...].astype(self.dtype)
        hidden = jnp.einsum("...ti,...io->...to", x, kernel) + bias[..., None, :]
        return self.linear2(dropout(jax.nn.relu(hidden), rate, key))


class EncoderLayer(nnx.Module):
    """Self-attention and feed-forward, each followed by residual and LayerNorm."""

    def __init__(self, dim: int, num_heads: int, hidden: int, rate: float, eps: float, **options):
        self.rate = rate
        self.self_attn = MultiHeadAttention(dim, num_heads, **options)
        self.feed_forward = FeedForward(dim, hidden, **options)
        self.norm1 = layer_norm(dim, eps, **options)
        self.norm2 = layer_norm(dim, eps, **options)

    def __call__(
        self, x: Float[Array, "... T D"], padding: Bool[Array, "... T"] | None = None, key: Array | None = None
    ) -> Float[Array, "... T D"]:
        k1, k2, k3, k4 = split(key, 4)
        query, keys, values = self.self_attn.project(x, 0, 3)
        attended = self.self_attn.attend(query, keys, values, padding=padding, rate=self.rate, dropout_key=k1)
        x = self.norm1(x + dropout(attended, self.rate, k2))
        return self.norm2(x + dropout(self.feed_forward(x, rate=self.rate, key=k3), self.rate, k4))


def encoder_layers(config: DenoiserConfig, count: int, **options: Any) -> nnx.List[EncoderLayer]:
    """`count` encoder layers of the denoiser's width."""
    sizes = (config.d_model, config.num_heads, config.feedforward_dim, config.dropout, config.layer_norm_eps)
    return nnx.List(EncoderLayer(*sizes, **options) for _ in range(count))


class DecoderLayer(nnx.Module):
    """Self-attention, attention over a memory, feed-forward; each followed by residual and LayerNorm.

    With `experts` the feed-forward is style-adaptive.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        hidden: int,
        rate: float,
        eps: float,
        experts: int | None,
        ratio: int | None,
        temperature: float | None,
        **options,
    ):
        self.rate = rate
        self.self_attn = MultiHeadAttention(dim, num_heads, **options)
        self.cross_attn = MultiHeadAttention(dim, num_heads, **options)
        if experts is None:
            self.feed_forward: FeedForward | DynamicFeedForward = FeedForward(dim, hidden, **options)
        else:
            if ratio is None or temperature is None:
                raise ValueError("a style-adaptive feed-forward needs a ratio and a temperature")
            self.feed_forward = DynamicFeedForward(dim, hidden, experts, ratio, temperature, **options)
        self.norm1 = layer_norm(dim, eps, **options)
        self.norm2 = layer_norm(dim, eps, **options)
        self.norm3 = layer_norm(dim, eps, **options)

    def attend_self(
        self, x: Float[Array, "... T D"], only: int | None = None, key: Array | None = None
    ) -> Float[Array, "... U D"]:
        """The first third of the layer. `only` is the one position whose result is wanted: then U = 1, else U = T."""
        k1, k2 = split(key, 2)
        keys, values = self.self_attn.project(x, 1, 2)
        x = x if only is None else x[..., only : only + 1, :]
        (query,) = self.self_attn.project(x, 0, 1)
        attended = self.self_attn.attend(query, keys, values, rate=self.rate, dropout_key=k1)
        return self.norm1(x + dropout(attended, self.rate, k2))

    def read_memory(self, memory: Float[Array, "... S D"]) -> list[Float[Array, "... S H d"]]:
        """Keys and values of the memory."""
        return self.cross_attn.project(memory, 1, 2)

    def attend_memory(
        self,
        x: Float[Array, "... T D"],
        memory: list[Float[Array, "... S H d"]],
        style: Float[Array, "... D"],
        key: Array | None = None,
    ) -> Float[Array, "... T D"]:
        """The rest of the layer: `memory` from `read_memory`, `style` for the adaptive feed-forward."""
        k1, k2, k3, k4 = split(key, 4)
        (query,) = self.cross_attn.project(x, 0, 1)
        attended = self.cross_attn.attend(query, *memory, rate=self.rate, dropout_key=k1)
        x = self.norm2(x + dropout(attended, self.rate, k2))
        return self.norm3(x + dropout(self.feed_forward(x, style, rate=self.rate, key=k3), self.rate, k4))

    def __call__(
        self,
        x: Float[Array, "... T D"],
        memory: Float[Array, "... S D"],
        style: Float[Array, "... D"],
        key: Array | None = None,
    ) -> Float[Array, "... T D"]:
        k1, k2 = split(key, 2)
        return self.attend_memory(self.attend_self(x, key=k1), self.read_memory(memory), style, k2)
