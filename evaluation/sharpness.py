"""CPBD, the cumulative probability of blur detection (Narvekar and Karam, IEEE TIP 2011): higher is sharper.

Blocks of 64 × 64 pixels that hold edges are looked at. An edge of width w is seen as blurred with the probability
1 − exp(−(w / w_jnb)^3.6); the score is the share of edges whose probability is at most 63 %. The details (which edge detectors,
which borders) follow the public Python port, whose numbers the field reports.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from empatheia_jax.errors import UserError
from evaluation.frames import to_gray

BLOCK, EDGE_SHARE, BETA, LONGEST = 64, 0.002, 3.6, 100
SHARP = 63
"""An edge counts as sharp up to this probability of blur, in per cent."""
_SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8


def canny_edges(gray: Float[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Canny's edges, sigma 1. The thresholds 0.1 and 0.2 are meant for pictures from 0 to 1 and applied to 0 to 255."""
    from skimage.feature import canny

    return canny(gray, sigma=1.0, low_threshold=0.1, high_threshold=0.2)


def sobel_edges(gray: Float[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Vertical edges by Sobel: squared responses above twice their root mean, thinned to strict local maxima."""
    strength = np.square(ndimage.convolve(gray, _SOBEL))
    strength[strength <= 2 * np.sqrt(np.mean(strength))] = 0
    padded = np.pad(strength, 1)
    along_rows = (strength > padded[1:-1, :-2]) & (strength > padded[1:-1, 2:])
    along_columns = (strength > padded[:-2, 1:-1]) & (strength > padded[2:, 1:-1])
    return along_rows | along_columns


def _run_lengths(steps: Bool[np.ndarray, "H S"]) -> Int[np.ndarray, "H S"]:
    """How many steps in a row are true, up to and including each one, at most `LONGEST`."""
    index = np.arange(steps.shape[1])
    last_false = np.maximum.accumulate(np.where(steps, -1, index), axis=1)
    return np.minimum(index - last_false, LONGEST)


def _width(steps: Bool[np.ndarray, "H S"]) -> Int[np.ndarray, "H W"]:
    """Widths of the edges of one direction, from the monotone steps between neighbouring pixels."""
    height, count = steps.shape
    before, after = _run_lengths(steps), _run_lengths(steps[:, ::-1])[:, ::-1]
    width = np.zeros((height, count + 1), np.int64)
    # The search to the left starts one pixel before the edge, the one to the right one pixel behind it.
    width[:, 2:] += before[:, : count - 1]
    width[:, : count - 1] += after[:, 1:]
    return width + 2


def edge_widths(edges: Bool[np.ndarray, "H W"], gray: Float[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """Width in pixels of every edge that stands upright (its gradient's angle rounds to 0 or ±180 degrees); 0 elsewhere."""
    down, across = np.gradient(gray)
    angles = np.where(across != 0, np.degrees(np.arctan2(down, across)), 0.0)
    if not angles.any():
        return np.zeros(gray.shape, np.int64)
    quantised = 45 * np.round(angles / 45)
    steps = np.diff(gray, axis=1)
    widths = np.where(quantised == 0, _width(steps > 0), np.where(np.abs(quantised) == 180, _width(steps < 0), 0))
    inside = np.zeros(gray.shape, bool)
    inside[1:-1, 1:-1] = True
    return np.where(edges & inside, widths, 0)


def cpbd(gray: UInt8[np.ndarray, "H W"]) -> float:
    """The score of one grey picture, 0 to 1; 0 where no block holds an edge.

    Raises:
        UserError: the picture is smaller than one block.
    """
    if gray.ndim != 2 or min(gray.shape) < BLOCK:
        raise UserError(f"a picture of shape {gray.shape}; expected a grey one of at least {BLOCK} × {BLOCK} pixels")
    rows, columns = gray.shape[0] // BLOCK, gray.shape[1] // BLOCK
    values = gray.astype(np.float64)

    def blocks(x: np.ndarray) -> np.ndarray:
        kept = x[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
        return kept.transpose(0, 2, 1, 3).reshape(rows * columns, BLOCK * BLOCK)

    busy = blocks(canny_edges(values)).sum(axis=1) > EDGE_SHARE * BLOCK * BLOCK
    pixels = blocks(gray)
    contrast = pixels.max(axis=1).astype(int) - pixels.min(axis=1)
    widths = blocks(edge_widths(sobel_edges(values), values))
    counted = (widths > 0) & busy[:, None]
    if not counted.any():
        return 0.0
    noticeable = np.broadcast_to(np.where(contrast <= 50, 5.0, 3.0)[:, None], widths.shape)
    blurred = 1 - np.exp(-np.power(widths[counted] / noticeable[counted], BETA))
    return float(np.mean(np.round(100 * blurred) <= SHARP))


def cpbd_of_film(frames: UInt8[np.ndarray, "N H W 3"]) -> float:
    """Mean over the frames of a film."""
    if not len(frames):
        raise UserError("the film has no frame; expected at least one")
    return float(np.mean([cpbd(to_gray(frame)) for frame in frames]))
