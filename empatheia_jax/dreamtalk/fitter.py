"""From the points of a face to the coefficients that the talking head moves by: 64 of expression and 9 of pose.

The basis of Deep3DFaceRecon's expressions belongs to the Basel Face Model, which may not be given on. A `Fitter` is therefore
learned from films with known coefficients (`learn`): it is a linear map, by ridge regression.

    expression   points, turned and scaled onto a mean face (Procrustes), → 64. People's faces differ more than their expressions
                 do, so the map is learned on differences from each person's mean face. `absolute` puts a person's mean
                 expression in the place where the mean of the learned persons was.
    pose         how the head is turned, where it is and how large, and the five points that Deep3DFaceRecon cuts its picture
                 out by → 9.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from jaxtyping import Float
from safetensors import SafetensorError

from empatheia_jax.dreamtalk.motion import EXPRESSION, POSE
from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular, write_bytes
from empatheia_jax.media.face_landmarks import EYES, POINTS

RIDGE = 0.01
"""Strength of the regression's penalty, in mean squares of its inputs."""
FRAME = 256.0
"""Pixels of the square that pose is told in."""
MOST_LOST = 0.2
"""Share of a film's frames in which no face may be seen; they are filled in from their neighbours."""
MOST_FOLDS = 16
_NOSE, _MOUTH = 1, (61, 291)
_POSE_INPUTS = 18
_MAKE = "make it by: python -m data_pipeline.fit_motion learn CLIPS --output=FILE"

Track = Float[np.ndarray, "frames 468 3"]


@dataclasses.dataclass(frozen=True)
class Example:
    """A film whose coefficients are known.

    points      of its frames, in pixels
    size        height and width of the film
    expression, pose   as many rows as points
    """

    name: str
    person: str
    points: Track
    size: tuple[int, int]
    expression: Float[np.ndarray, "frames 64"]
    pose: Float[np.ndarray, "frames 9"]


@dataclasses.dataclass(frozen=True)
class Fitter:
    """A learned map.

    face        mean face, centred, of mean square 1
    place       of a face in the square of DreamTalk: middle (across, down) and half the side of its box, in sides of the square
    """

    face: Float[np.ndarray, "468 3"]
    place: Float[np.ndarray, " 3"]
    expression: Float[np.ndarray, "1404 64"]
    expression_mean: Float[np.ndarray, " 64"]
    pose: Float[np.ndarray, "18 9"]
    pose_mean: Float[np.ndarray, " 9"]

    def relative(self, points: Track) -> Float[np.ndarray, "frames 64"]:
        """Expression up to a constant of the person; see `absolute`."""
        return (_shapes(points, self.face)[0] @ self.expression).astype(np.float32)

    def absolute(
        self, relative: Float[np.ndarray, "frames 64"], person: Float[np.ndarray, " 64"]
    ) -> Float[np.ndarray, "frames 64"]:
        """Expression from `relative`, given the mean of `relative` over all films of the person."""
        return (relative - person + self.expression_mean).astype(np.float32)

    def pose_of(self, points: Track, size: tuple[int, int]) -> Float[np.ndarray, "frames 9"]:
        """Angles, translation and crop of a film of this height and width."""
        inputs = _pose_inputs(_in_square(points, size, self.place), self.face)
        return (inputs @ self.pose + self.pose_mean).astype(np.float32)

    def save(self, path: str | Path) -> None:
        """Writes a `.safetensors` file."""
        write_bytes(path, safetensors.numpy.save(dataclasses.asdict(self)))

    @property
    def fingerprint(self) -> str:
        """Tells maps apart."""
        parts = b"".join(np.ascontiguousarray(getattr(self, each.name)).tobytes() for each in dataclasses.fields(self))
        return hashlib.sha256(parts).hexdigest()[:16]


SHAPES = {
    "face": (POINTS, 3),
    "place": (3,),
    "expression": (3 * POINTS, EXPRESSION),
    "expression_mean": (EXPRESSION,),
    "pose": (_POSE_INPUTS, POSE),
    "pose_mean": (POSE,),
}


def load(path: str | Path) -> Fitter:
    """A map that `Fitter.save` wrote. Raises `UserError` for any other file."""
    require_regular(path, "a map of faces (.safetensors)")
    try:
        found = safetensors.numpy.load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); expected a map of faces; {_MAKE}") from None
    wrong = [name for name, shape in SHAPES.items() if name not in found or found[name].shape != shape]
    if wrong or not all(np.isfinite(found[name]).all() for name in SHAPES):
        what = f"without {', '.join(wrong)}" if wrong else "with NaN or infinite values"
        raise UserError(f"{path} is a file {what}; expected a map of faces; {_MAKE}")
    return Fitter(**{name: found[name].astype(np.float32) for name in SHAPES})


def filled(points: Track, name: str) -> Track:
    """A track without gaps: frames in which no face was seen are interpolated.

    Raises:
      UserError: there are too many of them (`MOST_LOST`).
    """
    seen = np.isfinite(points).all(axis=(1, 2))
    if lost := int((~seen).sum()):
        if lost > MOST_LOST * len(points):
            raise UserError(f"no face is seen in {lost} of {len(points)} frames of {name}; expected one in every frame")
        known = np.flatnonzero(seen)
        times = np.interp(np.arange(len(points)), known, np.arange(len(known)))
        low, share = np.floor(times).astype(int), times - np.floor(times)
        high = np.minimum(low + 1, len(known) - 1)
        found = points[known]
        points = found[low] * (1 - share)[:, None, None] + found[high] * share[:, None, None]
    return points


def learn(examples: Sequence[Example]) -> Fitter:
    """The map that makes the coefficients of the examples from their points."""
    place = _mean_place(examples)
    face = _mean_face([each.points[::5] for each in examples])
    return _learned(examples, face, place, [_Sums.of(each, face, place) for each in examples])


def correlations(
    examples: Sequence[Example],
) -> dict[str, tuple[Float[np.ndarray, " 64"], Float[np.ndarray, " 9"]]]:
    """How well coefficients are found in films that were left out of the learning: expression (64) and pose (9).

    Keys: "clips" (other films of the same people are known) and "persons" (no film of the person is), where there are enough.
    A number is the correlation over all frames of a person, the mean over persons.
    """
    place = _mean_place(examples)
    face = _mean_face([each.points[::5] for each in examples])
    sums = [_Sums.of(each, face, place) for each in examples]
    persons = sorted({each.person for each in examples})
    clips = [each.person for each in examples]
    folds = {"clips": _folds(range(len(examples)))} if len(examples) > len(persons) else {}
    if len(persons) > 1:
        folds["persons"] = [[n for n, who in enumerate(clips) if who in group] for group in _folds(persons)]
    found = {}
    for name, groups in folds.items():
        made: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for group in groups:
            kept = [n for n in range(len(examples)) if n not in group]
            fitter = _learned([examples[n] for n in kept], face, place, [sums[n] for n in kept])
            for n in group:
                each = examples[n]
                known = np.mean([sums[m].mean_shape for m, who in enumerate(clips) if who == each.person], axis=0)
                expression = fitter.relative(each.points) - known @ fitter.expression
                made[n] = expression, fitter.pose_of(each.points, each.size)
        rows = []
        for person in persons:
            mine = [n for n, who in enumerate(clips) if who == person]
            truth = [np.concatenate([getattr(examples[n], what) for n in mine]) for what in ("expression", "pose")]
            rows.append([_correlation(np.concatenate([made[n][k] for n in mine]), truth[k]) for k in (0, 1)])
        found[name] = (np.mean([row[0] for row in rows], axis=0), np.mean([row[1] for row in rows], axis=0))
    return found


def _folds(items: Sequence) -> list[list]:
    count = min(len(items), MOST_FOLDS)
    return [[item for n, item in enumerate(items) if n % count == k] for k in range(count)]


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    both = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    return (one * other).sum(axis=0) / np.maximum(both, 1e-12)


@dataclasses.dataclass(frozen=True)
class _Sums:
    """What the regressions need of a film: number of frames, sums, and products of inputs x and results y."""

    frames: int
    expression: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # Σx, Σy, Σxxᵀ, Σxyᵀ
    pose: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

    @property
    def mean_shape(self) -> np.ndarray:
        """The film's mean difference from the mean face."""
        return self.expression[0] / self.frames

    @classmethod
    def of(cls, example: Example, face: np.ndarray, place: np.ndarray) -> _Sums:
        shapes = _shapes(example.points, face)[0]
        inputs = _pose_inputs(_in_square(example.points, example.size, place), face)
        pairs = (shapes, example.expression), (inputs, example.pose)
        expression, pose = ((x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y) for x, y in pairs)
        return cls(len(shapes), expression, pose)


def _learned(examples: Sequence[Example], face: np.ndarray, place: np.ndarray, sums: Sequence[_Sums]) -> Fitter:
    frames = sum(each.frames for each in sums)
    inputs = 3 * POINTS
    square, product, means = np.zeros((inputs, inputs)), np.zeros((inputs, EXPRESSION)), []
    for person in sorted({each.person for each in examples}):
        mine = [each for example, each in zip(examples, sums) if example.person == person]
        count = sum(each.frames for each in mine)
        x, y, xx, xy = (sum((each.expression[k] for each in mine), np.zeros(())) for k in range(4))
        square, product = square + xx - np.outer(x, x) / count, product + xy - np.outer(x, y) / count
        means.append(y / count)
    x, y, xx, xy = (sum((each.pose[k] for each in sums), np.zeros(())) for k in range(4))
    pose = _ridge(xx - np.outer(x, x) / frames, xy - np.outer(x, y) / frames, frames, per_input=True)
    made = {
        "face": face,
        "place": place,
        "expression": _ridge(square, product, frames),
        "expression_mean": np.mean(means, axis=0),
        "pose": pose,
        "pose_mean": y / frames - x / frames @ pose,
    }
    return Fitter(**{name: np.asarray(array, np.float32) for name, array in made.items()})


def _ridge(square: np.ndarray, product: np.ndarray, frames: int, *, per_input: bool = False) -> np.ndarray:
    """Weights from Σxxᵀ and Σxyᵀ of centred x and y. `per_input`: inputs of different units are scaled first."""
    scale = np.sqrt(np.maximum(np.diag(square), 1e-12)) if per_input else np.ones(len(square))
    square = square / np.outer(scale, scale)
    penalty = RIDGE * max(np.trace(square) / frames, 1e-12)
    return np.linalg.solve(square + penalty * np.eye(len(square)), product / scale[:, None]) / scale[:, None]


def _mean_face(tracks: Sequence[Track], rounds: int = 4) -> np.ndarray:
    """Generalised Procrustes analysis: the mean of all faces, each turned and scaled onto it."""
    points = np.concatenate(tracks)
    face = _unit(points[0])
    for _ in range(rounds):
        face = _unit(_shapes(points, face)[0].mean(axis=0).reshape(POINTS, 3) + face)
    return face


def _unit(face: np.ndarray) -> np.ndarray:
    face = face - face.mean(axis=0)
    return face / np.sqrt((face**2).mean())


def _shapes(points: Track, face: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Faces on the mean face (Umeyama, 1991): differences from it (frames, 1404), and rotations, scales and middles."""
    middle = points.mean(axis=1)
    centred = points - middle[:, None]
    left, _, right = np.linalg.svd(np.einsum("fnc,nd->fcd", centred, face))
    turn = np.ones((len(points), 3))
    turn[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * turn[:, None]) @ right
    turned = centred @ rotation
    scale = (turned * face).sum(axis=(1, 2)) / (turned**2).sum(axis=(1, 2))
    shapes = scale[:, None, None] * turned - face
    return shapes.reshape(len(points), -1), rotation, scale, middle


def _box(points: Track) -> np.ndarray:
    """Middle (across, down) and half the side of the square around the faces of a film: its median."""
    low, high = points[..., :2].min(axis=1), points[..., :2].max(axis=1)
    boxes = np.concatenate([(low + high) / 2, (high - low).max(axis=1, keepdims=True) / 2], axis=1)
    return np.median(boxes, axis=0)


def _mean_place(examples: Sequence[Example]) -> np.ndarray:
    """Where faces are in the square films; in the middle of those that are not square."""
    square = [_box(each.points) / each.size[0] for each in examples if each.size[0] == each.size[1]]
    return np.mean(square, axis=0) if square else np.asarray([0.5, 0.55, 0.33])


def _in_square(points: Track, size: tuple[int, int], place: np.ndarray) -> Track:
    """Points in the square of DreamTalk. A square film is it already; another is cut so that the face lies at `place`."""
    height, width = size
    if height == width:
        return points * (FRAME / width)
    across, down, half = _box(points)
    scale = FRAME * place[2] / half
    corner = np.asarray([across, down, 0.0]) - np.asarray([place[0], place[1], 0.0]) * FRAME / scale
    return scale * (points - corner)


def _pose_inputs(points: Track, face: np.ndarray) -> Float[np.ndarray, "frames 18"]:
    """What pose follows from, for points in the square of DreamTalk."""
    _, rotation, scale, middle = _shapes(points, face)
    corners = [points[:, list(each), :2].mean(axis=1) for each in EYES]
    five = np.stack([*corners, points[:, _NOSE, :2], *(points[:, each, :2] for each in _MOUTH)], axis=1)
    centre = five.mean(axis=1)
    spread = np.sqrt(((five - centre[:, None]) ** 2).sum(axis=(1, 2)))
    return np.concatenate(
        [
            rotation[:, [0, 0, 1], [1, 2, 2]],
            np.stack([np.log(scale), 1 / spread], axis=1),
            centre,
            middle[:, :2],
            ((five - centre[:, None]) / spread[:, None, None]).reshape(len(points), 10)[:, :9],
        ],
        axis=1,
    )
