"""What StyleTTS 2's two waveform decoders share: the body, and the upsampling stages of their generators.

The body turns aligned text frames, pitch and energy into C channels (512 in the releases) at two positions per frame; a generator
(`decoder_istft`, `decoder_hifigan`) turns those, the style and the harmonic source into a wave.
After yl4579/StyleTTS2, `Modules/istftnet.py` and `Modules/hifigan.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from empatheia_jax.styletts2.activations import snake
from empatheia_jax.styletts2.config import DecoderConfig
from empatheia_jax.styletts2.convolutions import Conv1d, ConvTranspose1d
from empatheia_jax.styletts2.masks import Mask, length_mask, masked
from empatheia_jax.styletts2.norms import AdaptiveInstanceNorm
from empatheia_jax.styletts2.residual_block import AdaptiveResidualBlock
from empatheia_jax.styletts2.source import HarmonicSource

TEXT_RESIDUAL = 64  # width of the text frames that every block sees again


class SnakeResidualBlock(nnx.Module):
    """Three times: AdaIN → snake → dilated conv → AdaIN → snake → conv, added to the input."""

    def __init__(
        self,
        features: int,
        width: int,
        dilations: tuple[int, ...],
        style_dim: int,
        *,
        weight_norm: bool,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
        param_dtype: DTypeLike,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        conv = {"weight_norm": weight_norm, **kinds}
        self.convs1 = nnx.List(Conv1d(features, features, width, dilation=d, **conv) for d in dilations)
        self.convs2 = nnx.List(Conv1d(features, features, width, **conv) for _ in dilations)
        self.adain1 = nnx.List(AdaptiveInstanceNorm(style_dim, features, **kinds) for _ in dilations)
        self.adain2 = nnx.List(AdaptiveInstanceNorm(style_dim, features, **kinds) for _ in dilations)
        self.alpha1 = nnx.List(nnx.Param(jnp.ones((features,), param_dtype)) for _ in dilations)
        self.alpha2 = nnx.List(nnx.Param(jnp.ones((features,), param_dtype)) for _ in dilations)
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "B T C"], style: Float[Array, "B S"], mask: Mask = None
    ) -> Float[Array, "B T C"]:
        for c1, c2, n1, n2, a1, a2 in zip(self.convs1, self.convs2, self.adain1, self.adain2, self.alpha1, self.alpha2):
            y = c1(masked(snake(n1(x, style, mask), a1[...].astype(self.dtype)), mask))
            y = c2(masked(snake(n2(y, style, mask), a2[...].astype(self.dtype)), mask))
            x = x + y
        return x


class UpsamplingGenerator(nnx.Module):
    """Upsampling stages: a transposed convolution, plus the filtered source, then the mean of residual blocks.

    A subclass says how its stages are joined.

    Args:
      source_channels: of the source, which every stage adds.
      paddings: of each stage's transposed convolution.
      outputs: channels of the last convolution.
    """

    def __init__(
        self,
        config: DecoderConfig,
        style_dim: int,
        *,
        source_channels: int,
        paddings: Sequence[int],
        outputs: int,
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
        for i, (rate, width, padding) in enumerate(zip(rates, config.upsample_kernel_sizes, paddings, strict=True)):
            before, after = start // 2**i, start // 2 ** (i + 1)
            self.ups.append(ConvTranspose1d(before, after, width, stride=rate, padding=padding, **normed))
            stride = int(np.prod(rates[i + 1 :]))
            last = i + 1 == stages
            width, padding = (1, 0) if last else (2 * stride, (stride + 1) // 2)
            self.noise_convs.append(Conv1d(source_channels, after, width, stride=stride, padding=padding, **kinds))
            self.noise_res.append(SnakeResidualBlock(after, 11 if last else 7, (1, 3, 5), style_dim, **normed))
            self.resblocks.append(
                nnx.List(
                    SnakeResidualBlock(after, width, dilations, style_dim, **normed)
                    for width, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes)
                )
            )
        self.conv_post = Conv1d(after, outputs, 7, **normed)
        self.rates, self.dtype = rates, dtype

    def noise_branch(
        self, i: int, source: Float[Array, "B N S"], style: Float[Array, "B style"], mask: Mask
    ) -> Float[Array, "B T C"]:
        """What stage i adds to its upsampled input."""
        return self.noise_res[i](masked(self.noise_convs[i](source), mask), style, mask)

    def mixed(
        self,
        i: int,
        x: Float[Array, "B T C"],
        source: Float[Array, "B N S"],
        style: Float[Array, "B style"],
        mask: Mask,
    ) -> Float[Array, "B T C"]:
        """Stage i behind its transposed convolution: the source is added, and the residual blocks are averaged."""
        x = x + self.noise_branch(i, source, style, mask)
        return jnp.asarray(sum(block(x, style, mask) for block in self.resblocks[i])) / len(self.resblocks[i])


class DecoderBody(nnx.Module):
    """Five adaptive residual blocks of one width over [text, F0, N]; the last one halves it and doubles the rate."""

    def __init__(
        self,
        width: int,
        features: int,
        style_dim: int,
        *,
        weight_norm: bool,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype, "weight_norm": weight_norm}
        beside = width + TEXT_RESIDUAL + 2
        self.encode = AdaptiveResidualBlock(features + 2, width, style_dim, **kinds)
        self.decode = nnx.List(
            [AdaptiveResidualBlock(beside, width, style_dim, **kinds) for _ in range(3)]
            + [AdaptiveResidualBlock(beside, width // 2, style_dim, upsample=True, **kinds)]
        )
        self.F0_conv = Conv1d(1, 1, 3, stride=2, padding=1, **kinds)
        self.N_conv = Conv1d(1, 1, 3, stride=2, padding=1, **kinds)
        self.asr_res = Conv1d(features, TEXT_RESIDUAL, 1, **kinds)
        self.dtype = dtype

    def intermediates(
        self,
        asr: Float[Array, "B F C"],
        f0: Float[Array, "B 2*F"],
        n: Float[Array, "B 2*F"],
        style: Float[Array, "B S"],
        lengths: Int[Array, " B"] | None = None,
    ) -> tuple[Float[Array, "B F D"], Float[Array, "B 2*F E"]]:
        """Outputs of the first block and of the last one, which is half as wide."""
        mask = None if lengths is None else length_mask(lengths, asr.shape[1], self.dtype)
        asr = masked(asr.astype(self.dtype), mask)
        curves = [masked(conv(c[..., None]), mask) for conv, c in ((self.F0_conv, f0), (self.N_conv, n))]
        first = x = self.encode(jnp.concatenate([asr, *curves], -1), style, mask)
        beside = [self.asr_res(asr), *curves]
        for block in self.decode:
            x = block(jnp.concatenate([x, *beside], -1), style, mask)
        return first, x

    def __call__(
        self,
        asr: Float[Array, "B F C"],
        f0: Float[Array, "B 2*F"],
        n: Float[Array, "B 2*F"],
        style: Float[Array, "B S"],
        lengths: Int[Array, " B"] | None = None,
    ) -> Float[Array, "B 2*F E"]:
        """`lengths` counts valid frames; F0 and N must be zero at padding, as `ProsodyPredictor.curves` leaves them."""
        return self.intermediates(asr, f0, n, style, lengths)[1]


class SpeechDecoder(nnx.Module):
    """Text frames, F0, energy and acoustic style → 24 kHz wave, 600 samples per frame. A subclass names its vocoder."""

    generator_class: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        config: DecoderConfig,
        features: int,
        style_dim: int,
        *,
        weight_norm: bool,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype, "weight_norm": weight_norm}
        self.body = DecoderBody(config.body, features, style_dim, **kinds)
        self.generator = self.generator_class(config, style_dim, **kinds)

    def source(
        self, f0: Float[Array, "B n"], noise: Float[Array, "B 300*n 9"] | None, lengths: Int[Array, " B"] | None = None
    ) -> Float[Array, "B 300*n 1"]:
        """The harmonic source; `lengths` counts valid values of F0."""
        return self.generator.m_source(f0, noise, lengths)

    def excitation(self, source: Float[Array, "B 600*F 1"], lengths: Int[Array, " B"] | None) -> Array:
        """What the vocoder takes of the source; `lengths` counts valid frames."""
        raise NotImplementedError(f"{type(self).__name__} must say what its vocoder takes")

    def __call__(
        self,
        asr: Float[Array, "B F C"],
        f0: Float[Array, "B 2*F"],
        n: Float[Array, "B 2*F"],
        style: Float[Array, "B S"],
        noise: Float[Array, "B 600*F 9"] | None,
        lengths: Int[Array, " B"] | None = None,
    ) -> Float[Array, "B 600*F"]:
        """`noise` is the source's standard normal noise; `lengths` counts valid frames; the wave is 0 beyond them."""
        half = None if lengths is None else 2 * lengths
        x = self.body(asr, f0, n, style, lengths)
        return self.generator(x, style, self.excitation(self.source(f0, noise, half), lengths), half)
