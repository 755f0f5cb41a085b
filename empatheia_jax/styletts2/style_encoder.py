"""StyleTTS 2's style encoder: log-mel of a recording → a 128-wide style vector.

A checkpoint has two, with weights of their own: `style_encoder` for the acoustic half (which the decoder takes) and
`predictor_encoder` for the prosodic half (which the predictor takes). Together they give Empatheia's target S^s.
After yl4579/StyleTTS2, `models.py`, classes StyleEncoder and ResBlk. There is no mask: give one recording at a time.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from empatheia_jax.styletts2.activations import leaky_relu
from empatheia_jax.styletts2.layers2d import SpectralConv2d
from empatheia_jax.styletts2.linear import linear

STAGES = 4
MIN_FRAMES = 65  # four halvings, rounded up, must leave the 5 frames of the last convolution


class DownBlock(nnx.Module):
    """Residual block over (mel, time) that halves both; an odd time axis is rounded up."""

    def __init__(self, features_in: int, features_out: int, **kinds):
        self.conv1 = SpectralConv2d(features_in, features_in, (3, 3), padding=(1, 1), **kinds)
        self.downsample = SpectralConv2d(
            features_in, features_in, (3, 3), strides=(2, 2), padding=(1, 1), groups=features_in, **kinds
        )
        self.conv2 = SpectralConv2d(features_in, features_out, (3, 3), padding=(1, 1), **kinds)
        self.shortcut = (
            SpectralConv2d(features_in, features_out, (1, 1), use_bias=False, **kinds)
            if features_in != features_out
            else None
        )

    def __call__(self, x: Float[Array, "B M T I"]) -> Float[Array, "B M/2 T/2 O"]:
        rest = x if self.shortcut is None else self.shortcut(x)
        if rest.shape[2] % 2:
            rest = jnp.concatenate([rest, rest[:, :, -1:]], 2)
        batch, mels, time, features = rest.shape
        rest = rest.reshape(batch, mels // 2, 2, time // 2, 2, features).mean((2, 4))
        y = self.downsample(self.conv1(leaky_relu(x, 0.2)))
        return (self.conv2(leaky_relu(y, 0.2)) + rest) / math.sqrt(2)


class StyleEncoder(nnx.Module):
    """Convolution, four halving blocks, a 5 x 5 convolution, mean over everything, a linear map."""

    def __init__(
        self,
        first: int,
        widest: int,
        style_dim: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        """`first` and `widest` bound the number of channels, which doubles with every block."""
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        widths = [min(first * 2**stage, widest) for stage in range(STAGES + 1)]
        self.stem = SpectralConv2d(1, widths[0], (3, 3), padding=(1, 1), **kinds)
        self.blocks = nnx.List(DownBlock(a, b, **kinds) for a, b in zip(widths, widths[1:]))
        self.head = SpectralConv2d(widths[-1], widths[-1], (5, 5), **kinds)
        self.unshared = linear(widths[-1], style_dim, **kinds)

    def trunk(self, mel: Float[Array, "B T 80"]) -> list[Float[Array, "B _ _ _"]]:
        """Outputs of the stem, of every block and of the last convolution, as (batch, mel, time, channels)."""
        x = self.stem(jnp.swapaxes(mel, 1, 2)[..., None])
        outputs = [x]
        for block in self.blocks:
            outputs.append(block(outputs[-1]))
        return [*outputs, self.head(leaky_relu(outputs[-1], 0.2))]

    def pool(self, last: Float[Array, "B M U C"]) -> Float[Array, "B C"]:
        """Mean over both axes, then the activation."""
        return leaky_relu(jnp.mean(last, (1, 2)), 0.2)

    def __call__(self, mel: Float[Array, "B T 80"]) -> Float[Array, "B S"]:
        """Normalised log-mel (`mel.log_mel`), at least `MIN_FRAMES` frames."""
        return self.unshared(self.pool(self.trunk(mel)[-1]))
