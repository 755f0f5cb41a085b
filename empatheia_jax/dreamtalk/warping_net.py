"""Warping network: portrait + descriptor → a coarse flow, and the portrait warped by it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.dreamtalk import renderer_layers as layers
from empatheia_jax.dreamtalk.config import RendererConfig


class EncoderBlock(nnx.Module):
    """Pre-activation: ADAIN, leaky ReLU, 4 × 4 convolution of stride 2; ADAIN, leaky ReLU, 3 × 3 convolution."""

    def __init__(self, config: RendererConfig, in_channels: int, out_channels: int, **options):
        adain = (config.descriptor_dim, config.adain_hidden, config.norm_eps)
        self.slope = config.leaky_relu_slope
        self.norm_0 = layers.ADAIN(in_channels, *adain, **options)
        self.conv_0 = layers.conv(in_channels, out_channels, 4, stride=2, padding=1, **options)
        self.norm_1 = layers.ADAIN(out_channels, *adain, **options)
        self.conv_1 = layers.conv(out_channels, out_channels, 3, padding=1, **options)

    def __call__(self, x: Float[Array, "B H W C"], descriptor: Float[Array, "N D"]) -> Float[Array, "N H/2 W/2 O"]:
        x = self.conv_0(jax.nn.leaky_relu(self.norm_0(x, descriptor), self.slope))
        return self.conv_1(jax.nn.leaky_relu(self.norm_1(x, descriptor), self.slope))


class DecoderBlock(nnx.Module):
    """Main path ADAIN → 3 × 3 → ADAIN → transposed, plus shortcut ADAIN → transposed; both double the size."""

    def __init__(self, config: RendererConfig, in_channels: int, out_channels: int, **options):
        adain = (config.descriptor_dim, config.adain_hidden, config.norm_eps)
        self.slope = config.leaky_relu_slope
        self.eps = config.norm_eps
        self.norm_0 = layers.ADAIN(in_channels, *adain, **options)
        self.conv_0 = layers.conv(in_channels, out_channels, 3, padding=1, **options)
        self.norm_1 = layers.ADAIN(out_channels, *adain, **options)
        self.conv_1 = layers.UpConv(out_channels, out_channels, **options)
        self.norm_s = layers.ADAIN(in_channels, *adain, **options)
        self.conv_s = layers.UpConv(in_channels, out_channels, **options)

    def __call__(self, x: Float[Array, "B H W C"], descriptor: Float[Array, "B D"]) -> Float[Array, "B 2*H 2*W O"]:
        normalised = layers.instance_norm(x, self.eps)  # shared by the main path and the shortcut
        shortcut = self.conv_s(jax.nn.leaky_relu(self.norm_s.modulate(normalised, descriptor), self.slope))
        main = self.conv_0(jax.nn.leaky_relu(self.norm_0.modulate(normalised, descriptor), self.slope))
        main = self.conv_1(jax.nn.leaky_relu(self.norm_1(main, descriptor), self.slope))
        return shortcut + main


class WarpingNet(nnx.Module):
    """An hourglass with ADAIN in every layer, then a 7 × 7 convolution to two channels of flow.

    The portrait may have a batch of 1 for many descriptors; what depends on the portrait alone is then computed once.
    """

    def __init__(self, config: RendererConfig, *, rngs: nnx.Rngs, dtype, param_dtype):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        widths = [
            min(config.warp_base_channels * 2**i, config.max_channels) for i in range(config.warp_encoder_layers + 1)
        ]
        self.slope = config.leaky_relu_slope
        self.input_layer = layers.conv(config.image_channels, widths[0], 7, padding=3, **options)
        self.encoder = nnx.List(
            EncoderBlock(config, widths[i], widths[i + 1], **options) for i in range(config.warp_encoder_layers)
        )
        first = config.warp_encoder_layers - config.warp_decoder_layers
        self.decoder = nnx.List(  # from the smallest map up; skips double the input of all but the first
            DecoderBlock(
                config, widths[i + 1] * (1 if i == config.warp_encoder_layers - 1 else 2), widths[i], **options
            )
            for i in reversed(range(first, config.warp_encoder_layers))
        )
        self.flow_norm = layers.LayerNorm2d(2 * widths[first], config.norm_eps, **options)
        self.flow_conv = layers.conv(2 * widths[first], 2, 7, padding=3, **options)

    def hourglass(
        self, portrait: Float[Array, "B H W 3"], descriptor: Float[Array, "N D"]
    ) -> tuple[Float[Array, "N h w C"], list[Array]]:
        """Decoder's output joined with its skip, and every encoder level."""
        levels = [self.input_layer(portrait)]
        for block in self.encoder:
            levels.append(block(levels[-1], descriptor))
        skips = list(levels)
        x = skips.pop()
        for enlarge in self.decoder:
            skip = skips.pop()
            x = enlarge(x, descriptor)
            x = jnp.concatenate([x, jnp.broadcast_to(skip, x.shape[:1] + skip.shape[1:])], axis=-1)
        return x, levels

    def flow(self, portrait: Float[Array, "B H W 3"], descriptor: Float[Array, "N D"]) -> Float[Array, "N h w 2"]:
        """Flow (x, y) in pixels of its own, smaller map."""
        features, _ = self.hourglass(portrait, descriptor)
        return self.flow_conv(jax.nn.leaky_relu(self.flow_norm(features), self.slope))

    def __call__(
        self, portrait: Float[Array, "B H W 3"], descriptor: Float[Array, "N D"]
    ) -> tuple[Float[Array, "N H W 3"], Float[Array, "N h w 2"]]:
        """The warped portrait and the flow."""
        flow = self.flow(portrait, descriptor)
        return layers.warp(portrait, layers.flow_to_deformation(flow)), flow
