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
from evaluation.devices import spread

K1, K2, RANGE = 0.01, 0.03, 255.0
Window = Literal["gauss11", "uniform7"]
PAIRS = 32
"""Pictures compared in one call of the compiled program."""


RADIUS = {"gauss11": 5, "uniform7": 3}


def _smooth(x: Array, taps: Sequence[float] | Sequence[int]) -> Array:
    """A symmetric separable window over the last two axes, where it fits: both shrink by its width less one.

    The barriers keep XLA from computing the first axis anew for every tap of the second one.
    """
    radius = len(taps) // 2
    for axis in (x.ndim - 2, x.ndim - 1):
        size = x.shape[axis] - 2 * radius

        def shifted(k: int, x: Array = x, axis: int = axis, size: int = size) -> Array:
            return jax.lax.slice_in_dim(x, k, k + size, axis=axis)

        total = taps[radius] * shifted(radius)
        for k in range(radius):
            total = total + taps[k] * (shifted(k) + shifted(2 * radius - k))
        x = jax.lax.optimization_barrier(total)
    return x


def _moments(a: Array, b: Array, taps: Sequence[float] | Sequence[int]) -> Array:
    """Windowed a, b, a² + b² and a b of planes (C, H, W): SSIM needs the sum of the variances only."""
    return _smooth(jax.lax.optimization_barrier(jnp.stack([a, b, a * a + b * b, a * b])), taps)


def _gaussian(a: Array, b: Array) -> tuple[Array, ...]:
    """Means of both, the sum of their variances, their covariance."""
    offsets = np.arange(-RADIUS["gauss11"], RADIUS["gauss11"] + 1)
    taps = np.exp(-0.5 * np.square(offsets / 1.5))
    # Variances do not see a shift; around zero, float32 keeps the digits that squares would lose.
    middle = RANGE / 2
    a, b = (x.astype(jnp.result_type(float)) - middle for x in (a, b))
    mean_a, mean_b, squares, product = _moments(a, b, (taps / taps.sum()).tolist())
    return mean_a + middle, mean_b + middle, squares - mean_a * mean_a - mean_b * mean_b, product - mean_a * mean_b


def _uniform(a: Array, b: Array) -> tuple[Array, ...]:
    """In whole numbers, so that no digit is lost: 49 times the sum over 49 pixels of two squared bytes fits into 32 bits."""
    taps = [1] * (2 * RADIUS["uniform7"] + 1)
    count = len(taps) ** 2
    sum_a, sum_b, squares, product = _moments(a.astype(jnp.int32), b.astype(jnp.int32), taps)
    wide, scale = jnp.result_type(float), count * (count - 1)
    variances = ((count * squares - sum_a * sum_a) - sum_b * sum_b).astype(wide) / scale
    covariance = (count * product - sum_a * sum_b).astype(wide) / scale
    return sum_a.astype(wide) / count, sum_b.astype(wide) / count, variances, covariance


def _inner_map(a: Array, b: Array, window: Window) -> Array:
    """SSIM of a pair (H, W, C) where the window fits: (C, H − 2 radius, W − 2 radius)."""
    planes = (x.transpose(2, 0, 1) for x in (a, b))
    mean_a, mean_b, variances, covariance = {"gauss11": _gaussian, "uniform7": _uniform}[window](*planes)
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return above / ((mean_a * mean_a + mean_b * mean_b + c1) * (variances + c2))


@functools.partial(jax.jit, static_argnames="window")
def _scores(a: UInt8[Array, "N H W C"], b: UInt8[Array, "N H W C"], window: Window) -> Float[Array, " N"]:
    return jax.lax.map(lambda pair: _inner_map(pair[0], pair[1], window).mean(), (a, b))


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
        block = [x[first : first + PAIRS] for x in (a, b)]
        size = min(PAIRS, 1 << (len(block[0]) - 1).bit_length())  # few shapes, so few programs
        padded = [np.concatenate([x, np.repeat(x[-1:], size - len(x), axis=0)]) for x in block]
        found = _scores(*spread(*padded), window)
        scores.append(np.asarray(found)[: len(block[0])])
    return np.concatenate(scores)


def psnr(a: UInt8[np.ndarray, "N H W C"], b: UInt8[np.ndarray, "N H W C"]) -> Float[np.ndarray, " N"]:
    """Peak signal-to-noise ratio in decibels of each pair; infinite where they are equal."""
    error = np.square(a.astype(float) - b.astype(float)).reshape(len(a), -1).mean(axis=1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(RANGE**2 / error)
