"""StyleTTS 2's HiFi-GAN decoder: four upsampling stages straight to 24 kHz samples.

Kong et al. 2020, "HiFi-GAN", with snake activations and the harmonic source; after yl4579/StyleTTS2,
`Modules/hifigan.py`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from empatheia_jax.styletts2.activations import snake
from empatheia_jax.styletts2.config import DecoderConfig
from empatheia_jax.styletts2.decoder import SpeechDecoder, UpsamplingGenerator
from empatheia_jax.styletts2.masks import length_mask, masked


class HiFiGANGenerator(UpsamplingGenerator):
    """The stages with a snake in front of each, down to one channel."""

    def __init__(
        self,
        config: DecoderConfig,
        style_dim: int,
        *,
        param_dtype: DTypeLike = jnp.float32,
        **kinds: Any,
    ):
        paddings = [rate // 2 + rate % 2 for rate in config.upsample_rates]
        shape: dict[str, Any] = {"source_channels": 1, "paddings": paddings, "outputs": 1}
        super().__init__(config, style_dim, **shape, param_dtype=param_dtype, **kinds)
        widths = (config.upsample_initial_channel // 2**i for i in range(len(paddings) + 1))
        self.alphas = nnx.List(nnx.Param(jnp.ones((width,), param_dtype)) for width in widths)

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
            x = self.mixed(i, x, source, style, mask)
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
        """The excitation: here the source itself, unchanged."""
        return source
