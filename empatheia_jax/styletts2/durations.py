"""From expected durations to whole frames, and from tokens to the frames that they last for."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

MAX_FRAMES = 1920
"""Longest piece in frames of 25 ms (48 s): what bounds memory, whatever a style vector does to the durations."""


def whole_durations(
    expected: Float[np.ndarray, " T"], speed: float = 1.0, limit: int = MAX_FRAMES, last_extra: int = 0
) -> Int[np.ndarray, " T"]:
    """Expected durations → whole frames: divided by `speed`, rounded half to even, at least one each, at most `limit` in all.

    `last_extra` frames are added to the last token (`StyleTTS2Config.last_extra`). A style far from speech (an untrained
    network's, say) can ask for minutes of one sentence: then all durations shrink in proportion, so that memory stays bounded
    and something is said.
    """
    durations = np.maximum(np.round(np.asarray(expected) / speed), 1).astype(np.int64)
    durations[-1] += last_extra
    if durations.sum() > limit:
        room = limit - len(durations)
        durations = 1 + np.floor((durations - 1) * (room / (durations - 1).sum())).astype(np.int64)
    return durations


def frame_index(durations: Int[np.ndarray, " T"], *, late: bool) -> Int[np.ndarray, " F"]:
    """The token that each frame belongs to: every token's vector is repeated for its duration.

    `late` (`StyleTTS2Config.late`) delays by one frame: the first frame is repeated and the last dropped.
    """
    index = np.repeat(np.arange(len(durations)), durations)
    return np.concatenate([index[:1], index[:-1]]) if late else index
