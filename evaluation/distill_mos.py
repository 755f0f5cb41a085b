"""Distill-MOS: the predicted opinion of a speech's quality, 1 to 5 (Stahl and Gamper, 2025).

A network of 4 million numbers that learnt from one on XLS-R's features. It hears 7.68 s at once: the compressed complex spectrum,
six convolutions, seven transformer layers and a pooling by attention. Longer speech is heard in overlapping parts, and their
opinions are averaged. Weights (MIT): `python -m converters.convert --source=distillmos --output=weights/distillmos`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from evaluation.syncnet import Norm

KIND = "distillmos"
HOP, WINDOW = 160, 320
"""Of the spectrum, in samples at 16 kHz."""
STEP = 16_000
"""Longest way from one part of a long speech to the next."""
COMPRESSION, LEAST, SLOPE = 0.3, 1e-12, 0.1
"""Power of the magnitudes, the smallest of them; slope of the leaky ReLU."""


@dataclasses.dataclass(frozen=True)
class DistillMosConfig:
    """Sizes. channels: of the convolutions; positions: places that have an encoding, which is also how long a part is; heads and
    norm_eps are numbers that the released file does not hold.
    """

    channels: tuple[int, ...]
    positions: int
    width: int
    layers: int
    heads: int = 8
    norm_eps: float = 1e-5

    @classmethod
    def of_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> DistillMosConfig:
        """Read off the shapes of a released file, by their names in it. Raises `KeyError` where one is not there."""
        convolutions = [name for name in shapes if name.startswith("cnn.cnn.") and name.endswith(".weight")]
        layers = [name for name in shapes if name.endswith(".self_attn.in_proj_weight")]
        _, positions, width = shapes["transformer_pool_attn.transformer.position_encoding.pe"]
        channels = tuple(shapes[f"cnn.cnn.{2 * i}.weight"][0] for i in range(len(convolutions)))
        return cls(channels, positions, width, len(layers))

    @property
    def samples(self) -> int:
        """Of one part: the last convolution halves the number of frames."""
        return 2 * self.positions * HOP

    @property
    def features(self) -> int:
        """Numbers of one place behind the convolutions: every convolution but the first halves the frequencies."""
        bands = WINDOW // 2 + 1
        for place in range(len(self.channels)):
            bands = (bands - 3) // (2 if place else 1) + 1
        return bands * self.channels[-1]


def spectrum(samples: Float[Array, "N S"]) -> Float[Array, "N 161 T 2"]:
    """The complex spectrum with magnitudes to the power of `COMPRESSION`: real and imaginary part apart, no centring."""
    edge = (WINDOW - HOP) // 2
    padded = jnp.pad(samples, ((0, 0), (edge, edge)), mode="reflect")
    starts = HOP * jnp.arange((padded.shape[1] - WINDOW) // HOP + 1)
    frames = padded[:, starts[:, None] + jnp.arange(WINDOW)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    found = jnp.fft.rfft(frames * window.astype(samples.dtype)).transpose(0, 2, 1)
    size = jnp.maximum(jnp.abs(found), LEAST)
    scaled = found / size * size**COMPRESSION
    return jnp.stack([scaled.real, scaled.imag], -1)


class Layer(nnx.Module):
    """A transformer layer that normalises behind its parts."""

    def __init__(self, config: DistillMosConfig, **kinds: Any):
        width = config.width
        self.heads = config.heads
        self.into, self.out = nnx.Linear(width, 3 * width, **kinds), nnx.Linear(width, width, **kinds)
        self.up, self.down = nnx.Linear(width, 2 * width, **kinds), nnx.Linear(2 * width, width, **kinds)
        self.norm1 = nnx.LayerNorm(width, epsilon=config.norm_eps, **kinds)
        self.norm2 = nnx.LayerNorm(width, epsilon=config.norm_eps, **kinds)

    def __call__(self, x: Float[Array, "N T C"]) -> Float[Array, "N T C"]:
        q, k, v = (
            each.reshape(*x.shape[:2], self.heads, -1) for each in jnp.split(self.into(x), 3, axis=-1)
        )  # (N, T, heads, C / heads)
        heard = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
        x = self.norm1(x + self.out(heard))
        return self.norm2(x + self.down(jax.nn.relu(self.up(x))))


class DistillMos(nnx.Module):
    """The network: parts of speech to opinions."""

    def __init__(
        self, config: DistillMosConfig, *, rngs: nnx.Rngs, dtype: Any = jnp.float32, param_dtype: Any = jnp.float32
    ):
        self.config = config
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        sizes = (2, *config.channels)
        last = len(config.channels) - 1
        self.convolutions = nnx.List(
            [
                nnx.Conv(
                    sizes[i],
                    sizes[i + 1],
                    (3, 3),
                    strides=(2 if i else 1, 2 if i == last else 1),
                    padding=((0, 0), (1, 1)),
                    **kinds,
                )
                for i in range(len(config.channels))
            ]
        )
        self.norm_input = Norm(config.features, config.norm_eps, param_dtype)
        self.norm = Norm(config.features, config.norm_eps, param_dtype)
        self.project = nnx.Linear(config.features, config.width, **kinds)
        self.places = nnx.BatchStat(jnp.zeros((config.positions, config.width), param_dtype))
        self.layers = nnx.List([Layer(config, **kinds) for _ in range(config.layers)])
        self.norm_output = Norm(config.width, config.norm_eps, param_dtype)
        self.weigh1 = nnx.Linear(config.width, 2 * config.width, **kinds)
        self.weigh2 = nnx.Linear(2 * config.width, 1, **kinds)
        self.opinion = nnx.Linear(config.width, 1, **kinds)

    def __call__(self, samples: Float[Array, "N S"]) -> Float[Array, " N"]:
        """Opinions of parts of `config.samples` samples at 16 kHz each; how loud they are does not count."""
        x = spectrum(samples / (jnp.abs(samples).max(1, keepdims=True) + 1e-8))
        for each in self.convolutions:
            x = jax.nn.leaky_relu(each(x), SLOPE)  # (N, bands, T, C)
        x = x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)
        x = self.project(self.norm(self.norm_input(x))) + self.places[...]
        for layer in self.layers:
            x = layer(x)
        x = self.norm_output(x)
        weights = jax.nn.softmax(self.weigh2(jax.nn.relu(self.weigh1(x))), axis=1)
        return 1 + 4 * jax.nn.sigmoid(self.opinion((weights * x).sum(1)))[:, 0]


class Judge:
    """The network with its weights, ready to hear speech of any length."""

    def __init__(self, network: DistillMos):
        graph, self._state = nnx.split(network)
        self._samples = network.config.samples
        self._hear = jax.jit(lambda state, part: nnx.merge(graph, state)(part[None])[0])

    def __call__(self, wave: Float[np.ndarray, " N"]) -> float:
        """The opinion of 16-kHz speech, 1 to 5."""
        parts = [jnp.asarray(each, jnp.result_type(float)) for each in self.parts(wave)]
        return float(np.mean([float(self._hear(self._state, each)) for each in parts]))

    def parts(self, wave: Float[np.ndarray, " N"]) -> list[Float[np.ndarray, " S"]]:
        """Parts of the length that the network hears, as far apart as they can be evenly; a short wave is filled with zeros."""
        beyond = max(0, len(wave) - self._samples)
        padded = np.pad(wave, (0, max(0, self._samples - len(wave))))
        count = int(np.ceil(beyond / STEP)) + 1
        starts = [int(share * beyond) for share in np.linspace(0, 1, count)]
        return [padded[start : start + self._samples] for start in starts]
