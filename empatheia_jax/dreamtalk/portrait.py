"""Portraits: finding the face, cutting it out as the renderer expects it, resizing.

The renderer was trained on squares around the face: the face rectangle moved up by 10 % of its height, widened by 40 %
on every side. A detector with learned weights would be a heavy dependency; `find_face` looks for a large region of skin
chroma instead, which needs nothing but works only for ordinary frontal portraits. Where it fails, give the rectangle.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from jaxtyping import UInt8
from PIL import Image

from empatheia_jax.errors import UserError

INCREASE = 0.4  # of the face's width and height, on every side
SHIFT_UP = 0.1  # of the face's height
MIN_SIDE = 48  # pixels of the cut-out square below which nothing can be recognised
CROPPED_SHARE = 0.36  # a face at least this high in a square picture: it is cut out already

Box = tuple[int, int, int, int]  # left, top, right, bottom
Picture = UInt8[np.ndarray, "_ _ 3"]  # (height, width, 3); results differ in size from arguments


def widen(box: tuple[float, float, float, float], increase: float, height: int, width: int) -> Box:
    """The face rectangle widened to a square, as the released program does it.

    It is shrunk where its left or top leaves the picture. (The checks of the right and bottom compare the unwidened
    rectangle there, so the square may leave the picture on those sides; see `cut`.)
    """
    left, top, right, bottom = box
    w, h = right - left, bottom - top
    by_width = max(increase, ((1 + 2 * increase) * h - w) / (2 * w))
    by_height = max(increase, ((1 + 2 * increase) * w - h) / (2 * h))
    wide = [
        int(left - by_width * w),
        int(top - by_height * h),
        int(right + by_width * w),
        int(bottom + by_height * h),
    ]
    over_x = max(-min(0, wide[0]), right - min(wide[2], width))
    over_y = max(-min(0, wide[1]), bottom - min(wide[3], height))
    if max(over_x, over_y) > 0:
        over = int(max(over_x, over_y))
        wide = [wide[0] + over, wide[1] + over, wide[2] - over, wide[3] - over]
    return wide[0], wide[1], wide[2], wide[3]


def box_around(face: Box, height: int, width: int) -> Box:
    """The square to cut out around a face rectangle: moved up, kept in the picture, widened."""
    left, top, right, bottom = face
    shift = SHIFT_UP * (bottom - top)
    return widen((left, max(0, top - shift), right, min(height, bottom - shift)), INCREASE, height, width)


def cut(picture: Picture, box: Box, *, squash: bool = False) -> Picture:
    """The pixels of `box`. Where it leaves the picture, the border is repeated, so that the square stays square.

    The released program cuts at the border and squashes the rest into a square; `squash` does the same.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    if squash:
        return picture[max(0, top) : bottom, max(0, left) : right]
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    columns = np.clip(np.arange(left, right), 0, width - 1)
    return picture[rows[:, None], columns[None]]


def resize_bilinear(picture: Picture, height: int, width: int) -> Picture:
    """Bilinear without antialiasing, half-pixel centres, in OpenCV's fixed-point arithmetic for 8-bit pictures."""

    def taps(size: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        center = (np.arange(target) + 0.5) * (size / target) - 0.5
        center = center.astype(np.float32)
        low = np.floor(center).astype(int)
        share = center - low
        share = np.where((low < 0) | (low >= size - 1), np.float32(0), share)
        low = np.clip(low, 0, size - 1)
        high = np.minimum(low + 1, size - 1)
        return low, high, np.rint((1 - share) * 2048).astype(np.int64), np.rint(share * 2048).astype(np.int64)

    left, right, by_left, by_right = taps(picture.shape[1], width)
    above, below, by_above, by_below = taps(picture.shape[0], height)
    wide = picture.astype(np.int64)
    rows = wide[:, left] * by_left[None, :, None] + wide[:, right] * by_right[None, :, None]
    rows >>= 4
    total = (rows[above] * by_above[:, None, None] >> 16) + (rows[below] * by_below[:, None, None] >> 16)
    return np.clip((total + 2) >> 2, 0, 255).astype(np.uint8)


def scale(picture: Picture, size: int) -> Picture:
    """A square of `size` pixels. Pictures more than twice as large are averaged first, which keeps them from flickering."""
    side = min(picture.shape[:2])
    factor = side // size
    if factor >= 2:
        picture = np.asarray(Image.fromarray(np.ascontiguousarray(picture)).reduce(factor))
    return picture if picture.shape[:2] == (size, size) else resize_bilinear(picture, size, size)


def find_face(picture: Picture) -> Box | None:
    """Rectangle of the largest frontal face, or None.

    A heuristic: pixels of skin chroma (Cb 77 … 127, Cr 133 … 173; Chai & Ngan 1999, nearly the same for light and dark
    skin), their largest connected region, and tests of its size, shape and filling. The rectangle follows from the region's top
    and width by a face's proportions. Long hair or a wall of the colour of skin misleads it.
    """
    height, width = picture.shape[:2]
    shrink = max(1, min(height, width) // 128)
    small = np.asarray(Image.fromarray(np.ascontiguousarray(picture)).reduce(shrink)).astype(np.float32)
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    cb = 128 - 0.168736 * red - 0.331264 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.418688 * green - 0.081312 * blue
    skin = (cb >= 77) & (cb <= 127) & (cr >= 133) & (cr <= 173) & (small.max(axis=-1) > 40)
    skin = scipy.ndimage.binary_opening(skin, iterations=2)
    regions, count = scipy.ndimage.label(skin)
    if not count:
        return None
    sizes = np.bincount(regions.reshape(-1))[1:]
    region = regions == 1 + int(sizes.argmax())
    filled = scipy.ndimage.binary_fill_holes(region)
    total = region.size
    if filled.sum() < 0.03 * total or region.sum() > 0.9 * total:
        return None  # a speck, or a picture of one colour
    widths = filled.sum(axis=1)
    rows = np.flatnonzero(widths > 0.3 * widths.max())
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    head = slice(top, min(bottom, int(top + 1.2 * np.median(widths[rows]))))  # hair, neck and clothes may lie below
    face_width = float(np.percentile(widths[head], 60))
    if face_width < 8 or bottom - top < 0.6 * face_width:
        return None
    middle = np.flatnonzero(filled[head].mean(axis=0) > 0.3).mean()
    left, right = max(0, int(middle - 0.46 * face_width)), min(small.shape[1], int(middle + 0.46 * face_width))
    # from the hairline to the brows, and a face as high as wide: the proportions of a frontal face detector's rectangle
    brow = min(top + int(0.22 * face_width), small.shape[0] - 1)
    chin = min(brow + int(0.92 * face_width), small.shape[0])
    if filled[top:chin, left:right].mean() < 0.5:
        return None
    # eyes, brows, nostrils and lips break a face's even colour; a wall or a table top has nothing of the kind
    luma = small.mean(axis=-1)[brow:chin, left:right]
    if luma.std() < 6.0:
        return None
    return left * shrink, brow * shrink, right * shrink, chin * shrink


def prepare(picture: Picture, size: int, *, face: Box | None = None, crop: bool = True) -> Picture:
    """A portrait of any size → the renderer's square of `size` pixels.

    Args:
        face: the face's rectangle (left, top, right, bottom); None looks for it.
        crop: False takes the picture as it is (cut out already); it must then be about square.

    Raises:
        UserError: no face is found, the rectangle is not inside the picture, or too few pixels are left.
    """
    height, width = picture.shape[:2]
    least = MIN_SIDE if crop else min(MIN_SIDE, size)
    if min(height, width) < least:
        raise UserError(f"a portrait of {width} x {height} pixels; expected at least {least} a side")
    if not crop:
        if abs(height - width) > 0.02 * max(height, width):
            raise UserError(
                f"a portrait of {width} x {height} pixels is not square; let it be cropped, or crop it yourself"
            )
        return scale(picture, size)
    if face is None:
        face = find_face(picture)
        if face is None:
            raise UserError(
                f"no face was found in the portrait ({width} x {height} pixels); "
                "give its rectangle (--face=left,top,right,bottom) or a picture cut out already (--no-crop)"
            )
        if height == width and face[3] - face[1] >= CROPPED_SHARE * height:
            return scale(picture, size)
    left, top, right, bottom = face
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UserError(f"face rectangle {face} does not lie in a picture of {width} x {height} pixels")
    box = box_around(face, height, width)
    if min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
        raise UserError(f"the face is only {right - left} x {bottom - top} pixels; expected a larger one")
    return scale(cut(picture, box), size)
