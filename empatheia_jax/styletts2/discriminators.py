"""The discriminators that StyleTTS 2 was trained against, for fine-tuning and for complete conversion.

Multi-period (Kong et al. 2020), multi-resolution spectrogram (Jang et al. 2021) and the head over a speech language model's
states; after yl4579/StyleTTS2, `Modules/discriminators.py`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from empatheia_jax.styletts2.activations import leaky_relu
from empatheia_jax.styletts2.convolutions import Conv1d
from empatheia_jax.styletts2.layers2d import Conv2d

PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # FFT size, hop, window
SLOPE = 0.1

Judged = tuple[Float[Array, "B L"], list[Array]]


def _judge(x: Array, convs, post) -> Judged:
    maps = []
    for conv in convs:
        x = leaky_relu(conv(x), SLOPE)
        maps.append(x)
    x = post(x)
    return x.reshape(x.shape[0], -1), [*maps, x]


class PeriodDiscriminator(nnx.Module):
    """Looks at every `period`-th sample as one row."""

    def __init__(self, period: int, **options):
        kinds: dict[str, Any] = {"weight_norm": True, **options}
        widths = (1, 32, 128, 512, 1024, 1024)
        self.convs = nnx.List(
            Conv2d(a, b, (5, 1), strides=(3 if i < 4 else 1, 1), padding=(2, 0), **kinds)
            for i, (a, b) in enumerate(zip(widths, widths[1:]))
        )
        self.post = Conv2d(1024, 1, (3, 1), padding=(1, 0), **kinds)
        self.period = period

    def __call__(self, wave: Float[Array, "B N"]) -> Judged:
        """Logits (flattened), and the feature maps (B, rows, period, C)."""
        wave = jnp.pad(wave, ((0, 0), (0, -wave.shape[1] % self.period)), mode="reflect")
        return _judge(wave.reshape(wave.shape[0], -1, self.period, 1), self.convs, self.post)


class SpectrogramDiscriminator(nnx.Module):
    """Looks at one magnitude spectrogram, time x frequency."""

    def __init__(self, size: int, hop: int, window: int, **options):
        kinds: dict[str, Any] = {"weight_norm": True, **options}
        self.convs = nnx.List(
            [Conv2d(1, 32, (3, 9), padding=(1, 4), **kinds)]
            + [Conv2d(32, 32, (3, 9), strides=(1, 2), padding=(1, 4), **kinds) for _ in range(3)]
            + [Conv2d(32, 32, (3, 3), padding=(1, 1), **kinds)]
        )
        self.post = Conv2d(32, 1, (3, 3), padding=(1, 1), **kinds)
        self.size, self.hop, self.window = size, hop, window

    def magnitude(self, wave: Float[Array, "B N"]) -> Float[Array, "B T size/2+1"]:
        """Centred STFT with a periodic Hann window in the middle of the transform."""
        before = (self.size - self.window) // 2
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        hann = np.pad(hann, (before, self.size - self.window - before))
        padded = jnp.pad(wave, ((0, 0), (self.size // 2, self.size // 2)), mode="reflect")
        starts = np.arange(wave.shape[1] // self.hop + 1)[:, None] * self.hop
        return jnp.abs(jnp.fft.rfft(padded[:, starts + np.arange(self.size)] * jnp.asarray(hann, wave.dtype)))

    def __call__(self, wave: Float[Array, "B N"]) -> Judged:
        """Logits (flattened), and the feature maps (B, time, frequency, C)."""
        return _judge(self.magnitude(wave)[..., None], self.convs, self.post)


class MultiDiscriminator(nnx.Module):
    """Several discriminators of one kind."""

    def __init__(self, discriminators: list[nnx.Module]):
        self.discriminators = nnx.List(discriminators)

    def __call__(self, wave: Float[Array, "B N"]) -> list[Judged]:
        return [discriminator(wave) for discriminator in self.discriminators]


def multi_period(
    *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, param_dtype: DTypeLike = jnp.float32
) -> MultiDiscriminator:
    """One discriminator for each of the periods 2, 3, 5, 7, 11."""
    return MultiDiscriminator(
        [PeriodDiscriminator(p, rngs=rngs, dtype=dtype, param_dtype=param_dtype) for p in PERIODS]
    )


def multi_resolution(
    *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, param_dtype: DTypeLike = jnp.float32
) -> MultiDiscriminator:
    """One discriminator for each of three spectrogram resolutions."""
    return MultiDiscriminator(
        [SpectrogramDiscriminator(*r, rngs=rngs, dtype=dtype, param_dtype=param_dtype) for r in RESOLUTIONS]
    )


class SpeechModelDiscriminator(nnx.Module):
    """Judges the stacked hidden states of a frozen speech language model."""

    def __init__(
        self,
        features: int,
        channels: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        kinds: dict[str, Any] = {"weight_norm": True, "rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        widths = (channels, 2 * channels, 4 * channels, 4 * channels)
        self.pre = Conv1d(features, channels, 1, **kinds)
        self.convs = nnx.List(Conv1d(a, b, 5, **kinds) for a, b in zip(widths, widths[1:]))
        self.post = Conv1d(widths[-1], 1, 3, **kinds)

    def __call__(self, states: Float[Array, "B T features"]) -> Float[Array, "B T"]:
        """Logits per frame; all layers' states lie side by side in the last axis."""
        return _judge(self.pre(states), self.convs, self.post)[0]
