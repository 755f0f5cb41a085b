"""StyleTTS 2's HiFi-GAN decoder: four upsampling stages straight to 24 kHz samples.

Kong et al. 2020, "HiFi-GAN", with snake activations and the harmonic source; after yl4579/StyleTTS2,
`Modules/hifigan.py`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from empatheia_jax.styletts2.activations import snake
from empatheia_jax.styletts2.config import DecoderConfig
from empatheia_jax.styletts2.convolutions import Conv1d, ConvTranspose1d
from empatheia_jax.styletts2.decoder import SnakeResidualBlock, SpeechDecoder
from empatheia_jax.styletts2.masks import length_mask, masked
from empatheia_jax.styletts2.source import HarmonicSource


class HiFiGANGenerator(nnx.Module):
    """Per stage: snake → transposed convolution, plus the filtered source, then the mean of three residual blocks."""

    def __init__(
        self,
        config: DecoderConfig,
        style_dim: int,
        *,
        weight_norm: bool,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        normed = {"weight_norm": weight_norm, **kinds}
        self.m_source = HarmonicSource(**kinds)
        rates, stages, start = config.upsample_rates, len(config.upsample_rates), config.upsample_initial_channel
        self.ups: nnx.List[ConvTranspose1d] = nnx.List([])
        self.noise_convs: nnx.List[Conv1d] = nnx.List([])
        self.noise_res: nnx.List[SnakeResidualBlock] = nnx.List([])
        self.resblocks: nnx.List[nnx.List[SnakeResidualBlock]] = nnx.List([])
        self.alphas = nnx.List(nnx.Param(jnp.ones((start // 2**i,), param_dtype)) for i in range(stages + 1))
        for i, (rate, width) in enumerate(zip(rates, config.upsample_kernel_sizes)):
            before, after = start // 2**i, start // 2 ** (i + 1)
            self.ups.append(ConvTranspose1d(before, after, width, stride=rate, padding=rate // 2 + rate % 2, **normed))
            stride = int(np.prod(rates[i + 1 :]))
            last = i + 1 == stages
            width, padding = (1, 0) if last else (2 * stride, (stride + 1) // 2)
            self.noise_convs.append(Conv1d(1, after, width, stride=stride, padding=padding, **kinds))
            self.noise_res.append(SnakeResidualBlock(after, 11 if last else 7, (1, 3, 5), style_dim, **normed))
            self.resblocks.append(
                nnx.List(
                    SnakeResidualBlock(after, width, dilations, style_dim, **normed)
                    for width, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes)
                )
            )
        self.conv_post = Conv1d(after, 1, 7, **normed)
        self.rates, self.dtype = rates, dtype

    def noise_branch(self, i: int, source, style, mask) -> Float[Array, "B T C"]:
        """What stage i adds to its upsampled input."""
        return self.noise_res[i](masked(self.noise_convs[i](source), mask), style, mask)

    def pre_tanh(
        self,
        x: Float[Array, "B n C"],
        style: Float[Array, "B S"],
        source: Float[Array, "B 300*n 1"],
        lengths: Int[Array, " B"] | None = None,
    ) -> tuple[Float[Array, "B 300*n 1"], Float[Array, "B 300*n 1"] | None]:
        """Output of the last convolution, and the mask of its samples. `lengths` counts valid positions of `x`."""
        size = x.shape[1]
        mask = None if lengths is None else length_mask(lengths, size, self.dtype)
        source = source.astype(self.dtype)
        for i, rate in enumerate(self.rates):
            x = self.ups[i](masked(snake(x, self.alphas[i][...].astype(self.dtype)), mask))
            size = size * rate
            lengths = None if lengths is None else lengths * rate
            mask = None if lengths is None else length_mask(lengths, size, self.dtype)
            x = x + self.noise_branch(i, source, style, mask)
            x = jnp.asarray(sum(block(x, style, mask) for block in self.resblocks[i])) / len(self.resblocks[i])
        return self.conv_post(masked(snake(x, self.alphas[-1][...].astype(self.dtype)), mask)), mask

    def __call__(
        self,
        x: Float[Array, "B n C"],
        style: Float[Array, "B S"],
        source: Float[Array, "B 300*n 1"],
        lengths: Int[Array, " B"] | None = None,
    ) -> Float[Array, "B 300*n"]:
        """Body output, style and excitation → wave."""
        y, mask = self.pre_tanh(x, style, source, lengths)
        return masked(jnp.tanh(y), mask)[..., 0]


class HiFiGANDecoder(SpeechDecoder):
    """The decoder of StyleTTS 2's release for many speakers: HiFi-GAN behind the body."""

    generator_class = HiFiGANGenerator

    def excitation(
        self, source: Float[Array, "B 600*F 1"], lengths: Int[Array, " B"] | None
    ) -> Float[Array, "B 600*F 1"]:
        """The source as it is."""
        return source
