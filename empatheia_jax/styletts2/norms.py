"""Norms whose scale and offset come from a style vector."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from empatheia_jax.styletts2.linear import linear
from empatheia_jax.styletts2.masks import Mask, masked


class AdaptiveLayerNorm(nnx.Module):
    """Layer norm whose scale 1 + γ and bias β are linear in a style vector."""

    def __init__(self, style_dim: int, features: int, *, rngs: nnx.Rngs, dtype: DTypeLike, param_dtype: DTypeLike):
        self.fc = linear(style_dim, 2 * features, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "B T C"], style: Float[Array, "B S"]) -> Float[Array, "B T C"]:
        gamma, beta = jnp.split(self.fc(style)[:, None], 2, -1)
        return (1 + gamma) * standardise(x.astype(self.dtype)) + beta


class AdaptiveInstanceNorm(nnx.Module):
    """Instance norm over time (no affine of its own, biased variance), then (1 + γ) x + β from a style vector.

    Statistics are over valid positions only. Huang and Belongie 2017, "Arbitrary Style Transfer in Real-time".
    """

    def __init__(
        self,
        style_dim: int,
        features: int,
        *,
        epsilon: float = 1e-5,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
        param_dtype: DTypeLike,
    ):
        self.fc = linear(style_dim, 2 * features, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.epsilon, self.dtype = epsilon, dtype

    def __call__(
        self, x: Float[Array, "B T C"], style: Float[Array, "B S"], mask: Mask = None
    ) -> Float[Array, "B T C"]:
        gamma, beta = jnp.split(self.fc(style)[:, None], 2, -1)  # (B, 1, C)
        x = x.astype(self.dtype)
        mean, variance = time_moments(x, mask)
        # Centred first: folding the mean into the offset would cancel digits where it is large against the deviation.
        return (x - mean) * ((1 + gamma) * lax.rsqrt(variance + self.epsilon)) + beta


def standardise(x: Float[Array, "*B C"], *, epsilon: float = 1e-5) -> Float[Array, "*B C"]:
    """(x − mean) / √(biased variance + ε) over the last axis."""
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + epsilon)


def time_moments(x: Float[Array, "B T C"], mask: Mask) -> tuple[Float[Array, "B 1 C"], Float[Array, "B 1 C"]]:
    """Mean and biased variance over valid positions; two passes, since E[x²] − E[x]² loses half the digits."""
    if mask is None:
        mean = jnp.mean(x, 1, keepdims=True)
        return mean, jnp.mean(jnp.square(x - mean), 1, keepdims=True)
    count = jnp.maximum(jnp.sum(mask, 1, keepdims=True), 1)
    mean = jnp.sum(masked(x, mask), 1, keepdims=True) / count
    return mean, jnp.sum(masked(jnp.square(x - mean), mask), 1, keepdims=True) / count
