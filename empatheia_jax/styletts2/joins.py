"""Pieces of speech → one sound without clicks.

Everything is counted in the model's frames (600 samples, 25 ms), so that durations per phoneme stay true: silence that is
cut or added is taken from or given to the tokens at a piece's ends.

A known flaw of StyleTTS 2's decoders is a short pulse at the very start or end of a sound, in the silence around the
words. `declick` mutes it: a burst no longer than a few milliseconds with real silence between it and the speech cannot be
speech. What remains at a piece's edges is faded, so that any two pieces join at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

SAMPLE_RATE = 24_000
FRAME = 600
FADE = 120  # samples, 5 ms
LEAD, TAIL = 2, 3  # frames of silence kept before and after the words: soft onsets and decays live there

_BLOCK = 60  # samples: 2.5 ms, the grain in which bursts are looked for
_LONGEST_BURST = 8  # blocks, 20 ms
_SILENCE_BEYOND = 16  # blocks, 40 ms
_EDGE = 40  # blocks, 100 ms: how far from the end a burst is looked for
_QUIET = 0.01  # of the loudest block's RMS: 40 dB below

# Silence after a piece, in frames, by the mark that ends it.
PAUSES = {".": 14, "!": 14, "?": 14, "…": 18, ";": 10, ":": 10, "—": 8, ",": 6}
_ELSEWHERE = 0  # cut between two words


def pause_after(phonemes: str) -> int:
    """Frames of silence that belong after a piece of speech, by its last punctuation mark."""
    last = phonemes.rstrip('"”) ')[-1:]
    return PAUSES.get(last, _ELSEWHERE)


def _levels(samples: np.ndarray, size: int) -> np.ndarray:
    """RMS of consecutive blocks (the last may be short)."""
    padded = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    return np.sqrt(np.mean(np.square(padded, dtype=np.float64), axis=1))


def declick(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Mutes an isolated pulse in the silence before or after the words; returns a new array."""
    samples = np.array(samples, np.float32)
    levels = _levels(samples, _BLOCK)
    loud = levels > _QUIET * levels.max(initial=0.0)
    for flip in (False, True):
        at_end = loud[::-1] if flip else loud
        first = int(np.argmax(at_end)) if at_end.any() else len(at_end)
        burst = int(np.argmin(at_end[first:])) if not at_end[first:].all() else len(at_end)
        after = at_end[first + burst : first + burst + _SILENCE_BEYOND]
        if first < _EDGE and burst <= _LONGEST_BURST and len(after) == _SILENCE_BEYOND and not after.any():
            count = (first + burst) * _BLOCK
            if flip:
                samples[len(levels) * _BLOCK - count :] = 0
            else:
                samples[:count] = 0
    return samples


def fade_edges(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Raised-cosine fades of 5 ms at both ends (shorter where the sound is); returns a new array."""
    samples = np.array(samples, np.float32)
    size = min(FADE, len(samples) // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * np.arange(size) / max(size, 1))).astype(np.float32)
    samples[:size] *= ramp
    samples[len(samples) - size :] *= ramp[::-1]
    return samples


def _take(durations: np.ndarray, frames: int) -> int:
    """Shortens `durations` from the front by up to `frames`, in place; the number of frames taken."""
    left = frames
    for index, duration in enumerate(durations):
        cut = min(int(duration), left)
        durations[index] -= cut
        left -= cut
        if left == 0:
            break
    return frames - left


@dataclass(frozen=True)
class Piece:
    """A piece of speech, ready to be joined: `len(samples) == 600 · sum(durations)`."""

    samples: Float[np.ndarray, " n"]
    durations: Int[np.ndarray, " tokens"]


def finish(samples: Float[np.ndarray, " n"], durations: Int[np.ndarray, " tokens"], pause: int = 0) -> Piece:
    """Cleans a decoder's output for joining: no pulses, little silence around the words, faded edges, then a pause.

    Args:
        samples: 600 per frame.
        durations: frames of every token, the first and last being the pads.
        pause: frames of silence to add after the words; they count as the last token's.

    Raises:
        ValueError: the two lengths disagree.
    """
    durations = np.array(durations, np.int64)
    if len(samples) != FRAME * durations.sum():
        raise ValueError(f"{len(samples)} samples do not fit {durations.sum()} frames of {FRAME}")
    samples = declick(samples)
    levels = _levels(samples, FRAME)
    loud = np.flatnonzero(levels > _QUIET * levels.max(initial=0.0))
    if len(loud):
        # Only silence may go: the first and last pads, and what the punctuation next to them lasts.
        front = _take(durations, max(0, int(loud[0]) - LEAD))
        back = _take(durations[::-1], max(0, len(levels) - 1 - int(loud[-1]) - TAIL))
        samples = samples[front * FRAME : len(samples) - back * FRAME]
    samples = fade_edges(samples)
    if pause:
        durations[-1] += pause
        samples = np.concatenate([samples, np.zeros(pause * FRAME, np.float32)])
    return Piece(samples, durations)
