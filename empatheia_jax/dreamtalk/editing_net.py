"""Editing network: portrait and warped portrait → the finished frame."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.dreamtalk import renderer_layers as layers
from empatheia_jax.dreamtalk.config import RendererConfig
from empatheia_jax.nn.bias import bias_of


class ConvNorm(nnx.Module):
    """Convolution, LayerNorm2d, leaky ReLU."""

    def __init__(self, config: RendererConfig, in_channels: int, out_channels: int, size: int, **options):
        self.slope = config.leaky_relu_slope
        self.conv = layers.conv(in_channels, out_channels, size, padding=size // 2, **options)
        self.norm = layers.LayerNorm2d(out_channels, config.norm_eps, **options)

    def finish(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        """What follows the convolution."""
        return jax.nn.leaky_relu(self.norm(x), self.slope)

    def __call__(self, x: Float[Array, "N H W I"]) -> Float[Array, "N H W O"]:
        return self.finish(self.conv(x))


class ResidualBlock(nnx.Module):
    """x + ADAIN(conv2(x)).

    Released files also hold `conv1` and `norm1`. The network they were trained in computes them and throws the result
    away, so that here they are (optionally) carried for a lossless export and never run.
    """

    def __init__(self, config: RendererConfig, channels: int, **options):
        adain = (config.descriptor_dim, config.adain_hidden, config.norm_eps)
        if config.unused_residual_convs:
            self.conv1 = layers.conv(channels, channels, 3, padding=1, **options)
            self.norm1 = layers.ADAIN(channels, *adain, **options)
        self.conv2 = layers.conv(channels, channels, 3, padding=1, **options)
        self.norm2 = layers.ADAIN(channels, *adain, **options)

    def __call__(self, x: Float[Array, "B H W C"], descriptor: Float[Array, "B D"]) -> Float[Array, "B H W C"]:
        return self.norm2(self.conv2(x), descriptor) + x


class DecoderLevel(nnx.Module):
    """Residual blocks, then nearest enlargement + convolution, plus the encoder's features through `jump`."""

    def __init__(self, config: RendererConfig, in_channels: int, out_channels: int, **options):
        self.residual = nnx.List(
            ResidualBlock(config, in_channels, **options) for _ in range(config.edit_residual_blocks)
        )
        self.up = ConvNorm(config, in_channels, out_channels, 3, **options)
        self.jump = ConvNorm(config, out_channels, out_channels, 3, **options)

    def enlarge(self, x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W O"]:
        """The `up` half: nearest × 2, convolution, norm, activation."""
        return self.up.finish(layers.upsampled_conv(x, self.up.conv))

    def __call__(
        self, x: Float[Array, "B H W C"], skip: Float[Array, "B 2*H 2*W O"], descriptor: Float[Array, "B D"]
    ) -> Float[Array, "B 2*H 2*W O"]:
        for block in self.residual:
            x = block(x, descriptor)
        return self.jump(skip) + self.enlarge(x)


class EditingNet(nnx.Module):
    """Encoder of three mean-pooled levels, decoder with ADAIN residual blocks, 7 × 7 convolution, tanh.

    The portrait may have a batch of 1 for many warped frames; its half of the first convolution then runs once.
    """

    def __init__(self, config: RendererConfig, *, rngs: nnx.Rngs, dtype, param_dtype):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        widths = [min(config.edit_base_channels * 2**i, config.max_channels) for i in range(config.edit_layers + 1)]
        self.image_channels = config.image_channels
        self.first = ConvNorm(config, 2 * config.image_channels, widths[0], 7, **options)
        self.down = nnx.List(
            ConvNorm(config, widths[i], widths[i + 1], 3, **options) for i in range(config.edit_layers)
        )
        self.levels = nnx.List(  # from the smallest map up
            DecoderLevel(config, widths[i + 1], widths[i], **options) for i in reversed(range(config.edit_layers))
        )
        self.final = layers.conv(widths[0], config.image_channels, 7, padding=3, **options)

    def _first(self, portrait: Array, warped: Array) -> Array:
        conv = self.first.conv
        kernel = conv.kernel[...].astype(conv.dtype)

        def half(x: Array, weights: Array) -> Array:
            return jax.lax.conv_general_dilated(
                x.astype(conv.dtype), weights, (1, 1), ((3, 3), (3, 3)), dimension_numbers=("NHWC", "HWIO", "NHWC")
            )

        split = self.image_channels
        portrait_half = half(portrait, kernel[:, :, :split]) + bias_of(conv)[...].astype(conv.dtype)
        return self.first.finish(half(warped, kernel[:, :, split:]) + portrait_half)

    def encode(self, portrait: Float[Array, "B H W 3"], warped: Float[Array, "N H W 3"]) -> list[Array]:
        """Features of every level, largest first."""
        features = [self._first(portrait, warped)]
        for block in self.down:
            features.append(layers.average_pool(block(features[-1])))
        return features

    def finish(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W 3"]:
        """The last layer: an image in (-1, 1)."""
        return jnp.tanh(self.final(x))

    def __call__(
        self, portrait: Float[Array, "B H W 3"], warped: Float[Array, "N H W 3"], descriptor: Float[Array, "N D"]
    ) -> Float[Array, "N H W 3"]:
        skips = self.encode(portrait, warped)
        x = skips.pop()
        for level in self.levels:
            x = level(x, skips.pop(), descriptor)
        return self.finish(x)
