"""Measures a drawn face: the exact opening of its mouth, and the opening seen in a picture of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.dreamtalk.drawn_face.drawing import LOW, NECK, mouth_shape
from empatheia_jax.dreamtalk.drawn_face.identity import Identity
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION, FULL, POSE_NAMES, SIZE


def mouth_opening(
    person: Identity, motion: Float[np.ndarray, "frames 73"], size: int = SIZE
) -> Float[np.ndarray, " frames"]:
    """The gap between the lips in the mouth's middle, in pixels of a picture of `size`: ground truth, not measured."""
    numbers = person.numbers()
    actions = {name: motion[:, index] / FULL for name, index in ACTIONS.items()}
    shape = mouth_shape(numbers, actions)
    near = motion[:, EXPRESSION + POSE_NAMES.index("shift_near")]
    crop = motion[:, EXPRESSION + POSE_NAMES.index("crop_scale")]
    scale = numbers["size"] * (1.0 + near) * crop * size / 2
    return np.asarray((shape["upper"] + shape["lower"]) * scale)


# Colours of an open mouth's inside, the same for everybody (see `drawing`): the hollow and the teeth.
_HOLLOW, _TEETH = (77, 20, 23), (247, 245, 240)


def measure_opening(frames: UInt8[np.ndarray, "frames size size 3"], person: Identity) -> Float[np.ndarray, " frames"]:
    """The opening seen in pictures of a person, in pixels: how much hollow and teeth the mouth's middle columns show.

    Only pictures are read; of the person only where the mouth is. The tongue is left out (some lips have its colour), so the
    result grows with the opening but is smaller than it; a shut mouth gives the height of its dark seam. On true drawings
    of 24 speaking people that its numbers were not chosen on, Pearson's r with `mouth_opening` was 0.98 (lowest 0.95).
    """
    frames = np.asarray(frames)
    size = frames.shape[1]
    scale = person.size * size / 2
    middle = size / 2 + (NECK + LOW) * size / 2 + (person.mouth_y - NECK) * scale
    rows = slice(int(middle - 0.10 * scale), int(middle + 0.24 * scale))
    columns = slice(int(size / 2 - 0.22 * scale), int(size / 2 + 0.22 * scale))
    area = frames[:, rows, columns].astype(np.float32)
    share = np.zeros(area.shape[:3], np.float32)
    for colour in (_HOLLOW, _TEETH):
        distance = np.sqrt(np.sum((area - np.asarray(colour, np.float32)) ** 2, axis=-1))
        share = np.maximum(share, np.clip(1.5 - distance / 15.0, 0.0, 1.0))
    height = share.sum(1)  # per column
    width = 9
    smooth = np.stack([np.convolve(h, np.ones(width) / width, "valid") for h in height])
    return smooth.max(1)
