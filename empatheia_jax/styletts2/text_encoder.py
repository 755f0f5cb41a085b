"""StyleTTS 2's text encoder: phoneme tokens → one 512-wide frame per phoneme.

These frames are also what Empatheia's content synchroniser learns to produce (its C^s).
Architecture after yl4579/StyleTTS2, `models.py`, class TextEncoder (Li et al. 2023, section 3).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from empatheia_jax.nn.linear import LayerNorm
from empatheia_jax.styletts2.activations import leaky_relu
from empatheia_jax.styletts2.convolutions import Conv1d
from empatheia_jax.styletts2.linear import embedding
from empatheia_jax.styletts2.masks import length_mask, masked
from empatheia_jax.styletts2.recurrent import BiLSTM


class ConvBlock(nnx.Module):
    """Convolution, layer norm over channels, LeakyReLU(0.2)."""

    def __init__(self, features: int, width: int, *, weight_norm: bool, rngs, dtype, param_dtype):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        self.conv = Conv1d(features, features, width, weight_norm=weight_norm, **kinds)
        self.norm = LayerNorm(features, 1e-5, **kinds)

    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B T C"]:
        return leaky_relu(self.norm(self.conv(x)), 0.2)


class TextEncoder(nnx.Module):
    """Embedding, `depth` convolution blocks and a bidirectional LSTM, zero at padding throughout."""

    def __init__(
        self,
        symbols: int,
        features: int,
        width: int,
        depth: int,
        *,
        weight_norm: bool,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        self.embedding = embedding(symbols, features, **kinds)
        self.cnn = nnx.List(ConvBlock(features, width, weight_norm=weight_norm, **kinds) for _ in range(depth))
        self.lstm = BiLSTM(features, features // 2, **kinds)
        self.dtype = dtype

    def __call__(self, tokens: Int[Array, "B T"], lengths: Int[Array, " B"]) -> Float[Array, "B T C"]:
        mask = length_mask(lengths, tokens.shape[1], self.dtype)
        x = masked(self.embedding(tokens), mask)
        for block in self.cnn:
            x = masked(block(x), mask)
        return self.lstm(x, lengths)
