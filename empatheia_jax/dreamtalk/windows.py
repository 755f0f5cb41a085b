"""Windows over time: speech features around a video frame, coefficients around a rendered frame."""

from __future__ import annotations

import numpy as np


def video_frames(feature_rows: int, rows_per_frame: int = 2) -> int:
    """Video frames (25 per second) of a speech clip with so many feature rows (50 per second)."""
    return feature_rows // rows_per_frame


def audio_window_index(start: int, frames: int, rows: int, radius: int, rows_per_frame: int = 2) -> np.ndarray:
    """Feature row in every slot of every frame's window, (frames, 2 * radius + 1) int; -1 = a row of zeros.

    Frame i looks at rows `rows_per_frame * i - radius … + radius`. Rows outside the clip are zeros, not copies.
    """
    center = rows_per_frame * np.arange(start, start + frames)[:, None]
    index = center + np.arange(-radius, radius + 1)[None]
    return np.where((index < 0) | (index >= rows), -1, index)


def audio_windows(
    features: np.ndarray, frames: int | None = None, *, radius: int, start: int = 0, rows_per_frame: int = 2
) -> np.ndarray:
    """Windows (frames, 2 * radius + 1, C) of features (N, C); `frames` None = all that the features allow."""
    frames = video_frames(len(features), rows_per_frame) - start if frames is None else frames
    padded = np.concatenate([features, np.zeros_like(features[:1])]) if len(features) else features
    return padded[audio_window_index(start, frames, len(features), radius, rows_per_frame)]


def motion_window_index(frames: int, radius: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Frame in every slot of the coefficient windows of frames start … stop, clamped to the clip's ends."""
    stop = frames if stop is None else stop
    index = np.arange(start, stop)[:, None] + np.arange(-radius, radius + 1)[None]
    return np.clip(index, 0, frames - 1)


def motion_windows(motion: np.ndarray, *, radius: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Coefficient windows (stop - start, 2 * radius + 1, C) of a motion (N, C)."""
    return motion[motion_window_index(len(motion), radius, start, stop)]
