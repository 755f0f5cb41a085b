"""Sine and cosine of arrays, fast on CPUs too: XLA calls the C library there, element by element.

In float32 on a CPU the argument is brought to [−π/2, π/2] (Cody and Waite 1980, "Software Manual for the Elementary
Functions") and an odd polynomial is evaluated, which the compiler vectorises: about 30 times as fast, to 1.3e-7 for
|x| ≤ 25,000. Everywhere else it is `jnp.sin` and `jnp.cos`.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from empatheia_jax.nn.platform import platform

# π in three parts; products of a whole number below 2¹³ with the first two are exact in float32.
_PI = (3.140625, 0.0009675025939941406, 1.5099580252808664e-07)
# sin r = r + r³ · (c₀ + c₁ r² + …), least largest error on [−π/2, π/2]: 1.8e-11 before rounding.
_POLYNOMIAL = (
    -0.1666666716337204,
    0.008333330042660236,
    -0.00019840802997350693,
    2.752253067228594e-06,
    -2.384519426357201e-08,
)


def sin(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The sine of each value; differentiable."""
    if not _by_polynomial(x):
        return jnp.sin(x)
    rest, turns = _reduced(x)
    return jnp.where(turns % 2 == 0, 1, -1).astype(x.dtype) * rest


def cos(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The cosine of each value; differentiable."""
    return sin(x + math.pi / 2) if _by_polynomial(x) else jnp.cos(x)


def sin_squared(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """sin²(x), elementwise; differentiable."""
    return jnp.square(_reduced(x)[0] if _by_polynomial(x) else jnp.sin(x))


def _by_polynomial(x: Array) -> bool:
    return platform() == "cpu" and x.dtype == jnp.float32


def _reduced(x: Array) -> tuple[Array, Array]:
    """(sin(x − kπ), k) with k the whole number nearest to x / π."""
    turns = jnp.round(x * (1 / math.pi))
    for part in _PI:
        x = x - turns * part
    square = x * x
    value = _POLYNOMIAL[-1]
    for coefficient in reversed(_POLYNOMIAL[:-1]):
        value = value * square + coefficient
    return x + x * (square * value), turns
