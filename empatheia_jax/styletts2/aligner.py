"""StyleTTS 2's text aligner: a small speech recogniser whose attention says which frames speak which phoneme.

A convolutional encoder over cepstra at half the mel rate, a CTC head, and a recurrent decoder with location-sensitive
attention (Chorowski et al. 2015). After yl4579/StyleTTS2, `Utils/ASR/models.py` and `layers.py`.
Axes: B batch, T mel frames, U = T / 2 encoder frames, N text tokens, C channels.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.styletts2.convolutions import Conv1d
from empatheia_jax.styletts2.layers2d import Buffer
from empatheia_jax.styletts2.linear import embedding, linear
from empatheia_jax.styletts2.recurrent import LSTM

CEPSTRA, HIDDEN, EMBEDDING, LAYERS, GROUPS = 40, 256, 512, 6, 8
LOCATION_FILTERS, LOCATION_WIDTH = 32, 63
START, UNKNOWN = 1, 3
REPLACED_SHARE = 0.1  # of the tokens, even in evaluation


def dct_matrix(bands: int, cepstra: int) -> Float[np.ndarray, "bands cepstra"]:
    """Orthonormal DCT-II."""
    n, k = np.arange(bands)[:, None], np.arange(cepstra)[None]
    matrix = np.cos(np.pi / bands * (n + 0.5) * k) * np.sqrt(2 / bands)
    matrix[:, 0] /= np.sqrt(2)
    return matrix


class GroupNorm(nnx.Module):
    """Group norm over (time, channels of the group); ε = 1e-5. Padding is part of the statistics, as in the original."""

    def __init__(self, groups: int, features: int, *, rngs, dtype, param_dtype):
        self.scale = nnx.Param(jnp.ones((features,), param_dtype))
        self.bias = nnx.Param(jnp.zeros((features,), param_dtype))
        self.groups, self.dtype = groups, dtype

    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B T C"]:
        grouped = x.reshape(*x.shape[:2], self.groups, -1)
        centred = grouped - jnp.mean(grouped, (1, 3), keepdims=True)
        normed = centred * lax.rsqrt(jnp.mean(jnp.square(centred), (1, 3), keepdims=True) + 1e-5)
        return normed.reshape(x.shape) * self.scale[...].astype(self.dtype) + self.bias[...].astype(self.dtype)


class AlignerBlock(nnx.Module):
    """Three residual units (dilations 1, 3, 9), then a norm over everything."""

    def __init__(self, features: int, **kinds):
        self.dilated = nnx.List(Conv1d(features, features, 3, dilation=3**i, **kinds) for i in range(3))
        self.norms = nnx.List(GroupNorm(GROUPS, features, **kinds) for _ in range(3))
        self.convs = nnx.List(Conv1d(features, features, 3, **kinds) for _ in range(3))
        self.out_norm = GroupNorm(1, features, **kinds)

    def __call__(self, x: Float[Array, "B U C"]) -> Float[Array, "B U C"]:
        for dilated, norm, conv in zip(self.dilated, self.norms, self.convs):
            x = x + jax.nn.relu(conv(norm(jax.nn.relu(dilated(x)))))
        return self.out_norm(x)


class TextAligner(nnx.Module):
    """Recogniser; `align` is what training uses, `features` is its speech feature."""

    def __init__(
        self,
        bands: int,
        symbols: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        half = HIDDEN // 2
        self.dct = Buffer(jnp.asarray(dct_matrix(bands, CEPSTRA), param_dtype))
        self.stem = Conv1d(CEPSTRA, HIDDEN, 7, stride=2, padding=3, **kinds)
        self.blocks = nnx.List(AlignerBlock(HIDDEN, **kinds) for _ in range(LAYERS))
        self.projection = Conv1d(HIDDEN, half, 1, **kinds)
        self.ctc_hidden, self.ctc_out = linear(half, HIDDEN, **kinds), linear(HIDDEN, symbols, **kinds)
        self.embedding = embedding(symbols, EMBEDDING, **kinds)
        self.query = linear(half, half, use_bias=False, **kinds)
        self.memory = linear(half, half, use_bias=False, **kinds)
        self.energy = linear(half, 1, use_bias=False, **kinds)
        self.location_conv = Conv1d(2, LOCATION_FILTERS, LOCATION_WIDTH, use_bias=False, **kinds)
        self.location_dense = linear(LOCATION_FILTERS, half, use_bias=False, **kinds)
        self.rnn = LSTM(half + EMBEDDING, half, **kinds)
        self.to_hidden, self.to_symbols = linear(HIDDEN, half, **kinds), linear(half, symbols, **kinds)
        self.dtype = dtype

    def cepstra(self, mel: Float[Array, "B T 80"]) -> Float[Array, "B T 40"]:
        """DCT of the log-mel."""
        return mel.astype(self.dtype) @ self.dct[...].astype(self.dtype)

    def features(self, mel: Float[Array, "B T 80"]) -> Float[Array, "B U 128"]:
        """The encoder's states; its convolutions see whatever stands at padding."""
        x = self.stem(self.cepstra(mel))
        for block in self.blocks:
            x = block(x)
        return self.projection(x)

    def ctc_logits(self, features: Float[Array, "B U 128"]) -> Float[Array, "B U symbols"]:
        return self.ctc_out(jax.nn.relu(self.ctc_hidden(features)))

    def align(
        self,
        features: Float[Array, "B U 128"],
        padding: Bool[Array, "B U"] | None,
        tokens: Int[Array, "B N"],
        replace: Float[Array, "B N"] | None,
    ) -> tuple[Float[Array, "B N+1 symbols"], Float[Array, "B N+1 U"]]:
        """Reads `tokens` (after a start token) along the features.

        Args:
          features: encoder states.
          padding: True where there is none.
          tokens: text.
          replace: uniform draws; where below 0.1 a token is replaced by the unknown one, in evaluation too, as the
            original does. None keeps all tokens.
        Returns: symbol logits and attention weights of every step.
        """
        if replace is not None:
            tokens = jnp.where(replace < REPLACED_SHARE, UNKNOWN, tokens)
        inputs = self.embedding(jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=START))
        keys = self.memory(features)
        batch, time, width = features.shape

        def step(state, token):
            h, c, context, weights, total = state
            h, c = self.rnn.step(self.rnn.project(jnp.concatenate([token, context], -1)[:, None])[:, 0], h, c)
            location = self.location_dense(self.location_conv(jnp.stack([weights, total], -1)))
            energies = self.energy(jnp.tanh(self.query(h)[:, None] + location + keys))[..., 0]
            if padding is not None:
                energies = jnp.where(padding, -jnp.inf, energies)
            weights = jax.nn.softmax(energies, -1)
            context = jnp.einsum("bu,buc->bc", weights, features)
            hidden = jnp.tanh(self.to_hidden(jnp.concatenate([h, context], -1)))
            return (h, c, context, weights, total + weights), (self.to_symbols(hidden), weights)

        narrow, long = jnp.zeros((batch, width), self.dtype), jnp.zeros((batch, time), self.dtype)
        start = (narrow, narrow, narrow, long, long)
        _, (logits, attention) = lax.scan(step, start, jnp.moveaxis(inputs, 1, 0))
        return jnp.moveaxis(logits, 0, 1), jnp.moveaxis(attention, 0, 1)
