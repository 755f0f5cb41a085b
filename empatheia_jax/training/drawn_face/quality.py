"""Structural similarity of images (Wang et al. 2004) with an 11 × 11 Gaussian window."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num


def ssim(
    a: Num[Array | np.ndarray, "B H W C"], b: Num[Array | np.ndarray, "B H W C"], span: float = 255.0
) -> Float[Array, " B"]:
    """Mean SSIM per image: σ 1.5, population covariance, K1 0.01, K2 0.03, `span` the range of values.

    Windows that would reach over the border are left out; channels count alike.
    """
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = jnp.asarray(taps / taps.sum(), jnp.float32)
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)

    def blur(x: Array) -> Array:
        height, width = x.shape[1] - 10, x.shape[2] - 10
        x = functools.reduce(jnp.add, [window[i] * x[:, i : i + height] for i in range(11)])
        return functools.reduce(jnp.add, [window[i] * x[:, :, i : i + width] for i in range(11)])

    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    score = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    score = score / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return jax.numpy.mean(score, axis=(1, 2, 3))
