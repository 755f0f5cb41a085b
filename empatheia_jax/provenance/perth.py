"""PerTh, the networks that put a watermark into the spectrogram of a sound and find it again (Resemble AI, MIT).

One stack of seven convolutions over time adds to the magnitudes below 2 kHz; three stacks of the same form, which hear the sound
slower, as it is, and faster, vote on whether something was added. Weights: `python -m converters.convert --source=perth`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float

from empatheia_jax.nn.parameters import parameter, stacked_fan_in

KIND = "perth"
STACKS = ("encoder", "slow", "normal", "fast")
SLOPE = 0.01
"""Slope of the leaky ReLU, PyTorch's default."""
DEPTH, WIDTH = 5, 7


@dataclasses.dataclass(frozen=True)
class PerthConfig:
    """Sizes, and how a sound becomes magnitudes. Names as in the release's `hparams.yaml`."""

    sample_rate: int
    n_fft: int
    hop_size: int
    window_size: int
    window_fn: str
    stft_magnitude_min: float
    max_wmark_freq: int
    hidden_size: int

    @classmethod
    def from_source(cls, values: Mapping[str, Any]) -> PerthConfig:
        """Raises `ValueError` for a window that is not implemented."""
        config = cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})
        if config.window_fn != "hann" or config.window_size != config.n_fft:
            raise ValueError(f"a {config.window_fn} window of {config.window_size}; expected hann, of {config.n_fft}")
        return config

    @property
    def bands(self) -> int:
        """Frequencies that are marked: those below `max_wmark_freq`."""
        return round((self.n_fft // 2 + 1) * self.max_wmark_freq / (self.sample_rate / 2))


class TimeConv(nnx.Module):
    """A convolution over time that keeps the length; kernel (width, in, out)."""

    def __init__(self, features_in: int, features_out: int, width: int, *, rngs: nnx.Rngs, dtype, param_dtype):
        axes = (None, None, None)
        self.kernel = parameter(rngs, stacked_fan_in(), (width, features_in, features_out), param_dtype, axes)
        self.bias = parameter(rngs, jax.nn.initializers.zeros, (features_out,), param_dtype, (None,))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "B T I"]) -> Float[Array, "B T O"]:
        kernel = self.kernel.get_value().astype(self.dtype)
        y = lax.conv_general_dilated(
            x.astype(self.dtype), kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        return y + self.bias.get_value().astype(self.dtype)


class Stack(nnx.Module):
    """Seven convolutions with leaky ReLUs between them: widths 1, 7 × 5, 1."""

    def __init__(self, features_in: int, hidden: int, features_out: int, **options):
        sizes = [(features_in, hidden, 1), *[(hidden, hidden, WIDTH)] * DEPTH, (hidden, features_out, 1)]
        self.layers = nnx.List([TimeConv(*size, **options) for size in sizes])

    def __call__(self, x: Float[Array, "B T I"], valid: Bool[Array, "B T"]) -> Float[Array, "B T O"]:
        """`valid`: which frames there are; behind them a convolution sees zeros, as behind the end of a sound."""
        there = valid[..., None]
        x = jnp.where(there, x, 0)
        last = len(self.layers) - 1
        for n, layer in enumerate(self.layers):
            x = layer(x)
            x = jnp.where(there, x if n == last else jax.nn.leaky_relu(x, SLOPE), 0)
        return x


class Perth(nnx.Module):
    """The marker (`residual`) and the three voters of the detector (`votes`)."""

    def __init__(self, config: PerthConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        self.config = config
        options = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        self.encoder = Stack(config.bands, config.hidden_size, config.bands, **options)
        self.slow = Stack(config.bands, config.hidden_size, 2, **options)
        self.normal = Stack(config.bands, config.hidden_size, 2, **options)
        self.fast = Stack(config.bands, config.hidden_size, 2, **options)

    def residual(self, magnitudes: Float[Array, "B T F"], valid: Bool[Array, "B T"]) -> Float[Array, "B T F"]:
        """What is added to the marked bands of the normalised magnitudes, where the frame is loud enough."""
        return self.encoder(magnitudes, valid)

    def votes(self, name: str, magnitudes: Float[Array, "B T F"], valid: Bool[Array, "B T"]) -> Float[Array, "B T 2"]:
        """Attention and vote of each frame, of one of `STACKS[1:]`."""
        return getattr(self, name)(magnitudes, valid)
