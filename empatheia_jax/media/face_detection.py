"""Faces in a picture, with eyes, nose and mouth: BlazeFace (Bazarevsky et al., 2019), run by LiteRT.

It has two networks: one for near faces, one for far ones. Their packages are optional (`require`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from empatheia_jax.errors import UserError
from empatheia_jax.media import tflite

LEAST_SCORE = 0.5
OVERLAP = 0.3
"""Intersection over union above which two findings are one face."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """A face in pixels of its picture. `box`: left, top, right, bottom, from the brows to the chin. `eyes`: the picture's left
    one first. `score`: 0 to 1.
    """

    box: tuple[float, float, float, float]
    eyes: tuple[Point, Point]
    nose: Point
    mouth: Point
    score: float

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]


@dataclass(frozen=True)
class _Network:
    """A file of the package, and the grids of its anchors: (cells a side, anchors in a cell)."""

    file: str
    size: int
    grids: tuple[tuple[int, int], ...]


NETWORKS = (
    _Network("modules/face_detection/face_detection_short_range.tflite", 128, ((16, 2), (8, 6))),
    _Network("modules/face_detection/face_detection_full_range_sparse.tflite", 192, ((48, 1),)),
)


def is_installed() -> bool:
    """Whether faces can be found: the runtime and the networks are there."""
    return tflite.has(*(each.file for each in NETWORKS))


def require() -> None:
    """Raises `UserError` in one line where `is_installed` is false."""
    if not is_installed():
        raise UserError(f"no face detector is installed; run: {tflite.INSTALL}")


@functools.cache
def _anchors(network: _Network) -> Float[np.ndarray, "n 2"]:
    """Centres of the anchors, in shares of the network's picture."""
    rows = []
    for cells, count in network.grids:
        middle = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(middle, middle, indexing="ij")
        rows.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=-1), count, axis=0))
    return np.concatenate(rows)


def find(picture: UInt8[np.ndarray, "height width 3"]) -> list[Face]:
    """The faces of a picture, the surest first.

    Raises:
      UserError: no detector is installed.
    """
    found = [face for network in NETWORKS for face in _run(network, picture)]
    kept: list[Face] = []
    for face in sorted(found, key=lambda each: -each.score):
        if all(_overlap(face.box, other.box) < OVERLAP for other in kept):
            kept.append(face)
    return kept


def _run(network: _Network, picture: np.ndarray) -> Iterator[Face]:
    height, width = picture.shape[:2]
    longest, size = max(height, width), network.size
    scale = size / longest
    wide, tall = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(np.ascontiguousarray(picture)).resize((wide, tall), Image.Resampling.BILINEAR)
    square = np.full((size, size, 3), 127.5, np.float32)
    left, top = (size - wide) // 2, (size - tall) // 2
    square[top : top + tall, left : left + wide] = np.asarray(small)
    require()
    interpreter = tflite.interpreter(network.file)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], square[None] / 127.5 - 1.0)
    interpreter.invoke()
    outputs = {
        detail["shape"][-1]: interpreter.get_tensor(detail["index"])[0] for detail in interpreter.get_output_details()
    }
    scores = 1.0 / (1.0 + np.exp(-np.clip(outputs[1][:, 0], -80.0, 80.0)))
    for index in np.flatnonzero(scores >= LEAST_SCORE):
        values = outputs[16][index] / size
        points = values.reshape(8, 2)
        points[[0, *range(2, 8)]] += _anchors(network)[index]  # all but the box's width and height
        pixels = (points * size - (left, top)) / scale
        (x, y), (w, h) = pixels[0], points[1] * size / scale
        eyes = sorted(((float(a), float(b)) for a, b in pixels[2:4]))
        yield Face(
            (float(x - w / 2), float(y - h / 2), float(x + w / 2), float(y + h / 2)),
            (eyes[0], eyes[1]),
            _point(pixels[4]),
            _point(pixels[5]),
            float(scores[index]),
        )


def _point(pair: np.ndarray) -> Point:
    return float(pair[0]), float(pair[1])


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes; 1 where one lies in the other for the greater part."""
    left, top, right, bottom = (f(a, b) for f, a, b in zip((max, max, min, min), one, other))
    common = max(0.0, right - left) * max(0.0, bottom - top)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return max(common / (sum(areas) - common), float(common > 0.6 * min(areas)))
