"""SSIM (Wang et al., IEEE TIP 2004) and PSNR of pictures and films.

The window must be stated beside every number: on one picture the two usual choices differ by as much as Table 3's ablations.

    gauss11     11 × 11 Gaussian window, sigma 1.5, population covariance (the article; our default)
    uniform7    7 × 7 uniform window, sample covariance (the default of scikit-image)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from empatheia_jax.errors import UserError

K1, K2, RANGE = 0.01, 0.03, 255.0
Window = Literal["gauss11", "uniform7"]
PAIRS = 32
"""Pictures compared in one call of the compiled program."""


RADIUS = {"gauss11": 5, "uniform7": 3}


def _smooth(x: Array, taps: Sequence[float] | Sequence[int]) -> Array:
    """A separable window over rows and columns of (N, H, W, C), edges mirrored."""
    radius = len(taps) // 2
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (radius, radius)
        padded, size = jnp.pad(x, padding, mode="symmetric"), x.shape[axis]
        total = taps[0] * jax.lax.slice_in_dim(padded, 0, size, axis=axis)
        for k in range(1, len(taps)):
            total = total + taps[k] * jax.lax.slice_in_dim(padded, k, k + size, axis=axis)
        x = total
    return x


def _gaussian_moments(a: Array, b: Array) -> tuple[Array, ...]:
    offsets = np.arange(-RADIUS["gauss11"], RADIUS["gauss11"] + 1)
    taps = np.exp(-0.5 * np.square(offsets / 1.5))
    taps = (taps / taps.sum()).tolist()
    # Variances do not see a shift; around zero, float32 keeps the digits that squares would lose.
    middle = RANGE / 2
    a, b = (x.astype(jnp.result_type(float)) - middle for x in (a, b))
    mean_a, mean_b = _smooth(a, taps), _smooth(b, taps)
    squares = (_smooth(x, taps) for x in (a * a, b * b, a * b))
    products = (mean_a * mean_a, mean_b * mean_b, mean_a * mean_b)
    return (mean_a + middle, mean_b + middle, *(s - p for s, p in zip(squares, products)))


def _uniform_moments(a: Array, b: Array) -> tuple[Array, ...]:
    """In whole numbers, so that no digit is lost: sums over 49 pixels of products of bytes fit into 32 bits."""
    taps = [1] * (2 * RADIUS["uniform7"] + 1)
    count = len(taps) ** 2
    a, b = a.astype(jnp.int32), b.astype(jnp.int32)
    sum_a, sum_b = _smooth(a, taps), _smooth(b, taps)
    wide = jnp.result_type(float)

    def covariance(x: Array, y: Array, product: Array) -> Array:
        return (count * _smooth(product, taps) - x * y).astype(wide) / (count * (count - 1))

    moments = covariance(sum_a, sum_a, a * a), covariance(sum_b, sum_b, b * b), covariance(sum_a, sum_b, a * b)
    return (sum_a.astype(wide) / count, sum_b.astype(wide) / count, *moments)


@functools.partial(jax.jit, static_argnames="window")
def ssim_map(
    a: UInt8[Array, "N H W C"], b: UInt8[Array, "N H W C"], window: Window = "gauss11"
) -> Float[Array, "N H W C"]:
    """SSIM at every pixel of every channel."""
    moments = {"gauss11": _gaussian_moments, "uniform7": _uniform_moments}[window]
    mean_a, mean_b, variance_a, variance_b, covariance = moments(a, b)
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return above / ((mean_a * mean_a + mean_b * mean_b + c1) * (variance_a + variance_b + c2))


def ssim(
    a: UInt8[np.ndarray, "N H W C"], b: UInt8[np.ndarray, "N H W C"], window: Window = "gauss11"
) -> Float[np.ndarray, " N"]:
    """SSIM of each pair of pictures: the mean of the map without the border that the window does not fill.

    Raises:
        UserError: shapes that differ, or pictures smaller than the window.
    """
    if window not in RADIUS:
        raise ValueError(f"window={window!r}; expected one of {', '.join(RADIUS)}")
    border = RADIUS[window]
    if a.shape != b.shape or a.ndim != 4 or min(a.shape[1:3]) <= 2 * border:
        raise UserError(
            f"pictures of shapes {a.shape} and {b.shape}; expected equal ones, larger than {2 * border} pixels"
        )
    scores = []
    for first in range(0, len(a), PAIRS):
        block = [jnp.asarray(x[first : first + PAIRS]) for x in (a, b)]
        scores.append(ssim_map(*block, window)[:, border:-border, border:-border].mean(axis=(1, 2, 3)))
    return np.concatenate([np.asarray(each) for each in scores])


def psnr(a: UInt8[np.ndarray, "N H W C"], b: UInt8[np.ndarray, "N H W C"]) -> Float[np.ndarray, " N"]:
    """Peak signal-to-noise ratio in decibels of each pair; infinite where they are equal."""
    error = np.square(a.astype(float) - b.astype(float)).reshape(len(a), -1).mean(axis=1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(RANGE**2 / error)
