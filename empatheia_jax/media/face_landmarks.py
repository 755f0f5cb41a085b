"""468 points of a face: MediaPipe's face mesh (Kartynnik et al., 2019), run by LiteRT.

A point has a depth, too: how far behind the face's middle it lies by the network's guess, in pixels of the picture.
The numbers of the points are MediaPipe's; right and left are the person's.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from empatheia_jax.errors import UserError
from empatheia_jax.media import face_detection, tflite

NETWORK = "modules/face_landmark/face_landmark.tflite"
POINTS = 468
EYES = ((33, 133), (362, 263))
"""The corners of the right and of the left eye."""

_SIZE = 192
_MARGIN = 1.5
"""Side of the square that the network sees, in sides of the square around the points."""
_LEAST_SCORE = 0.5

Points = Float[np.ndarray, "468 3"]
Picture = UInt8[np.ndarray, "height width 3"]


def is_installed() -> bool:
    """Whether points can be found: the runtime and the networks are there."""
    return face_detection.is_installed() and tflite.has(NETWORK)


def require() -> None:
    """Raises `UserError` in one line where `is_installed` is false."""
    if not is_installed():
        raise UserError(f"nothing that finds a face's points is installed; run: {tflite.INSTALL}")


class Tracker:
    """Finds the points of the largest face in the pictures of a film, one after the other.

    The search in a picture begins where the face of the picture before was. A face that was lost is looked for anew.
    A call takes a picture and returns the points (468, 3): across and down in pixels, and the depth. They are NaN where no
    face is seen.

    Raises:
      UserError: no detector is installed.
    """

    def __init__(self) -> None:
        require()
        self._last: Points | None = None

    def __call__(self, picture: Picture) -> Points:
        found = None if self._last is None else _points(picture, *_square(self._last))
        self._last = _first(picture) if found is None else found
        return np.full((POINTS, 3), np.nan) if self._last is None else self._last


def _first(picture: Picture) -> Points | None:
    """The points of a picture of which nothing is known. The second look is level and centred."""
    faces = face_detection.find(picture)
    if not faces:
        return None
    face = max(faces, key=lambda each: each.width)
    left, top, right, bottom = face.box
    (x0, y0), (x1, y1) = face.eyes
    middle = np.asarray([(left + right) / 2, (top + bottom) / 2])
    found = _points(picture, middle, _MARGIN * max(right - left, bottom - top), math.atan2(y1 - y0, x1 - x0))
    return None if found is None else _points(picture, *_square(found))


def _square(points: Points) -> tuple[np.ndarray, float, float]:
    """Middle, side and turn (radians) of the square around a face: its eyes lie level in it."""
    right, left = (points[list(corners), :2].mean(axis=0) for corners in EYES)
    turn = math.atan2(*(left - right)[::-1])
    axes = np.asarray([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    level = points[:, :2] @ axes
    low, high = level.min(axis=0), level.max(axis=0)
    return axes @ ((low + high) / 2), _MARGIN * float((high - low).max()), turn


def _points(picture: Picture, middle: np.ndarray, side: float, turn: float) -> Points | None:
    """What the network says about a square of the picture; None where it sees no face there."""
    scale = side / _SIZE
    axes = scale * np.asarray([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    corner = middle - axes @ (_SIZE / 2, _SIZE / 2)
    shrink = max(1, int(scale))
    image = Image.fromarray(np.ascontiguousarray(picture))
    if shrink > 1:  # a large face: bilinear sampling alone would skip pixels
        image = image.reduce(shrink)
    # Pillow's own half-pixel centres: output (x + 0.5) -> input
    rows = np.concatenate([axes, corner[:, None]], axis=1) / shrink
    seen = image.transform((_SIZE, _SIZE), Image.Transform.AFFINE, tuple(rows.ravel()), Image.Resampling.BILINEAR)
    network = tflite.interpreter(NETWORK)
    network.set_tensor(network.get_input_details()[0]["index"], np.asarray(seen, np.float32)[None] / 255)
    network.invoke()
    outputs = {int(each["shape"].prod()): network.get_tensor(each["index"]) for each in network.get_output_details()}
    if 1 / (1 + math.exp(-float(np.clip(outputs[1].ravel()[0], -80, 80)))) < _LEAST_SCORE:
        return None
    points = outputs[3 * POINTS].reshape(POINTS, 3).astype(np.float64)
    flat = points[:, :2] @ axes.T + corner
    return np.concatenate([flat, scale * points[:, 2:]], axis=1)
