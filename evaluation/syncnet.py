"""SyncNet's two towers: 5 frames of a mouth, and the sound that is heard meanwhile, to embeddings that can be compared.

Chung and Zisserman 2016, "Out of time: automated lip sync in the wild"; the layers are those of joonson/syncnet_python. Frames
are 224 × 224 pixels at 25 per second; the sound comes as 20 rows of MFCC (`evaluation.cepstra`), 100 per second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

SIZE = 224
FRAMES, ROWS = 5, 20
"""Frames and rows of MFCC of one window."""
EMBEDDING = 1024
KIND = "syncnet"


@dataclasses.dataclass(frozen=True)
class SyncNetConfig:
    """Epsilon of the batch norms: the one number that the released file does not hold (PyTorch's default)."""

    norm_eps: float = 1e-5


class Norm(nnx.Module):
    """Batch norm with the statistics of training, over the last axis."""

    def __init__(self, channels: int, eps: float, param_dtype: Any):
        self.eps = eps
        self.scale, self.bias = nnx.Param(jnp.ones(channels, param_dtype)), nnx.Param(jnp.zeros(channels, param_dtype))
        self.mean = nnx.BatchStat(jnp.zeros(channels, param_dtype))
        self.var = nnx.BatchStat(jnp.ones(channels, param_dtype))

    def __call__(self, x: Float[Array, "*n C"]) -> Float[Array, "*n C"]:
        factor = self.scale[...] / jnp.sqrt(self.var[...] + self.eps)
        return x * factor + (self.bias[...] - self.mean[...] * factor)


class Layer(nnx.Module):
    """Convolution, batch norm, ReLU, and a maximum over windows where `pool` (window, strides, padding) says so."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: Sequence[int],
        *,
        rngs: nnx.Rngs,
        eps: float,
        strides: Sequence[int] | None = None,
        padding: Sequence[int] | None = None,
        pool: tuple[Sequence[int], Sequence[int], Sequence[int]] | None = None,
        **kinds: Any,
    ):
        padding = [0] * len(window) if padding is None else padding
        self.conv = nnx.Conv(
            inputs, outputs, tuple(window), strides=strides or 1, padding=[(p, p) for p in padding], rngs=rngs, **kinds
        )
        self.norm = Norm(outputs, eps, kinds["param_dtype"])
        self.pool = pool

    def __call__(self, x: Float[Array, "N *window C"]) -> Float[Array, "N *window D"]:
        x = jax.nn.relu(self.norm(_over_all_frames(self.conv, x) if x.ndim == 5 else self.conv(x)))
        if self.pool is None:
            return x
        window, strides, padding = self.pool
        return nnx.max_pool(x, tuple(window), strides=tuple(strides), padding=[(p, p) for p in padding])


def _over_all_frames(conv: nnx.Conv, x: Float[Array, "N T H W C"]) -> Float[Array, "N 1 H W D"]:
    """A convolution over time and space whose window covers all T frames, as one over space with T · C channels.

    XLA has no fast path for three-dimensional convolutions on CPUs.
    """
    kernel = conv.kernel[...]
    frames, height, width, channels, outputs = kernel.shape
    if frames != x.shape[1] or not isinstance(conv.strides, tuple | int) or not isinstance(conv.padding, list):
        raise ValueError(f"a window of {frames} frames over {x.shape[1]}; expected all of them")
    strides = (conv.strides,) * 3 if isinstance(conv.strides, int) else tuple(conv.strides)
    flat = x.transpose(0, 2, 3, 1, 4).reshape(x.shape[0], x.shape[2], x.shape[3], frames * channels)
    taps = kernel.transpose(1, 2, 0, 3, 4).reshape(height, width, frames * channels, outputs)
    numbers = ("NHWC", "HWIO", "NHWC")
    out = jax.lax.conv_general_dilated(
        flat.astype(taps.dtype), taps, strides[1:], conv.padding[1:], dimension_numbers=numbers
    )
    return (out + conv.bias[...])[:, None] if conv.bias is not None else out[:, None]


class Head(nnx.Module):
    """Linear, batch norm, ReLU, linear: 512 features to an embedding."""

    def __init__(self, *, rngs: nnx.Rngs, eps: float, **kinds: Any):
        self.linear1 = nnx.Linear(512, 512, rngs=rngs, **kinds)
        self.norm = Norm(512, eps, kinds["param_dtype"])
        self.linear2 = nnx.Linear(512, EMBEDDING, rngs=rngs, **kinds)

    def __call__(self, x: Float[Array, "N 512"]) -> Float[Array, "N 1024"]:
        return self.linear2(jax.nn.relu(self.norm(self.linear1(x))))


class SyncNet(nnx.Module):
    """Both towers."""

    def __init__(
        self, config: SyncNetConfig, *, rngs: nnx.Rngs, dtype: Any = jnp.float32, param_dtype: Any = jnp.float32
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "eps": config.norm_eps, "dtype": dtype, "param_dtype": param_dtype}
        self.audio = nnx.List(
            [
                Layer(1, 64, (3, 3), padding=(1, 1), **kinds),
                Layer(64, 192, (3, 3), padding=(1, 1), pool=((3, 3), (1, 2), (0, 0)), **kinds),
                Layer(192, 384, (3, 3), padding=(1, 1), **kinds),
                Layer(384, 256, (3, 3), padding=(1, 1), **kinds),
                Layer(256, 256, (3, 3), padding=(1, 1), pool=((3, 3), (2, 2), (0, 0)), **kinds),
                Layer(256, 512, (5, 4), **kinds),
            ]
        )
        same: dict[str, Any] = {"padding": (0, 1, 1)}
        pool = ((1, 3, 3), (1, 2, 2))
        self.lips = nnx.List(
            [
                Layer(3, 96, (5, 7, 7), strides=(1, 2, 2), pool=(*pool, (0, 0, 0)), **kinds),
                Layer(96, 256, (1, 5, 5), strides=(1, 2, 2), pool=(*pool, (0, 1, 1)), **same, **kinds),
                Layer(256, 256, (1, 3, 3), **same, **kinds),
                Layer(256, 256, (1, 3, 3), **same, **kinds),
                Layer(256, 256, (1, 3, 3), pool=(*pool, (0, 0, 0)), **same, **kinds),
                Layer(256, 512, (1, 6, 6), **kinds),
            ]
        )
        self.audio_head, self.lip_head = Head(**kinds), Head(**kinds)

    def embed_audio(self, mfcc: Float[Array, "N 13 20"]) -> Float[Array, "N 1024"]:
        """13 coefficients × 20 rows → an embedding."""
        x = mfcc[..., None]
        for layer in self.audio:
            x = layer(x)
        return self.audio_head(x.reshape(len(x), -1))

    def lip_features(self, frames: Float[Array, "N 5 224 224 3"]) -> Float[Array, "N 512"]:
        """Output of the lips' convolutions."""
        for layer in self.lips:
            frames = layer(frames)
        return frames.reshape(len(frames), -1)

    def embed_lips(self, frames: Float[Array, "N 5 224 224 3"]) -> Float[Array, "N 1024"]:
        """Five frames, blue, green, red, 0 to 255 → an embedding."""
        return self.lip_head(self.lip_features(frames))
