"""What the points of a face tell of a film: how lips, brows and head move, and how far its faces are from another film's.

The points are those of MediaPipe's face mesh (`media.face_landmarks`), which find photographed and drawn faces alike. The unit of
every length is the distance between the outer corners of the eyes, × 100, so no value depends on the size of the picture. That
distance is measured in three dimensions: it stays when a head turns.

* F-LMD: mean distance of all points to those of the recording, both brought to the same place, size and roll by the eyes.
* M-LMD: the same of the lips, both about their own middle.
* lips, brows, head: after the *dynamics* of THEval (Quignon et al., 2025). The mean path in a second of the opening of the
  lips, of the height of the brows above the eyes, and of the middle of the eyes.
* silent lips: path of the opening where the sound is 30 dB below its loudest, per second of it (its silent lip stability).
* opening with loudness: `lip_loudness.score` of the opening alone (its lip-sync, by loudness in the place of phonemes).

The definitions are ours. A path has no best value: the nearer to the recordings', the better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.dreamtalk.fitter import filled
from empatheia_jax.errors import UserError
from empatheia_jax.media.face_landmarks import Tracker
from evaluation import films, lip_loudness
from evaluation.frames import nearest_in_time

CORNERS = (33, 263)
"""Outer corners of the right and of the left eye."""
OPENING = (13, 14)
"""Middle of the inner edge of the upper and of the lower lip."""
BROWS, LIDS = (105, 334), (159, 386)
"""Middle of each brow, and of the upper lid below it."""
# fmt: off
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)
# fmt: on
"""Outer, then inner edge."""
SILENT = -30.0
"""Decibels below the loudest frame."""
LEAST = 5
"""Fewest pairs of silent frames that are measured."""

Points = Float[np.ndarray, "N 468 3"]


def track(frames: UInt8[np.ndarray, "N H W 3"]) -> Points:
    """The points of the largest face in every frame, in pixels.

    Raises:
      UserError: too many frames show no face (`fitter.MOST_LOST`), or there are fewer than two.
    """
    if len(frames) < 2:
        raise UserError(f"a film of {len(frames)} frames has no movement; expected at least 2")
    tracker = Tracker()
    return filled(np.stack([tracker(frame) for frame in frames]), "a film")


def unit(points: Points) -> float:
    """Mean distance between the outer corners of the eyes, in pixels."""
    return float(np.linalg.norm(points[:, CORNERS[0]] - points[:, CORNERS[1]], axis=-1).mean())


def upright(points: Points) -> Float[np.ndarray, "N 468 2"]:
    """Points about the middle of the eyes, which lie level, in hundredths of `unit`."""
    flat = points[..., :2]
    right, left = flat[:, CORNERS[0]], flat[:, CORNERS[1]]
    flat = flat - ((right + left) / 2)[:, None]
    across = (left - right) / np.linalg.norm(left - right, axis=-1, keepdims=True)
    down = np.stack([-across[:, 1], across[:, 0]], axis=-1)
    return 100 / unit(points) * np.einsum("nka,nba->nkb", flat, np.stack([across, down], axis=1))


def _path(values: Float[np.ndarray, "*shape"], where: np.ndarray | None = None) -> float:
    """Mean way in a second. Values are means of three frames first, so that the grain of the points does not count."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    steps = np.diff(smooth, axis=0)
    steps = np.abs(steps) if steps.ndim == 1 else np.linalg.norm(steps, axis=-1)
    return float(films.RATE * (steps if where is None else steps[where]).mean())


@dataclass(frozen=True)
class Movement:
    """Paths in hundredths of the eyes' distance a second; `silent_lips` None where there is hardly any silence.
    `opening_confidence`: as in `lip_loudness`; None in films that are too short.
    """

    lips: float
    brows: float
    head: float
    silent_lips: float | None
    opening_confidence: float | None


def opening(points: Points) -> Float[np.ndarray, " N"]:
    """Distance between the inner edges of the lips, in hundredths of `unit`."""
    return 100 / unit(points) * np.linalg.norm(points[:, OPENING[0], :2] - points[:, OPENING[1], :2], axis=-1)


def movement(points: Points, samples: Float[np.ndarray, " M"], rate: int) -> Movement:
    """How a face moves while it speaks. `samples`: its sound."""
    face, lips = upright(points), opening(points)
    brows = np.mean([face[:, lid, 1] - face[:, brow, 1] for brow, lid in zip(BROWS, LIDS)], axis=0)
    head = 100 / unit(points) * (points[:, CORNERS[0], :2] + points[:, CORNERS[1], :2]) / 2
    loud = lip_loudness.loudness(samples, rate, len(points), films.RATE)
    silent = (loud[1:] < SILENT) & (loud[:-1] < SILENT)
    try:
        follows = lip_loudness.score(lips[:, None], loud).confidence
    except UserError:
        follows = None
    still = _path(lips, silent) if silent.sum() >= LEAST else None
    return Movement(_path(lips), _path(brows), _path(head), still, follows)


def distances(points: Points, reference: Points) -> tuple[float, float]:
    """F-LMD and M-LMD of a film's points to those of a recording, frames nearest in time."""
    theirs = upright(reference)
    ours = nearest_in_time(upright(points), len(theirs))
    lips = [each[:, LIPS] - each[:, LIPS].mean(axis=1, keepdims=True) for each in (ours, theirs)]
    return (
        float(np.linalg.norm(ours - theirs, axis=-1).mean()),
        float(np.linalg.norm(lips[0] - lips[1], axis=-1).mean()),
    )
