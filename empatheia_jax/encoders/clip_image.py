"""CLIP's image preprocessing: antialiased bicubic resize, centre crop, normalisation.

The resize gives the same bytes as Pillow's, which the released models were trained with: two passes (across, then down)
over 8-bit values with fixed-point weights, each pass rounded and clipped to 8 bits. A pass is a sparse matrix product over
a strip of the image, so that the memory it takes does not grow with the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, UInt8

from empatheia_jax.encoders.source_config import read_fields
from empatheia_jax.errors import UserError

BICUBIC = 3  # Pillow's number of the filter, as `preprocessor_config.json` gives it
_SUPPORT = 2.0
_A = -0.5  # Keys' parameter (1981), as Pillow has it
_FIXED_POINT_BITS = 32 - 8 - 2
_STRIP = 2**20  # values that are resized at once


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = ((_A + 2.0) * x - (_A + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * _A
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


@lru_cache(maxsize=16)
def _weights(source: int, target: int, start: int, stop: int) -> scipy.sparse.csr_array:
    """Fixed-point weights of one pass, rows `start` to `stop` of (target, source).

    A window is widened by the factor of a reduction.
    """
    scale = source / target
    stretch = max(scale, 1.0)
    support = _SUPPORT * stretch
    values, columns, starts = [], [], [0]
    for row in range(start, stop):
        centre = (row + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), source)
        weight = _cubic((np.arange(first, last) - centre + 0.5) * (1.0 / stretch))
        weight = weight * (1.0 / weight.sum())
        # round half away from zero
        values.append(np.trunc(weight * (1 << _FIXED_POINT_BITS) + np.where(weight < 0, -0.5, 0.5)))
        columns.append(np.arange(first, last))
        starts.append(starts[-1] + last - first)
    return scipy.sparse.csr_array(
        (np.concatenate(values), np.concatenate(columns), np.asarray(starts)), shape=(stop - start, source)
    )


def _across_rows(weights: scipy.sparse.csr_array, rows: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "target W"]:
    """One pass over the first axis, in strips of columns: float64 of a strip holds every sum exactly (they stay below 2⁵³)."""
    result = np.empty((weights.shape[0], rows.shape[1]), np.uint8)
    half = 1 << (_FIXED_POINT_BITS - 1)
    width = max(1, _STRIP // len(rows))
    for start in range(0, rows.shape[1], width):
        sums = weights @ rows[:, start : start + width].astype(np.float64)
        result[:, start : start + width] = np.clip(np.floor((sums + half) / (1 << _FIXED_POINT_BITS)), 0, 255)
    return result


def _resize_one(
    image: UInt8[np.ndarray, "H W C"], target: tuple[int, int], box: tuple[int, int, int, int]
) -> UInt8[np.ndarray, "height width C"]:
    rows, columns, channels = image.shape
    top, left, height, width = box
    if (columns, left, width) != (target[1], 0, target[1]):
        turned = image.transpose(1, 0, 2).reshape(columns, rows * channels)
        turned = _across_rows(_weights(columns, target[1], left, left + width), turned)
        image = turned.reshape(width, rows, channels).transpose(1, 0, 2)
    if (rows, top, height) != (target[0], 0, target[0]):
        flat = np.ascontiguousarray(image).reshape(rows, width * channels)
        flat = _across_rows(_weights(rows, target[0], top, top + height), flat)
        image = flat.reshape(height, width, channels)
    return image


def resize_bicubic(
    images: UInt8[np.ndarray, "*N H W C"], height: int, width: int, box: tuple[int, int, int, int] | None = None
) -> UInt8[np.ndarray, "*N height width C"]:
    """Resizes 8-bit images as Pillow's `Image.resize(…, BICUBIC)` does, to the same bytes.

    The pass across comes first, as in every Pillow up to 12; from 13 on Pillow takes the order that costs less, which may
    differ at sharp edges, where the first pass clips.

    Args:
      images: one or many.
      height, width: size to resize to.
      box: (top, left, height, width) of the part of the result that is wanted; None = all of it. Nothing else is computed.
    """
    box = (0, 0, height, width) if box is None else box
    one_by_one = images.reshape(-1, *images.shape[-3:])
    result = np.empty((len(one_by_one), *box[2:], images.shape[-1]), np.uint8)
    for number, image in enumerate(one_by_one):
        result[number] = _resize_one(image, (height, width), box)
    return result.reshape(*images.shape[:-3], *result.shape[1:])


@dataclasses.dataclass(frozen=True)
class ClipPreprocessor:
    """From 8-bit RGB images to what `ClipVision` takes; every value comes from `preprocessor_config.json`.

    Attributes:
      short_side: the image's shorter side is resized to it.
      crop: side of the square cut from the middle.
      mean, std: per channel, of values in [0, 1].
    """

    short_side: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_source(cls, source: Mapping[str, Any]) -> ClipPreprocessor:
        """From a released `preprocessor_config.json`.

        Raises: UserError for a field, or a value of one, that is not implemented.
        """
        fields = read_fields(
            source,
            "CLIP's preprocessing",
            ("size", "crop_size", "image_mean", "image_std"),
            {
                "do_resize": True,
                "do_center_crop": True,
                "do_normalize": True,
                "do_rescale": True,
                "do_convert_rgb": True,
                "resample": BICUBIC,
                "rescale_factor": 1 / 255,
                "default_to_square": False,
            },
            ("feature_extractor_type", "image_processor_type", "processor_class", "data_format", "device"),
        )
        size, crop = fields["size"], fields["crop_size"]
        short = size if isinstance(size, int) else size.get("shortest_edge")
        side = crop if isinstance(crop, int) else crop.get("height")
        if not isinstance(short, int) or not isinstance(side, int) or side > short:
            raise UserError(f"CLIP's preprocessing: size {size!r} and crop_size {crop!r} are not implemented")
        if not isinstance(crop, int) and crop.get("width") != side:
            raise UserError(f"CLIP's preprocessing: crop_size {crop!r} is no square")
        mean, std = tuple(fields["image_mean"]), tuple(fields["image_std"])
        if len(mean) != 3 or len(std) != 3:
            raise UserError("CLIP's preprocessing: image_mean and image_std must have three values")
        return cls(short, side, mean, std)

    def crop_images(self, images: np.ndarray) -> UInt8[np.ndarray, "*N crop crop 3"]:
        """Resizes the shorter side of uint8 images (*N, H, W, 3), keeping the proportions, and cuts the middle.

        Raises: UserError where the images have another type or shape.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-1] != 3:
            raise UserError(
                f"images have the type {images.dtype} and shape {images.shape}; expected uint8 (…, H, W, 3)"
            )
        height, width = images.shape[-3:-1]
        short = min(height, width)
        # the longer side is cut to an integer, as the released preprocessing does
        high, wide = (
            int(self.short_side * side / short) if side != short else self.short_side for side in (height, width)
        )
        top, left = (high - self.crop) // 2, (wide - self.crop) // 2
        return resize_bicubic(images, high, wide, (top, left, self.crop, self.crop))

    def __call__(self, images: UInt8[np.ndarray, "*N H W 3"]) -> Float[np.ndarray, "*N crop crop 3"]:
        """Pixels for `ClipVision`: cropped, scaled to [0, 1], mean subtracted, divided by std; float32."""
        return self.pixels(self.crop_images(images))

    def pixels(self, cropped: UInt8[np.ndarray, "*N crop crop 3"]) -> Float[np.ndarray, "*N crop crop 3"]:
        """What `ClipVision` takes, from images that `crop_images` gave: scaled to [0, 1], mean subtracted, divided by std."""
        pixels = cropped.astype(np.float32) * np.float32(1 / 255)
        return (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
