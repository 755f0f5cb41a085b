"""Motion files and their columns: 64 expression coefficients and 9 of pose per frame at 25 fps.

Sources are the 3DMM tracks of Deep3DFaceRecon (`.mat` with `coeff` (N, 257) and `transform_params` (N, 5)): columns
80:144 expression, 224:227 angles, 254:257 translation; the last three of `transform_params` are the crop (scale, x, y).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Bool, Float

from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing
from empatheia_jax.media import arrays

FRAMES_PER_SECOND = 25
COEFFICIENTS, EXPRESSION, POSE = 257, 64, 9
EXPRESSION_COLUMNS = slice(80, 144)
ANGLE_COLUMNS = slice(224, 227)
TRANSLATION_COLUMNS = slice(254, 257)
REST_POSE = np.asarray([0, 0, 0, 0, 0, 0, 0.9370641, 126.84911, 129.03864], np.float32)  # the released still pose


def read_mat(path: str | Path) -> tuple[Float[np.ndarray, "N 257"], Float[np.ndarray, "N 5"]]:
    """`coeff` and `transform_params` of a 3DMM track.

    Raises:
        UserError: no such file, not a MATLAB file, a broken one, or one without these arrays.
    """
    path = Path(path)
    content = arrays.read_mat(path, "a 3DMM track in a MATLAB file (.mat)")
    for name, width in (("coeff", COEFFICIENTS), ("transform_params", 5)):
        array = content.get(name)
        if array is None:
            raise UserError(
                f"{path} has no {name!r} (it has {sorted(content)[:8]}); expected a 3DMM track of Deep3DFaceRecon"
            )
        if array.ndim != 2 or array.shape[1] != width or array.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name!r} is {array.dtype} {array.shape}; expected numbers (frames, {width})")
    coefficients, transform = content["coeff"], content["transform_params"]
    if len(coefficients) != len(transform):
        raise UserError(
            f"{path}: {len(coefficients)} rows of coeff and {len(transform)} of transform_params; expected as many"
        )
    _check(coefficients, path)
    _check(transform, path)
    return coefficients.astype(np.float32), transform.astype(np.float32)


def write_mat(path: str | Path, expression: Float[np.ndarray, "N 64"], pose: Float[np.ndarray, "N 9"]) -> None:
    """A track that `read_mat` reads: identity, texture and lighting are zero, and the picture is 256 pixels a side."""
    coefficients = np.zeros((len(expression), COEFFICIENTS), np.float32)
    coefficients[:, EXPRESSION_COLUMNS] = expression
    coefficients[:, ANGLE_COLUMNS], coefficients[:, TRANSLATION_COLUMNS] = pose[:, :3], pose[:, 3:6]
    transform = np.concatenate([np.full((len(pose), 2), 256.0), pose[:, 6:]], axis=1).astype(np.float32)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        scipy.io.savemat(file, {"coeff": coefficients, "transform_params": transform}, do_compression=True)


def expression_of(coefficients: Float[np.ndarray, "N 257"]) -> Float[np.ndarray, "N 64"]:
    """The expression columns."""
    return coefficients[:, EXPRESSION_COLUMNS]


def pose_of(coefficients: Float[np.ndarray, "N 257"], transform: Float[np.ndarray, "N 5"]) -> Float[np.ndarray, "N 9"]:
    """Angles, translation and crop."""
    return np.concatenate(
        [coefficients[:, ANGLE_COLUMNS], coefficients[:, TRANSLATION_COLUMNS], transform[:, -3:]], axis=1
    )


def read_expression(path: str | Path, width: int = EXPRESSION) -> Float[np.ndarray, "N C"]:
    """Expression of a clip: a `.mat` track, a `.txt` table, or a `.npy` or `.npz` array of `width`, 73 or 257 columns.

    Raises:
        UserError: what `read_mat` and `read_array` refuse, or another number of columns.
    """
    path = Path(path)
    if path.suffix.lower() == ".mat":
        return expression_of(read_mat(path)[0])
    array = read_array(path)
    if array.shape[1] == COEFFICIENTS:
        return expression_of(array)
    if array.shape[1] not in (width, width + POSE):
        raise UserError(f"{path} has {array.shape[1]} columns; expected {width}, {width + POSE} or {COEFFICIENTS}")
    return array[:, :width]


def read_pose(path: str | Path) -> Float[np.ndarray, "N 9"]:
    """Pose of a clip: a `.mat` track, or an array whose last 9 columns are it (9 or 73 in all)."""
    path = Path(path)
    if path.suffix.lower() == ".mat":
        pose = pose_of(*read_mat(path))
    else:
        array = read_array(path)
        if array.shape[1] not in (POSE, EXPRESSION + POSE):
            raise UserError(f"{path} has {array.shape[1]} columns; expected {POSE} or {EXPRESSION + POSE}")
        pose = array[:, -POSE:]
    if not len(pose):
        raise UserError(f"{path} has no frames; expected at least one pose")
    return pose


def read_array(path: str | Path) -> Float[np.ndarray, "N C"]:
    """A two-dimensional `.npy`, `.npz` (its only array) or `.txt` table of finite numbers as float32; refuses else."""
    array = arrays.read_array(path, "a table of numbers (.mat, .npy, .npz or .txt)")
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise UserError(f"{path} holds no table of numbers; expected (frames, coefficients)")
    _check(array, path)
    return array.astype(np.float32)


def style_clip(
    expression: Float[np.ndarray, "N C"], max_len: int, start: int | str = 0
) -> tuple[Float[np.ndarray, "max_len C"], Bool[np.ndarray, " max_len"], int]:
    """A clip cut or zero-padded to `max_len` frames, its padding mask (True = padding) and its first frame.

    `start` is the first frame of a longer clip, or "middle".

    Raises:
        UserError: the clip is empty, or holds NaN or infinite values.
    """
    length = len(expression)
    if length == 0:
        raise UserError("the style clip has no frames; expected at least one")
    _check(expression, "the style clip")
    if length < max_len:
        padded = np.zeros((max_len, expression.shape[1]), expression.dtype)
        padded[:length] = expression
        return padded, np.arange(max_len) >= length, 0
    begin = (length - max_len + 1) // 2 if start == "middle" else int(start)
    if not 0 <= begin <= length - max_len:
        raise UserError(f"a style clip of {max_len} frames from {begin} does not fit into {length} frames")
    return expression[begin : begin + max_len], np.zeros(max_len, bool), begin


def hold_pose(pose: Float[np.ndarray, "N 9"], frames: int) -> Float[np.ndarray, "frames 9"]:
    """The first `frames` poses; the last one is held where the clip is shorter (there the released program crashes)."""
    return pose[np.minimum(np.arange(frames), len(pose) - 1)]


def with_pose(
    expression: Float[np.ndarray, "N C"], pose: Float[np.ndarray, "M 9"] | None = None
) -> Float[np.ndarray, "N motion"]:
    """Motion for the renderer: expression, then pose (the still one by default)."""
    pose = REST_POSE[None] if pose is None else pose
    return np.concatenate([expression, hold_pose(pose, len(expression))], axis=1).astype(np.float32)


def _check(array: np.ndarray, where: object) -> None:
    if not np.isfinite(array).all():
        raise UserError(
            f"{where} holds {int((~np.isfinite(array)).sum())} NaN or infinite values; expected finite ones"
        )
