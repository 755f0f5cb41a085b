"""Features of one utterance: what the frozen encoders hear in its sound and see in its pictures, pooled to 24 places each.

Speech: last layer of a HuBERT, averaged over 24 equal spans of time. Video: 24 frames spread over the clip; of each, the mean
of CLIP's patch rows after the layer of LLaVA's choice (or its class token). Sounds are padded to whole seconds, so that few
lengths are compiled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8

from empatheia_jax.encoders.batching import in_batches
from empatheia_jax.encoders.clip_image import ClipPreprocessor
from empatheia_jax.encoders.clip_vision import ClipVision
from empatheia_jax.encoders.pooling import pool
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, normalize
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.video import read_frames
from empatheia_jax.tokens import SLOTS

RATE = 16_000
LONGEST = 60.0
"""Seconds of one utterance's recording; the longest of AvaMERG are under 30."""


class SpeechTower:
    """A frozen wav2vec-family encoder: 16 kHz sound → (24, C)."""

    def __init__(self, model: Wav2Vec2):
        self.width = model.config.width
        self._model = model
        graph, state = nnx.split(model)
        masks = model.config.masks_padding

        @jax.jit
        def encode(state, waves, lengths):
            values = normalize(waves, lengths)
            return nnx.merge(graph, state)(values, lengths=lengths if masks else None).last

        self._encode = lambda waves, lengths: encode(state, waves, lengths)

    def __call__(self, wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "24 C"]:
        """Features of a whole utterance. A sound too short for one row is padded to it."""
        return self.many([wave])[0]

    def many(self, waves: Sequence[Float[np.ndarray, " _"]]) -> list[Float[np.ndarray, "24 C"]]:
        """Features of several utterances; those of as many whole seconds are encoded together."""
        lengths = [max(len(wave), 400) for wave in waves]
        found: dict[int, Float[np.ndarray, "24 C"]] = {}
        for seconds in sorted({-(-length // RATE) for length in lengths}):
            members = [number for number, length in enumerate(lengths) if -(-length // RATE) == seconds]

            def encode(some: Sequence[int], room: int = seconds * RATE) -> list[Float[np.ndarray, "24 C"]]:
                padded = np.zeros((len(some), room), np.float32)
                for row, number in enumerate(some):
                    padded[row, : len(waves[number])] = waves[number]
                sizes = np.asarray([lengths[number] for number in some])
                rows = np.asarray(self._encode(jnp.asarray(padded), jnp.asarray(sizes)), np.float32)
                return [pool(r[: max(1, int(self._model.frames(int(n))))]) for r, n in zip(rows, sizes)]

            found |= dict(zip(members, in_batches(encode, members)))
        return [found[number] for number in range(len(waves))]


def wrong_layer(layer: int, layers: int) -> str:
    """The line that says that an encoder of so many layers has no states of this number; "" where it has."""
    if -layers - 1 <= layer <= layers:
        return ""
    return (
        f"networks.video_layer={layer}; expected {-layers - 1} to {layers}: the video encoder has {layers} layers, and 0 is what "
        "goes into the first"
    )


class VideoTower:
    """A frozen CLIP vision encoder: 24 frames → (24, C). Raises `UserError` where it has no such layer."""

    def __init__(self, model: ClipVision, preprocessor: ClipPreprocessor, *, layer: int = -2, pooling: str = "patches"):
        if wrong := wrong_layer(layer, model.config.layers):  # an index beyond an array's end is no error of JAX
            raise UserError(wrong)
        self.width = model.config.width
        self._preprocess = preprocessor
        graph, state = nnx.split(model)

        @jax.jit
        def encode(state, pixels):
            network = nnx.merge(graph, state)
            if pooling == "patches":
                return network.patch_features(pixels, layer=layer).mean(axis=1)
            return network(pixels, all_hidden=True).hidden[layer][:, 0]

        self._encode = lambda pixels: encode(state, pixels)

    def crop(self, frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "crop crop 3"]:
        """The part of a frame that the encoder sees, at its size."""
        return self._preprocess.crop_images(frame)

    def __call__(self, frames: UInt8[np.ndarray, "24 crop crop 3"]) -> Float[np.ndarray, "24 C"]:
        """One row per frame that `crop` gave."""
        return self.many([frames])[0]

    def many(self, films: Sequence[UInt8[np.ndarray, "24 crop crop 3"]]) -> list[Float[np.ndarray, "24 C"]]:
        """Features of several films, computed together."""

        def encode(some: Sequence[np.ndarray]) -> Float[np.ndarray, "films 24 C"]:
            frames = np.concatenate(some)
            rows = np.asarray(self._encode(jnp.asarray(self._preprocess.pixels(frames))), np.float32)
            return rows.reshape(len(some), -1, rows.shape[-1])

        return in_batches(encode, films)


class Towers:
    """Both encoders, on recordings."""

    def __init__(self, speech: SpeechTower, video: VideoTower):
        self.hear, self.see = speech, video

    @staticmethod
    def read_speech(path: str | os.PathLike) -> Float[np.ndarray, " samples"]:
        """What `hear` takes of a sound file. Raises `UserError` where it cannot be used."""
        return read_audio(path, RATE, max_seconds=LONGEST)

    def read_video(self, path: str | os.PathLike) -> UInt8[np.ndarray, "24 crop crop 3"]:
        """What `see` takes of a video file. Raises `UserError` where it cannot be used."""
        return read_frames(path, count=SLOTS, max_seconds=LONGEST, reduce=self.see.crop)

    def speech(self, path: str | os.PathLike) -> Float[np.ndarray, "24 C"]:
        """Features of a sound file. Raises `UserError` where it cannot be used."""
        return self.hear(self.read_speech(path))

    def video(self, path: str | os.PathLike) -> Float[np.ndarray, "24 C"]:
        """Features of a video file. Raises `UserError` where it cannot be used."""
        return self.see(self.read_video(path))
