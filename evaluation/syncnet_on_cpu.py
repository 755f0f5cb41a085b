"""SyncNet's towers for a CPU: the same network as `syncnet.SyncNet`, with a third of the multiplications.

* Batch norms are folded into the convolutions, in float64.
* Convolutions multiply less (`nn.toom_cook_2d`).
* Five overlapping windows see a frame; it is transformed once.
* The bias and the ReLU come after the maximum over a window, which they do not change: both are monotonous.
* From 0..255 the middle, 128, is subtracted and put back in the bias: the first layer has no padding. Rounding is then as small
  as that of the definition.
"""

from __future__ import annotations

import concurrent.futures
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

from empatheia_jax.nn import toom_cook_2d as few
from evaluation.syncnet import FRAMES

WINDOWS = 8
"""Windows of a program. With more its memory passes 32 MB, which the C library gives back and asks for again every time."""
TOGETHER = 2
"""Windows of the second convolution: their products stay in the cache."""
PART = 64
"""Terms that are summed at once by the last layers."""
MIDDLE = 128

Weights = dict[str, Any]


class Towers:
    """Both towers with transformed weights; of a `syncnet.SyncNet`, whose layers, norms and heads the functions below take."""

    def __init__(self, network: Any):
        first, *rest, last = network.lips
        kernel, bias = _folded(first)
        frames = [few.transform_kernel(each, 2) for each in kernel]
        self._dtype = first.conv.kernel[...].dtype

        def place(weights: Weights) -> Weights:
            return jax.tree.map(lambda x: jnp.asarray(x, self._dtype), weights)

        self._lips = place(
            {
                "first": (np.concatenate(frames, 1), bias + MIDDLE * kernel.sum((0, 1, 2, 3))),
                "second": _transformed(rest[0], 2),
                "rest": [_transformed(each, 1) for each in rest[1:]],
                "last": _flat(last),
                "head": _head(network.lip_head),
            }
        )
        first, *rest, last = network.audio
        kernel, bias = _folded(first)
        self._audio = place(
            {
                "first": (kernel, bias),
                "rest": [_transformed(each, 1) for each in rest],
                "last": _flat(last),
                "head": _head(network.audio_head),
            }
        )
        self._embed_lips, self._embed_audio = jax.jit(embed_lips), jax.jit(embed_audio)
        self._compiled = False

    def embed(
        self, frames: UInt8[np.ndarray, "F 224 224 3"], sound: Float[np.ndarray, "N 13 20"]
    ) -> tuple[Float[np.ndarray, "N 1024"], Float[np.ndarray, "N 1024"]]:
        """Embeddings of lips and sound of N windows; window n begins at frame n, and F is at least N + 4.

        One program for each core at a time: much of a program is too small to be shared out among the cores.
        """
        count = len(sound)

        def part(first: int) -> tuple[np.ndarray, np.ndarray]:
            rows = np.minimum(np.arange(first, first + WINDOWS), count - 1)  # one shape, so one program
            seen = np.minimum(np.arange(first, first + WINDOWS + FRAMES - 1), len(frames) - 1)
            lips = self._embed_lips(self._lips, frames[seen])
            audio = self._embed_audio(self._audio, sound[rows].astype(self._dtype))
            return np.asarray(lips)[: count - first], np.asarray(audio)[: count - first]

        parts = []
        if not self._compiled:  # before the threads, which would all compile
            parts, self._compiled = [part(0)], True
        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            parts += pool.map(part, range(WINDOWS * len(parts), count, WINDOWS))
        lips, audio = (np.concatenate(each) for each in zip(*parts))
        return lips, audio


def embed_lips(weights: Weights, frames: UInt8[Array, "F 224 224 3"]) -> Float[Array, "N 1024"]:
    """`SyncNet.embed_lips` of every window of five consecutive frames."""
    kernel, bias = weights["first"]
    y = _first(kernel, bias, frames)
    count = len(y)
    y = y.reshape(-1, TOGETHER, *y.shape[1:])
    kernel, second_bias = weights["second"]

    def second(y: Array) -> Array:
        y = few.join(few.gather(few.multiply(few.spread(y, 3), kernel), 3), 26, 26)
        return jax.nn.relu(_maximum(_maximum(y, 1, 2, 1), 2, 2, 1) + second_bias)

    y = lax.map(second, y).reshape(count, 13, 13, -1)
    for kernel, bias in weights["rest"][:-1]:
        y = jax.nn.relu(few.convolve(y, kernel, 3, padding=1) + bias)
    kernel, bias = weights["rest"][-1]
    y = few.convolve(y, kernel, 3, padding=1)
    y = jax.nn.relu(_maximum(_maximum(y, 1, 2), 2, 2) + bias)
    return _end(weights, y)


def embed_audio(weights: Weights, sound: Float[Array, "N 13 20"]) -> Float[Array, "N 1024"]:
    """`SyncNet.embed_audio`."""
    kernel, bias = weights["first"]
    numbers = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
        sound.astype(kernel.dtype)[..., None], kernel, (1, 1), "SAME", dimension_numbers=numbers
    )
    y = jax.nn.relu(y + bias)
    second, third, fourth, fifth = weights["rest"]
    y = few.convolve(y, second[0], 3, padding=1)
    y = jax.nn.relu(_maximum(_maximum(y, 1, 1), 2, 2) + second[1])
    for kernel, bias in (third, fourth):
        y = jax.nn.relu(few.convolve(y, kernel, 3, padding=1) + bias)
    y = few.convolve(y, fifth[0], 3, padding=1)
    y = jax.nn.relu(_maximum(_maximum(y, 1, 2), 2, 2) + fifth[1])
    return _end(weights, y)


def _end(weights: Weights, y: Float[Array, "N Y X C"]) -> Float[Array, "N 1024"]:
    """The last convolution, whose window is the whole picture, and the head."""
    y = y.reshape(len(y), -1)
    y = jax.nn.relu(_product(y, *weights["last"]))
    first, last = weights["head"]
    return _product(jax.nn.relu(_product(y, *first)), *last)


def _product(x: Float[Array, "N I"], kernel: Float[Array, "I O"], bias: Float[Array, " O"]) -> Float[Array, "N O"]:
    """A linear map whose long sums are made of short ones, which loses fewer digits."""
    parts = jnp.einsum("npi,pio->pno", x.reshape(len(x), -1, PART), kernel.reshape(-1, PART, len(bias)))
    return parts.sum(0) + bias


def _first(
    kernel: Float[Array, "49 60 C"], bias: Float[Array, " C"], frames: UInt8[Array, "F 224 224 3"]
) -> Float[Array, "N 28 28 K"]:
    """The first layer and its maximum over 3 × 3 with stride 2, as `few.phases` of it with a zero around: K = 4 C.

    A row of 28 tiles at a time, from the lowest to the highest, so that everything stays in the cache. Of 109 outputs tile t
    holds 4 t … 4 t + 3. Maximum 2 t is over 4 t … 4 t + 2, maximum 2 t + 1 over 4 t + 2 … 4 t + 4. Behind the zero in front they
    stand at 2 t + 1 and 2 t + 2: in the odd phase at t and in the even one at t + 1. All are slices, and nothing is shuffled.
    """
    x = few.phases(frames.astype(kernel.dtype) - MIDDLE, 2)  # (F, 112, 112, 12)
    count, channels = len(x) - FRAMES + 1, x.shape[-1]
    x = x.transpose(1, 2, 0, 3).reshape(112, 112, -1)
    x = jnp.pad(x, ((0, 3), (0, 3), (0, 0)))  # (115, 115, F · 12)

    def maxima(y: Array, below: Array) -> tuple[Array, Array]:
        """Over the tiles' own axis, in front: 2 t + 1 and 2 t. `below`: the first outputs of the next tile."""
        return jnp.maximum(jnp.maximum(y[2], y[3]), below), jnp.maximum(jnp.maximum(y[0], y[1]), y[2])

    def row(below: Array, t: Array) -> tuple[Array, tuple[Array, Array]]:
        seen = few.spread(lax.dynamic_slice_in_dim(x, 4 * t, 7, 0)[None], 4)  # (7, 7, 1, 1, 28, F · 12)
        windows = [seen[..., i * channels : (i + FRAMES) * channels] for i in range(count)]
        y = few.gather(few.multiply(jnp.concatenate(windows, 2), kernel), 4)  # (4, 4, N, 1, 28, C)
        y = y[:, :, :, 0].swapaxes(0, 1)
        y = lax.optimization_barrier(jnp.stack(maxima(y[..., :-1, :], y[0, ..., 1:, :]), 1))  # (4, 2, N, 27, C)
        odd, even = maxima(y, below)
        return y[0], (jax.nn.relu(odd + bias), jax.nn.relu(even + bias))

    nothing = jnp.full((2, count, 27, len(bias)), -jnp.inf, kernel.dtype)
    _, rows = lax.scan(row, nothing, jnp.arange(28), reverse=True)  # each (28, 2, N, 27, C)
    parts = [
        jnp.pad(rows[p][:27, q].swapaxes(0, 1), ((0, 0), (1 - p, p), (1 - q, q), (0, 0)))
        for p in range(2)
        for q in range(2)
    ]
    return jnp.concatenate(parts, -1)


def _maximum(x: Array, axis: int, stride: int, padding: int = 0) -> Array:
    """Maximum over three neighbours along one axis."""
    around = [(0, 0)] * x.ndim
    around[axis] = (padding, padding)
    x = jnp.pad(x, around, constant_values=-jnp.inf) if padding else x
    last = (x.shape[axis] - 3) // stride * stride + 1
    a, b, c = (lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(3))
    return jnp.maximum(jnp.maximum(a, b), c)


def _scale(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Factor and summand of a batch norm, in float64."""
    scale, bias, mean, var = (np.asarray(x[...], np.float64) for x in (norm.scale, norm.bias, norm.mean, norm.var))
    factor = scale / np.sqrt(var + norm.eps)
    return factor, bias - mean * factor


def _folded(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution and its batch norm."""
    factor, summand = _scale(layer.norm)
    assert layer.conv.bias is not None
    kernel, bias = (np.asarray(x[...], np.float64) for x in (layer.conv.kernel, layer.conv.bias))
    return kernel * factor, bias * factor + summand


def _transformed(layer: Any, stride: int) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = _folded(layer)
    return few.transform_kernel(kernel.reshape(kernel.shape[-4:]) if kernel.ndim == 5 else kernel, stride), bias


def _flat(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = _folded(layer)
    return kernel.reshape(-1, kernel.shape[-1]), bias


def _head(head: Any) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    factor, summand = _scale(head.norm)
    first, second = _linear(head.linear1), _linear(head.linear2)
    return (first[0] * factor, first[1] * factor + summand), second


def _linear(linear: Any) -> tuple[np.ndarray, np.ndarray]:
    assert linear.bias is not None
    return np.asarray(linear.kernel[...], np.float64), np.asarray(linear.bias[...], np.float64)
