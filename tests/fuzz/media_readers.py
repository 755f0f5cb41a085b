"""What the fuzz tests of media, dialogues and the feature cache call in the sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from data_pipeline.cache import FeatureCache
from empatheia_jax.conversation import schema
from empatheia_jax.dreamtalk.motion import read_expression
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import audio_info, read_audio
from empatheia_jax.media.image import read_image
from empatheia_jax.media.video import read_frames, video_info
from tests.fuzz.sandbox import digest

FINGERPRINT = "f" * 64


def sound(path: str) -> np.ndarray:
    """A recording at its own 16 kHz."""
    audio_info(path)
    return read_audio(path, 16_000, max_seconds=60)


def film(path: str) -> np.ndarray:
    """Six frames of a film."""
    video_info(path)
    return read_frames(path, count=6, max_seconds=60)


def picture(path: str) -> np.ndarray:
    """A picture."""
    return read_image(path)


def dialogues(path: str) -> str:
    """A file of dialogues, written again; what is written reads as the same."""
    read = schema.read(Path(path))
    text = json.dumps([schema.conversation_to_json(each) for each in read], sort_keys=True)
    again = [schema.conversation_from_json(each) for each in json.loads(text)]
    assert json.dumps([schema.conversation_to_json(each) for each in again], sort_keys=True) == text
    return text


def expression(path: str) -> np.ndarray:
    """The coefficients of a face."""
    return read_expression(path)


def features(path: str) -> dict[str, str]:
    """Digest of every record of a feature cache that can be read, by its key."""
    cache, found = FeatureCache(path, "speech", FINGERPRINT), {}
    for key in json.loads((Path(path) / "keys.json").read_text()):
        if key in cache:
            try:
                found[key] = digest(cache.read(key))
            except UserError as error:
                assert "\n" not in str(error)
    return found


def read(argument: str) -> object:
    """`"sound:PATH"` → `sound(PATH)`: one process for all readers of this module."""
    name, _, path = argument.partition(":")
    return globals()[name](path)
