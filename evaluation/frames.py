"""Frames of films as the metrics take them: bytes, RGB, brought to one length."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from empatheia_jax.errors import UserError


def to_gray(image: UInt8[np.ndarray, "*shape 3"]) -> UInt8[np.ndarray, "*shape"]:
    """RGB to grey by ITU-R 601 in 16-bit fixed point, rounded: the rule of Pillow, bit for bit."""
    red, green, blue = (image[..., k].astype(np.int64) for k in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)


def nearest_in_time(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` of the frames (N, …), evenly in time: how a film is brought to another one's length (reading U29).

    Raises:
        UserError: there is no frame, or none is asked for.
    """
    if not len(frames) or count < 1:
        raise UserError(
            f"a film of {len(frames)} frames cannot become one of {count}; expected at least one frame each"
        )
    return frames[np.minimum(len(frames) - 1, ((np.arange(count) + 0.5) * len(frames) / count).astype(int))]
