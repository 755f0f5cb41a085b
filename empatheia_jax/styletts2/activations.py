"""Activations that StyleTTS 2 uses beside those of `jax.nn`."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from empatheia_jax.nn import sine


def leaky_relu(x: Array, slope: float) -> Array:
    """max(x, slope · x)."""
    return jnp.maximum(x, slope * x)


def snake(x: Float[Array, "B T C"], alpha: Float[Array, " C"]) -> Float[Array, "B T C"]:
    """X + sin²(αx) / α, a periodic activation (Ziyin et al. 2020, "Neural Networks Fail to Learn Periodic Functions")."""
    return x + sine.sin_squared(alpha * x) / alpha
