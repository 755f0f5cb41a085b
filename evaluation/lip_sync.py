"""SyncNet: do lips and speech belong together (Chung and Zisserman, 2016; joonson/syncnet_python)?

Two towers embed 5 frames of a mouth and the 20 rows of MFCC that sound meanwhile. The distance of the embeddings is measured for
every shift of the sound by −15 to 15 frames and averaged over time. The *offset* is the shift of the smallest mean distance, the
*confidence* is the median minus the smallest. Films have 25 frames per second and sound 16,000 samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8
from scipy.fft import dct

from empatheia_jax.errors import UserError
from empatheia_jax.nn.platform import platform
from evaluation import lip_sync_on_cpu

RATE, FRAME_RATE, SIZE = 16_000, 25, 224
FRAMES, ROWS, SHIFT = 5, 20, 15
"""Frames and rows of MFCC of one window; largest shift."""
ROWS_PER_FRAME = 4
EMBEDDING, EPS = 1024, 1e-6
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


# ---------------------------------------------------------------- sound


def _filters(count: int, bins: int) -> Float[np.ndarray, "filters bins"]:
    """Triangles, evenly spaced on the mel scale 2595 log10(1 + f / 700) from 0 to half the rate."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, count + 2) / 2595) - 1)
    places = np.floor((2 * (bins - 1) + 1) * edges / RATE)
    index = np.arange(bins)[None]
    low, top, high = (places[k : k + count, None] for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        rising, falling = (index - low) / (top - low), (high - index) / (high - top)
    triangle = np.where((index >= low) & (index < top), rising, np.where((index >= top) & (index < high), falling, 0))
    return np.nan_to_num(triangle)


def mfcc(samples: Int[np.ndarray, " N"]) -> Float[np.ndarray, "rows 13"]:
    """Mel-frequency cepstra of 16-bit samples, as `python_speech_features` gives them: 25 ms every 10 ms without a window
    function, pre-emphasis 0.97, 512-point spectrum, 26 filters, lifter 22, the first coefficient replaced by the log energy.
    """
    width, hop, points = 400, 160, 512
    x = samples.astype(np.float64)
    x = np.append(x[0], x[1:] - 0.97 * x[:-1])
    rows = 1 if len(x) <= width else 1 + int(np.ceil((len(x) - width) / hop))
    x = np.pad(x, (0, max(0, (rows - 1) * hop + width - len(x))))
    frames = x[np.arange(width)[None] + hop * np.arange(rows)[:, None]]
    power = np.square(np.abs(np.fft.rfft(frames, points))) / points
    tiny = np.finfo(float).eps
    energy = np.maximum(power.sum(axis=1), tiny)
    energy = np.where(power.sum(axis=1) == 0, tiny, energy)
    mel = power @ _filters(26, points // 2 + 1).T
    cepstra = dct(np.log(np.where(mel == 0, tiny, mel)), type=2, axis=1, norm="ortho")[:, :13]
    cepstra = cepstra * (1 + 11 * np.sin(np.pi * np.arange(13) / 22))
    cepstra[:, 0] = np.log(energy)
    return cepstra


# ---------------------------------------------------------------- the score


@dataclasses.dataclass(frozen=True)
class Sync:
    """offset: frames by which the sound is late (negative) or early; confidence (LSE-C); distance: the smallest (LSE-D)."""

    offset: int
    confidence: float
    distance: float
    mean_distances: Float[np.ndarray, " shifts"]
    distances: Float[np.ndarray, "windows shifts"]


def score(lips: Float[np.ndarray, "N D"], audio: Float[np.ndarray, "N D"], shift: int = SHIFT) -> Sync:
    """Offset and confidence from the embeddings of the same windows; beyond the ends the sound is a zero vector.

    In float64: a distance of 1,500 has a step of 1e-4 in float32, and differences of distances are what is asked for.
    """
    lips, audio = lips.astype(np.float64), audio.astype(np.float64)
    padded = np.pad(audio, ((shift, shift), (0, 0)))
    distances = np.stack(
        [np.linalg.norm(lips - padded[k : k + len(lips)] + EPS, axis=1) for k in range(2 * shift + 1)], axis=1
    )
    mean = distances.mean(axis=0)
    smallest = float(mean.min())
    return Sync(shift - int(mean.argmin()), float(np.median(mean)) - smallest, smallest, mean, distances)


def windows(frames: int, samples: int) -> int:
    """Number of windows of a clip. Raises `UserError` where it is too short for one."""
    count = min(frames, samples // (RATE // FRAME_RATE)) - FRAMES
    if count < 1:
        raise UserError(
            f"a clip of {frames} frames and {samples} samples; expected more than {FRAMES} frames with their sound"
        )
    return count


class Judge:
    """SyncNet with its weights, ready to score clips. A CPU multiplies less (`lip_sync_on_cpu`)."""

    def __init__(self, network: SyncNet, batch: int = 8):
        self._batch = batch
        self._towers = lip_sync_on_cpu.Towers(network) if platform() == "cpu" else None
        graph, self._state = nnx.split(network)
        self._audio = jax.jit(lambda state, x: nnx.merge(graph, state).embed_audio(x))

        def lips(state: Any, bgr: Array, first: Array) -> Array:
            take = first[:, None] + jnp.arange(FRAMES)[None]
            return nnx.merge(graph, state).embed_lips(bgr[take].astype(jnp.result_type(float)))

        self._lips = jax.jit(lips)

    def embed(
        self, frames: UInt8[np.ndarray, "F 224 224 3"], samples: Int[np.ndarray, " N"]
    ) -> tuple[Float[np.ndarray, "W 1024"], Float[np.ndarray, "W 1024"]]:
        """Embeddings of lips and sound of every window; frames are blue, green, red."""
        count = windows(len(frames), len(samples))
        cepstra = mfcc(samples)
        sound = np.stack([cepstra[ROWS_PER_FRAME * i :][:ROWS].T for i in range(count)])
        lips, audio = [], []
        if self._towers is not None:
            for first in range(0, count, lip_sync_on_cpu.WINDOWS):
                rows = np.minimum(np.arange(first, first + lip_sync_on_cpu.WINDOWS), count - 1)
                seen = np.minimum(np.arange(first, first + lip_sync_on_cpu.WINDOWS + FRAMES - 1), len(frames) - 1)
                kept = min(lip_sync_on_cpu.WINDOWS, count - first)
                lips.append(self._towers.lips(frames[seen])[:kept])
                audio.append(self._towers.audio(sound[rows])[:kept])
            return np.concatenate(lips), np.concatenate(audio)
        pictures = jnp.asarray(frames)
        for first in range(0, count, self._batch):
            rows = np.minimum(np.arange(first, first + self._batch), count - 1)  # one shape, so one program
            kept = min(self._batch, count - first)
            lips.append(np.asarray(self._lips(self._state, pictures, jnp.asarray(rows)))[:kept])
            audio.append(np.asarray(self._audio(self._state, jnp.asarray(sound[rows], jnp.result_type(float))))[:kept])
        return np.concatenate(lips), np.concatenate(audio)

    def __call__(self, frames: UInt8[np.ndarray, "F 224 224 3"], samples: Int[np.ndarray, " N"]) -> Sync:
        """Lip-sync of one clip: a cropped face at 25 frames per second (blue, green, red) and 16-bit sound at 16 kHz."""
        return score(*self.embed(frames, samples))
