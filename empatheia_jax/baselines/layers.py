"""The Transformer that KEMP, CEM and CASE share: pre-norm layers with convolutions of width 3 in the place of linear maps
(Tensor2Tensor's, as torchnlp has them).

Letters: B batch, Q and K positions that ask and that are read, D width, H heads, V words. Masks are True at what is read; padding
is 0 wherever a convolution could see it, so that a dialogue does not depend on the length of its neighbours.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.baselines.words import SOS
from empatheia_jax.nn.linear import Embedding, Linear
from empatheia_jax.nn.parameters import parameter

Memory = dict[str, Any]
"""What a network's decoder needs of a dialogue: `sources`, pairs of states and of what of them is valid; `emotion`, logits; and
what else the network needs.
"""
EPS = 1e-6
_XAVIER = jax.nn.initializers.xavier_uniform()
NOTHING = -1e18
"""Score of what is not read."""


def linear(inputs: int, outputs: int, *, rngs: nnx.Rngs, bias: bool = True, **kinds: Any) -> Linear:
    """A linear map, started as the three repositories start theirs (Glorot's uniform)."""
    return Linear(inputs, outputs, axes=("embed", "mlp"), use_bias=bias, kernel_init=_XAVIER, rngs=rngs, **kinds)


def softmax(scores: Float[Array, "*n K"], valid: Bool[Array, "*#n K"]) -> Float[Array, "*n K"]:
    """Softmax over what is valid; all 0 where nothing is."""
    found = jax.nn.softmax(jnp.where(valid, scores, NOTHING), axis=-1)
    return jnp.where(valid, found, 0)


def timing(length: int, width: int) -> Float[np.ndarray, "length width"]:
    """Sines, then cosines, of the position at wavelengths from 2π to 20,000π."""
    scales = np.exp(-np.arange(width // 2) * (math.log(1e4) / (width // 2 - 1)))
    angles = np.arange(length)[:, None] * scales[None]
    found = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return np.pad(found, ((0, 0), (0, width % 2))).astype(np.float32)


def shifted(target: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """What the decoder reads while it is taught: the start, then the target without its last word."""
    return jnp.concatenate([jnp.full_like(target[:, :1], SOS), target[:, :-1]], axis=1)


class Words(nnx.Module):
    """The embedding that everything shares, times √D."""

    def __init__(self, words: int, width: int, *, rngs: nnx.Rngs, **kinds: Any):
        self.width = width
        self.table = Embedding(words, width, init=jax.nn.initializers.normal(0.01), rngs=rngs, **kinds)

    def __call__(self, numbers: Int[Array, "*n"]) -> Float[Array, "*n D"]:
        return self.table(numbers) * math.sqrt(self.width)


class Norm(nnx.Module):
    """`scale · (x − mean) / (deviation + ε) + bias` with the deviation of a sample (over D − 1)."""

    def __init__(self, width: int, *, rngs: nnx.Rngs, param_dtype: Any = jnp.float32, **_: Any):
        ones, zeros = jax.nn.initializers.ones, jax.nn.initializers.zeros
        self.scale = parameter(rngs, ones, (width,), param_dtype, ("embed",))
        self.bias = parameter(rngs, zeros, (width,), param_dtype, ("embed",))

    def __call__(self, x: Float[Array, "*n D"]) -> Float[Array, "*n D"]:
        x = x - x.mean(axis=-1, keepdims=True)
        variance = jnp.sum(jnp.square(x), axis=-1, keepdims=True) / (x.shape[-1] - 1)
        deviation = jnp.sqrt(jnp.maximum(variance, 1e-20))  # a root has no gradient at 0
        return self.scale[...] * x / (deviation + EPS) + self.bias[...]


class Attention(nnx.Module):
    """Multi-head attention with keys and values of `depth` numbers, without biases."""

    def __init__(self, width: int, depth: int, heads: int, *, rngs: nnx.Rngs, **kinds: Any):
        self.heads, self.scale = heads, (depth // heads) ** -0.5
        made: dict[str, Any] = {"bias": False, "rngs": rngs, **kinds}
        self.query, self.key, self.value = (linear(width, depth, **made) for _ in range(3))
        self.out = linear(depth, width, **made)

    def __call__(
        self,
        x: Float[Array, "B Q D"],
        source: Float[Array, "B K D"],
        valid: Bool[Array, "#B #Q K"],
    ) -> tuple[Float[Array, "B Q D"], Float[Array, "B Q K"]]:
        """What is read, and the scores before softmax as means over heads."""

        def split(y: Array) -> Array:  # (B, L, depth) -> (B, L, H, depth / H)
            return y.reshape(*y.shape[:2], self.heads, -1)

        q, k, v = split(self.query(x) * self.scale), split(self.key(source)), split(self.value(source))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        weights = softmax(scores, valid[:, None])
        read = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        return self.out(read.reshape(*x.shape[:2], -1)), scores.mean(axis=1)


class Convolution(nnx.Module):
    """A convolution of width 3; `causal`: it sees its own position and the two before."""

    def __init__(
        self, inputs: int, outputs: int, causal: bool, *, rngs: nnx.Rngs, param_dtype: Any = jnp.float32, **_: Any
    ):
        self.padding = (2, 0) if causal else (1, 1)
        self.kernel = parameter(rngs, _XAVIER, (3, inputs, outputs), param_dtype, ("time", "embed", "mlp"))
        self.bias = parameter(rngs, jax.nn.initializers.zeros, (outputs,), param_dtype, ("mlp",))

    def __call__(self, x: Float[Array, "B L I"]) -> Float[Array, "B L O"]:
        # Three products: XLA has no fast path for such convolutions on CPUs.
        x, length = jnp.pad(x, ((0, 0), self.padding, (0, 0))), x.shape[1]
        kernel = self.kernel[...]
        return sum(x[:, shift : shift + length] @ kernel[shift] for shift in range(3)) + self.bias[...]


class FeedForward(nnx.Module):
    """Convolution, ReLU, convolution, ReLU: the second ReLU is the repositories' own."""

    def __init__(self, width: int, filter_width: int, causal: bool, *, rngs: nnx.Rngs, **kinds: Any):
        self.up = Convolution(width, filter_width, causal, rngs=rngs, **kinds)
        self.down = Convolution(filter_width, width, causal, rngs=rngs, **kinds)

    def __call__(self, x: Float[Array, "B L D"], kept: Float[Array, "#B #L 1"]) -> Float[Array, "B L D"]:
        return jax.nn.relu(self.down(jax.nn.relu(self.up(x * kept)) * kept))


class EncoderLayer(nnx.Module):
    """Self-attention and feed-forward, each behind a norm."""

    def __init__(self, width: int, depth: int, heads: int, filter_width: int, **kinds: Any):
        self.norm_attention, self.norm_feed = Norm(width, **kinds), Norm(width, **kinds)
        self.attention = Attention(width, depth, heads, **kinds)
        self.feed = FeedForward(width, filter_width, False, **kinds)

    def __call__(self, x: Float[Array, "B L D"], valid: Bool[Array, "B L"]) -> Float[Array, "B L D"]:
        y = self.norm_attention(x)
        x = x + self.attention(y, y, valid[:, None])[0]
        return x + self.feed(self.norm_feed(x), valid[..., None].astype(x.dtype))


class Encoder(nnx.Module):
    """One layer over projected inputs (of width `inputs`) with positions, and a norm."""

    def __init__(self, inputs: int, width: int, depth: int, heads: int, filter_width: int, **kinds: Any):
        self.project = linear(inputs, width, bias=False, **kinds)
        self.layer = EncoderLayer(width, depth, heads, filter_width, **kinds)
        self.norm = Norm(width, **kinds)

    def __call__(self, x: Float[Array, "B L I"], valid: Bool[Array, "B L"]) -> Float[Array, "B L D"]:
        x = self.project(x)
        x = x + timing(x.shape[1], x.shape[2]).astype(x.dtype)
        return self.norm(self.layer(x, valid))


class DecoderLayer(nnx.Module):
    """Self-attention, attention to each of `memories` sources in their order, and feed-forward, each behind a norm."""

    def __init__(self, memories: int, width: int, depth: int, heads: int, filter_width: int, **kinds: Any):
        self.norm_attention, self.norm_feed = Norm(width, **kinds), Norm(width, **kinds)
        self.attention = Attention(width, depth, heads, **kinds)
        self.cross = nnx.List([Attention(width, depth, heads, **kinds) for _ in range(memories)])
        self.norm_cross = nnx.List([Norm(width, **kinds) for _ in range(memories)])
        self.feed = FeedForward(width, filter_width, True, **kinds)

    def __call__(
        self, x: Float[Array, "B T D"], *sources: tuple[Float[Array, "B _ D"], Bool[Array, "B _"]]
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B T _"]]:
        """States, and the scores of the last source; sources differ in length."""
        y, before = self.norm_attention(x), jnp.tril(jnp.ones((1, x.shape[1], x.shape[1]), bool))
        x = x + self.attention(y, y, before)[0]
        scores = jnp.zeros((x.shape[0], x.shape[1], 0), x.dtype)
        for norm, cross, (source, valid) in zip(self.norm_cross, self.cross, sources, strict=True):
            y, scores = cross(norm(x), source, valid[:, None])
            x = x + y
        return x + self.feed(self.norm_feed(x), jnp.ones((1, 1, 1), x.dtype)), scores


class Decoder(nnx.Module):
    """One layer over projected words with positions, and a norm."""

    def __init__(self, memories: int, width: int, depth: int, heads: int, filter_width: int, **kinds: Any):
        self.project = linear(width, width, bias=False, **kinds)
        self.layer = DecoderLayer(memories, width, depth, heads, filter_width, **kinds)
        self.norm = Norm(width, **kinds)

    def __call__(
        self, x: Float[Array, "B T D"], *sources: tuple[Float[Array, "B _ D"], Bool[Array, "B _"]]
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B T _"]]:
        """States, and the scores of the last source; sources differ in length."""
        x = self.project(x)
        x, scores = self.layer(x + timing(x.shape[1], x.shape[2]).astype(x.dtype), *sources)
        return self.norm(x), scores


class WordByWord(nnx.Module):
    """A network whose decoder reads its encoded sources, and whose head alone scores the words."""

    words: Words
    decoder: Decoder
    head: Linear

    def states(self, memory: Memory, written: Int[Array, "B T"]) -> tuple[Float[Array, "B T D"], Float[Array, "B T S"]]:
        """States behind each of the words that are written, the first of which is `words.SOS`; and scores of the context."""
        return self.decoder(self.words(written), *memory["sources"])

    def log_probabilities(
        self, memory: Memory, states: Float[Array, "B T D"], scores: Float[Array, "B T S"]
    ) -> Float[Array, "B T V"]:
        """Log probabilities of the next word."""
        return jax.nn.log_softmax(self.head(states), axis=-1)


class Dropout(nnx.Module):
    """Sets a share of the values to 0 where `rng` is given."""

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, x: Float[Array, "*n"], rng: jax.Array | None) -> Float[Array, "*n"]:
        if rng is None or self.rate == 0:
            return x
        return jnp.where(jax.random.bernoulli(rng, 1 - self.rate, x.shape), x / (1 - self.rate), 0)
