"""Do lips and speech belong together? The score of SyncNet (Chung and Zisserman, 2016; joonson/syncnet_python).

Two towers (`evaluation.syncnet`) embed 5 frames of a mouth and the 20 rows of MFCC that sound meanwhile. The distance of the
embeddings is measured for every shift of the sound by −15 to 15 frames and averaged over time. The *offset* is the shift of the
smallest mean distance, the *confidence* is the median minus the smallest. Films have 25 frames per second, and sound has 16,000
samples.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from empatheia_jax.errors import UserError
from empatheia_jax.nn.platform import platform
from evaluation import syncnet_on_cpu
from evaluation.cepstra import RATE, ROWS_PER_SECOND, mfcc
from evaluation.syncnet import FRAMES, ROWS, SyncNet

FRAME_RATE, SHIFT = 25, 15
"""Frames per second; the largest shift."""
ROWS_PER_FRAME = ROWS_PER_SECOND // FRAME_RATE
EPS = 1e-6


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
    """SyncNet with its weights, ready to score clips. A CPU multiplies less (`syncnet_on_cpu`)."""

    def __init__(self, network: SyncNet, batch: int = 8):
        self._batch = batch
        self._towers = syncnet_on_cpu.Towers(network) if platform() == "cpu" else None
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
        if self._towers is not None:
            return self._towers.embed(frames, sound)
        lips, audio = [], []
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
