"""From a photograph to the portrait that a renderer expects: found by a face detector, judged, cut out.

The released renderer takes a square around the face (`portrait.box_around`). The renderer of the drawn face has only seen faces
whose eyes and mouth lie at one place, so a photograph is laid over that place: turned, scaled in both directions and moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from empatheia_jax.dreamtalk import portrait
from empatheia_jax.dreamtalk.drawn_face import layout
from empatheia_jax.errors import UserError
from empatheia_jax.media import face_detection
from empatheia_jax.media.face_detection import Face

LEAST_WIDTH = 48
"""Pixels between which a face shows nothing worth moving."""
RIVAL = 0.5
"""A second face counts from this share of the largest one's width on; smaller ones are of the background."""
TURNED = 0.35
"""How far the nose may lie from the middle of the eyes, in distances between them."""

# A rectangle of the detector that the released program used, from one of BlazeFace: between the two published crops (0.83, 0.99).
_SHARE, _UP = 0.90, 0.05

# Where eyes and mouth of the drawn portraits lie, in shares of the picture: means over the 24 profiles, found by the detector.
_EYES_APART, _EYES_DOWN, _MOUTH_DOWN, _MIDDLE = 0.208, 0.508, 0.715, 0.499
_STRETCH = 1.25
"""How far a photograph's height may be stretched against its width."""
CALM = 0.6
"""Share of a motion of the drawn face that a photograph is moved by: more of it tears a real mouth."""
CALM_MOUTH = {
    "jaw_open": 0.5,
    "lips_stretch": 0.3,
    "lips_round": 0.25,
    "lower_lip_drop": 0.35,
    "tongue": 0.0,
}
"""The share that is kept of actions that distort a real mouth: a narrowed mouth becomes a V, a dropped lip too long."""

Picture = UInt8[np.ndarray, "_ _ 3"]  # (height, width, 3); results differ in size from arguments


def judged(picture: Picture, name: str = "the picture") -> Face:
    """The one face of a photograph.

    Raises:
      UserError: no detector is installed, there is no face or more than one, or it is too small or turned to the side.
    """
    height, width = picture.shape[:2]
    faces = face_detection.find(picture)
    if not faces:
        raise UserError(
            f"no face was found in {name} ({width} x {height} pixels); expected one person, seen from the front"
        )
    largest = max(faces, key=lambda face: face.width)
    rivals = [face for face in faces if face.width >= RIVAL * largest.width]
    if len(rivals) > 1:
        raise UserError(f"{len(rivals)} faces were found in {name}; expected one; cut the picture around one person")
    if largest.width < LEAST_WIDTH:
        raise UserError(
            f"the face in {name} is {largest.width:.0f} pixels wide; expected at least {LEAST_WIDTH}; take a larger picture"
        )
    (left, _), (right, _) = largest.eyes
    if abs(largest.nose[0] - (left + right) / 2) > TURNED * max(right - left, 1e-6):
        raise UserError(f"the face in {name} is turned to the side; expected a person who looks at the camera")
    return largest


def cut_out(picture: Picture, face: Face, size: int) -> Picture:
    """The square that the released renderer takes; a picture that is cut out already is scaled only."""
    height, width = picture.shape[:2]
    rectangle = _rectangle(face, height, width)
    if height == width and rectangle[3] - rectangle[1] >= portrait.CROPPED_SHARE * height:
        return portrait.scale(picture, size)
    return portrait.prepare(picture, size, face=rectangle)


def prepare(picture: Picture, size: int, name: str = "the picture") -> Picture:
    """`cut_out` around the face that a detector finds, or, where none is installed, that `portrait.find_face` guesses.

    Raises:
      UserError: see `judged` and `portrait.prepare`.
    """
    if face_detection.is_installed():
        return cut_out(picture, judged(picture, name), size)
    return portrait.prepare(picture, size)


def _rectangle(face: Face, height: int, width: int) -> portrait.Box:
    left, top, right, bottom = face.box
    x, y = (left + right) / 2, (top + bottom) / 2 - _UP * (bottom - top)
    half = _SHARE / 2 * face.width
    return max(0, round(x - half)), max(0, round(y - half)), min(width, round(x + half)), min(height, round(y + half))


@dataclass(frozen=True)
class Overlaid:
    """A photograph laid over the place of a drawn face.

    picture   (size, size, 3); beyond the photograph's edge its border is repeated
    part      left, top and side of the square of `picture` that is photograph, in pixels
    """

    picture: Picture
    part: tuple[int, int, int]

    def show(self, frames: UInt8[np.ndarray, "n size size 3"]) -> UInt8[np.ndarray, "n size size 3"]:
        """Frames with that square alone, scaled to their size."""
        left, top, side = self.part
        size = frames.shape[1]
        if side == size:
            return frames
        cut = frames[:, top : top + side, left : left + side]
        return np.stack([portrait.resize_bilinear(np.ascontiguousarray(each), size, size) for each in cut])


def overlay(picture: Picture, face: Face, size: int) -> Overlaid:
    """Lays a photograph over the place where the drawn faces have theirs."""
    left, right, mouth = (np.asarray(point) for point in (*face.eyes, face.mouth))
    apart = float(np.hypot(*(right - left)))
    across = (right - left) / apart
    down = np.asarray([-across[1], across[0]])
    middle = (left + right) / 2
    wide = apart / _EYES_APART  # pixels of the photograph over the whole width
    tall = float(np.clip((mouth - middle) @ down / (_MOUTH_DOWN - _EYES_DOWN), wide / _STRETCH, wide * _STRETCH))
    middle = middle + across * ((mouth - middle) @ across) / 2
    axes = np.stack([across * wide, down * tall], axis=1)
    corner = middle - axes @ (_MIDDLE, _EYES_DOWN)
    return Overlaid(_transformed(picture, axes, corner, size), _inside(picture, axes, corner, size))


def _transformed(
    picture: Picture, axes: Float[np.ndarray, "2 2"], corner: Float[np.ndarray, " 2"], size: int
) -> Picture:
    factor = max(1, round(float(np.abs(axes).max()) / size))
    fine = (np.arange(size * factor) + 0.5) / (size * factor)
    height, width = picture.shape[:2]
    result = np.empty((size, size, 3), np.uint8)
    for row in range(size):  # one at a time: a fine grid of the whole would take gigabytes for a large photograph
        u, v = np.meshgrid(fine, fine[row * factor : (row + 1) * factor])
        x, y = (axes[k, 0] * u + axes[k, 1] * v + corner[k] for k in (0, 1))
        columns, rows = (np.clip(np.floor(each), 0, limit - 1).astype(int) for each, limit in ((x, width), (y, height)))
        result[row] = np.asarray(Image.fromarray(picture[rows, columns]).resize((size, 1), Image.Resampling.BOX))
    return result


def _inside(picture: Picture, axes: np.ndarray, corner: np.ndarray, size: int) -> tuple[int, int, int]:
    """The largest square around the face's middle that the photograph fills; at least the face itself."""
    height, width = picture.shape[:2]
    corners = np.asarray([(0, 0), (width, 0), (0, height), (width, height)], float)
    places = np.linalg.solve(axes, (corners - corner).T).T  # top left, top right, bottom left, bottom right
    left, right = max(places[0, 0], places[2, 0], 0.0), min(places[1, 0], places[3, 0], 1.0)
    top, bottom = max(places[0, 1], places[1, 1], 0.0), min(places[2, 1], places[3, 1], 1.0)
    side = max(min(right - left, bottom - top), 0.55)
    x = np.clip(_MIDDLE - side / 2, min(left, right - side), max(left, right - side))
    y = np.clip(0.56 - side / 2, min(top, bottom - side), max(top, bottom - side))
    pixels = min(size, round(side * size))
    return (*(int(np.clip(round(each * size), 0, size - pixels)) for each in (x, y)), pixels)


def calmed(moves: Float[np.ndarray, "frames 73"]) -> Float[np.ndarray, "frames 73"]:
    """A motion of the drawn face as a photograph bears it: expressions weaker (`CALM`, `CALM_MOUTH`), pose as it is."""
    shares = np.ones(layout.MOTION, np.float32)
    shares[: layout.EXPRESSION] = CALM
    for action, share in CALM_MOUTH.items():
        shares[layout.ACTIONS[action]] = share
    return np.asarray(moves, np.float32) * shares


def is_drawn(rest_pose: tuple[float, ...]) -> bool:
    """Whether weights with this pose at rest move by the drawn face's coefficients (`drawn_face.layout`)."""
    return tuple(rest_pose) == layout.NEUTRAL_POSE
