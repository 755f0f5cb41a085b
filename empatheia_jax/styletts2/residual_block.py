"""The residual block with adaptive norms that the prosody predictor and both decoders are made of."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from empatheia_jax.styletts2.activations import leaky_relu
from empatheia_jax.styletts2.convolutions import Conv1d, DepthwiseUpsample
from empatheia_jax.styletts2.masks import Mask, double, masked
from empatheia_jax.styletts2.norms import AdaptiveInstanceNorm


class AdaptiveResidualBlock(nnx.Module):
    """AdaIN → LeakyReLU(0.2) → [double the length] → conv → AdaIN → LeakyReLU → conv, plus a shortcut, over √2.

    The shortcut repeats frames when upsampling and is projected where widths differ (repeating after the projection gives
    the same values for half the work).
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        style_dim: int,
        *,
        upsample: bool = False,
        weight_norm: bool,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        self.norm1 = AdaptiveInstanceNorm(style_dim, features_in, **kinds)
        self.norm2 = AdaptiveInstanceNorm(style_dim, features_out, **kinds)
        self.conv1 = Conv1d(features_in, features_out, 3, weight_norm=weight_norm, **kinds)
        self.conv2 = Conv1d(features_out, features_out, 3, weight_norm=weight_norm, **kinds)
        self.shortcut = (
            Conv1d(features_in, features_out, 1, use_bias=False, weight_norm=weight_norm, **kinds)
            if features_in != features_out
            else None
        )
        self.pool = DepthwiseUpsample(features_in, weight_norm=weight_norm, **kinds) if upsample else None

    def __call__(
        self, x: Float[Array, "B T I"], style: Float[Array, "B S"], mask: Mask = None
    ) -> Float[Array, "B T|2*T O"]:
        """`mask` is at the input's rate."""
        rest = x if self.shortcut is None else self.shortcut(x)
        y = masked(leaky_relu(self.norm1(x, style, mask), 0.2), mask)
        if self.pool is not None:
            mask = double(mask)
            rest = jnp.repeat(rest, 2, axis=1)
            y = masked(self.pool(y), mask)
        y = self.conv1(y)
        y = self.conv2(masked(leaky_relu(self.norm2(y, style, mask), 0.2), mask))
        return (y + rest) / math.sqrt(2)
