"""CLIP's image preprocessing: antialiased bicubic resize, centre crop, normalisation.

The resize gives the same bytes as Pillow's, which the released models were trained with: two passes (across, then down)
over 8-bit values with fixed-point weights, each pass rounded and clipped to 8 bits. It runs as two matrix products,
so a whole clip of frames is resized at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.encoders.source_config import read_fields
from empatheia_jax.errors import UserError

BICUBIC = 3  # Pillow's number of the filter, as `preprocessor_config.json` gives it
_SUPPORT = 2.0
_A = -0.5  # Keys' parameter (1981), as Pillow has it
_FIXED_POINT_BITS = 32 - 8 - 2


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = ((_A + 2.0) * x - (_A + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * _A
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


@lru_cache(maxsize=64)
def _weights(source: int, target: int) -> np.ndarray:
    """Fixed-point weights (target, source) of one pass; a window is widened by the factor of a reduction."""
    scale = source / target
    stretch = max(scale, 1.0)
    support = _SUPPORT * stretch
    result = np.zeros((target, source))
    for row in range(target):
        centre = (row + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), source)
        weight = _cubic((np.arange(first, last) - centre + 0.5) * (1.0 / stretch))
        weight = weight * (1.0 / weight.sum())
        # round half away from zero
        result[row, first:last] = np.trunc(weight * (1 << _FIXED_POINT_BITS) + np.where(weight < 0, -0.5, 0.5))
    result.flags.writeable = False
    return result


def _fold(sums: np.ndarray) -> np.ndarray:
    half = 1 << (_FIXED_POINT_BITS - 1)
    return np.clip(np.floor((sums + half) / (1 << _FIXED_POINT_BITS)), 0, 255)


def resize_bicubic(
    images: UInt8[np.ndarray, "*N H W C"], height: int, width: int
) -> UInt8[np.ndarray, "*N height width C"]:
    """Resizes 8-bit images as Pillow's `Image.resize(…, BICUBIC)` does, to the same bytes.

    The pass across comes first, as in every Pillow up to 12; from 13 on Pillow takes the order that costs less, which may
    differ at sharp edges, where the first pass clips.
    """
    x = images.astype(np.float64)  # holds every sum exactly: they stay below 2⁵³
    if images.shape[-2] != width:
        x = _fold(_weights(images.shape[-2], width) @ x)
    if images.shape[-3] != height:
        rows = x.reshape(*x.shape[:-2], -1)
        x = _fold(_weights(images.shape[-3], height) @ rows).reshape(*x.shape[:-3], height, *x.shape[-2:])
    return x.astype(np.uint8)


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

    def crop_images(self, images: UInt8[np.ndarray, "*N H W 3"]) -> UInt8[np.ndarray, "*N crop crop 3"]:
        """Resizes the shorter side, keeping the proportions, and cuts the middle."""
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-1] != 3:
            raise UserError(
                f"images have the type {images.dtype} and shape {images.shape}; expected uint8 (…, H, W, 3)"
            )
        height, width = images.shape[-3:-1]
        short = min(height, width)
        # the longer side is cut to an integer, as the released preprocessing does
        target = [int(self.short_side * side / short) if side != short else self.short_side for side in (height, width)]
        images = resize_bicubic(images, *target)
        top, left = ((side - self.crop) // 2 for side in target)
        return images[..., top : top + self.crop, left : left + self.crop, :]

    def __call__(self, images: UInt8[np.ndarray, "*N H W 3"]) -> Float[np.ndarray, "*N crop crop 3"]:
        """Pixels for `ClipVision`: cropped, scaled to [0, 1], mean subtracted, divided by std; float32."""
        pixels = self.crop_images(images).astype(np.float32) * np.float32(1 / 255)
        return (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
