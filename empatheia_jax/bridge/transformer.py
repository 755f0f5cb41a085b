"""The Transformer block of the bridge: encoder over a source, decoder over learned queries.

One block is a pre-norm encoder-decoder Transformer (Vaswani et al., 2017) of `layers` encoder and `layers` decoder
layers; its "target" is a set of learned queries, as in NExT-GPT's projection layers (paper §6.1: "four encoder-decoder
modules").
Layers are stacked on a leading axis and scanned. Letters: B batch, S source length, Q queries, D width, H heads.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from empatheia_jax.nn.attention import attention
from empatheia_jax.nn.linear import Linear
from empatheia_jax.nn.sharding import over_batch

LAYER_NORM_EPSILON = 1e-5
FIRST_LOG_VARIANCE = -4.0


@dataclasses.dataclass(frozen=True)
class BlockConfig:
    """Size of one encoder-decoder block: model width D, attention heads, feed-forward width, layers on each side."""

    width: int
    heads: int
    mlp: int
    layers: int


def linear(inputs: int, outputs: int, axes: tuple[str | None, str | None], *, rngs: nnx.Rngs, **dtypes) -> Linear:
    """A linear map with bias."""
    return Linear(inputs, outputs, axes=axes, use_bias=True, rngs=rngs, **dtypes)


def layer_norm(width: int, *, rngs: nnx.Rngs, dtype, param_dtype) -> nnx.LayerNorm:
    """LayerNorm with PyTorch's epsilon."""
    return nnx.LayerNorm(width, epsilon=LAYER_NORM_EPSILON, dtype=dtype, param_dtype=param_dtype, rngs=rngs)


class Attention(nnx.Module):
    """Multi-head attention of queries (B, Q, D) over keys (B, S, D); `mask` (B, S) is True at valid keys."""

    def __init__(self, config: BlockConfig, *, rngs: nnx.Rngs, **dtypes):
        self.heads = config.heads
        width = config.width
        self.query = linear(width, width, ("embed", "heads"), rngs=rngs, **dtypes)
        self.key = linear(width, width, ("embed", "heads"), rngs=rngs, **dtypes)
        self.value = linear(width, width, ("embed", "heads"), rngs=rngs, **dtypes)
        self.out = linear(width, width, ("heads", "embed"), rngs=rngs, **dtypes)

    def __call__(self, x: Float[Array, "B Q D"], source: Float[Array, "B S D"], mask: Bool[Array, "B S"]):
        def split(y):  # (B, L, D) -> (B, L, H, D / H)
            return y.reshape(*y.shape[:2], self.heads, -1)

        q, k, v = split(self.query(x)), split(self.key(source)), split(self.value(source))
        out = attention(q, k, v, mask=jnp.broadcast_to(mask[:, None, :], (x.shape[0], x.shape[1], source.shape[1])))
        return self.out(out.reshape(x.shape))


class Mlp(nnx.Module):
    """Linear, ReLU, Linear."""

    def __init__(self, config: BlockConfig, *, rngs: nnx.Rngs, **dtypes):
        self.up = linear(config.width, config.mlp, ("embed", "mlp"), rngs=rngs, **dtypes)
        self.down = linear(config.mlp, config.width, ("mlp", "embed"), rngs=rngs, **dtypes)

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        return self.down(jax.nn.relu(self.up(x)))


class EncoderLayer(nnx.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, config: BlockConfig, *, rngs: nnx.Rngs, **dtypes):
        self.norm_attention = layer_norm(config.width, rngs=rngs, **dtypes)
        self.attention = Attention(config, rngs=rngs, **dtypes)
        self.norm_mlp = layer_norm(config.width, rngs=rngs, **dtypes)
        self.mlp = Mlp(config, rngs=rngs, **dtypes)

    def __call__(self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Float[Array, "B T D"]:
        y = self.norm_attention(x)
        x = x + self.attention(y, y, mask)
        return x + self.mlp(self.norm_mlp(x))


class DecoderLayer(nnx.Module):
    """Pre-norm self-attention, cross-attention and feed-forward."""

    def __init__(self, config: BlockConfig, *, rngs: nnx.Rngs, **dtypes):
        self.norm_attention = layer_norm(config.width, rngs=rngs, **dtypes)
        self.attention = Attention(config, rngs=rngs, **dtypes)
        self.norm_cross = layer_norm(config.width, rngs=rngs, **dtypes)
        self.cross = Attention(config, rngs=rngs, **dtypes)
        self.norm_mlp = layer_norm(config.width, rngs=rngs, **dtypes)
        self.mlp = Mlp(config, rngs=rngs, **dtypes)

    def __call__(
        self,
        x: Float[Array, "B Q D"],
        mask: Bool[Array, "B Q"],
        source: Float[Array, "B S D"],
        source_mask: Bool[Array, "B S"],
    ) -> Float[Array, "B Q D"]:
        y = self.norm_attention(x)
        x = x + self.attention(y, y, mask)
        x = x + self.cross(self.norm_cross(x), source, source_mask)
        return x + self.mlp(self.norm_mlp(x))


def stacked(make, count: int, rngs: nnx.Rngs):
    """`count` modules `make(rngs)`, each seeded apart, with their parameters stacked on a leading axis named "layers"."""

    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=0, out_axes=0, transform_metadata={nnx.PARTITION_NAME: "layers"})
    def build(rngs: nnx.Rngs):
        return make(rngs)

    return build(rngs)


def _scan(layers: nnx.Module, x: Array, *inputs: Array) -> Array:
    """Applies stacked layers one after another: `x = layer(x, *inputs)`."""
    graph, state = nnx.split(layers)

    def step(x, layer_state):
        return over_batch(nnx.merge(graph, layer_state)(over_batch(x), *inputs)), None

    return jax.lax.scan(step, x, state)[0]


class Block(nnx.Module):
    """One encoder-decoder Transformer block.

    `(source (B, S, D), source_mask (B, S), queries (B, Q, D), query_mask (B, Q))` → (B, Q, D), final-normed. Rows
    of the result whose query is masked are meaningless and must be masked by the caller's loss.
    """

    def __init__(self, config: BlockConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        dtypes: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype}
        self.encoder = stacked(lambda r: EncoderLayer(config, rngs=r, **dtypes), config.layers, rngs)
        self.encoder_norm = layer_norm(config.width, rngs=rngs, **dtypes)
        self.decoder = stacked(lambda r: DecoderLayer(config, rngs=r, **dtypes), config.layers, rngs)
        self.decoder_norm = layer_norm(config.width, rngs=rngs, **dtypes)

    def __call__(
        self,
        source: Float[Array, "B S D"],
        source_mask: Bool[Array, "B S"],
        queries: Float[Array, "B Q D"],
        query_mask: Bool[Array, "B Q"],
    ) -> Float[Array, "B Q D"]:
        memory = self.encoder_norm(_scan(self.encoder, source, source_mask))
        return self.decoder_norm(_scan(self.decoder, queries, query_mask, memory, source_mask))


class Gaussian(nnx.Module):
    """The latent of a VAE block: mean and log-variance heads with reparameterisation (Kingma and Welling, 2014).

    `(x (..., D), key | None)` → (z (..., L), kl (...)): a sample when a key is given (training), the mean otherwise; KL
    to N(0, 1) in nats, summed over L.
    """

    def __init__(self, width: int, latent: int, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        self.mean = linear(width, latent, ("embed", None), rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.log_variance = linear(width, latent, ("embed", None), rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        # Latents start almost noiseless: unit noise would drown what the untrained encoder says.
        bias = self.log_variance.bias
        if bias is None:
            raise TypeError("the map to the log variance has no bias to start from")
        bias[...] = jnp.full((latent,), FIRST_LOG_VARIANCE, param_dtype)

    def __call__(self, x: Float[Array, "*B D"], key: Array | None) -> tuple[Float[Array, "*B L"], Float[Array, "*B"]]:
        mean = self.mean(x).astype(jnp.float32)
        # With KL weight 0 (the paper's letter) nothing holds the variance up; the clip keeps exp() finite either way.
        log_variance = jnp.clip(self.log_variance(x).astype(jnp.float32), -20.0, 10.0)
        z = mean
        if key is not None:
            z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape, mean.dtype)
        kl = 0.5 * jnp.sum(jnp.exp(log_variance) + mean**2 - 1.0 - log_variance, axis=-1)
        return z, kl


def sinusoids(length: int, width: int) -> Float[Array, "Q D"]:
    """Sinusoidal positions, sines in the first half of the width, then cosines (Vaswani et al., 2017, §3.5)."""
    half = width // 2
    angles = jnp.arange(length)[:, None] / 10000.0 ** (jnp.arange(half) / half)[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
