"""One way to make a parameter: value, dtype and logical axis names together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from empatheia_jax.weights.tree import shapes_only

Initializer = Callable[..., jax.Array]


def parameter(
    rngs: nnx.Rngs,
    init: Initializer,
    shape: Sequence[int],
    dtype,
    axes: Sequence[str | None],
    kind: type[nnx.Variable] = nnx.Param,
) -> nnx.Variable:
    """A variable of `kind` whose dimensions are named by `axes` (logical names; `None` = replicated).

    The names only annotate: `empatheia_jax.parallel` translates them to mesh axes. Sharding at creation is switched
    off, since a model must also be constructible without a mesh.
    """
    if len(shape) != len(axes):
        raise ValueError(f"a parameter of shape {tuple(shape)} cannot have the axis names {tuple(axes)}")
    value = jnp.zeros(tuple(shape), dtype) if shapes_only() else init(rngs.params(), tuple(shape), dtype)
    return kind(value, out_sharding=tuple(axes), eager_sharding=False)


def stacked_fan_in(scale: float = 1.0) -> Initializer:
    """Normal initializer with standard deviation sqrt(scale / fan_in); fan_in is the second-to-last axis.

    Leading axes (a stack of layers) do not count into the fan.
    """

    def init(key, shape, dtype):
        return jax.random.normal(key, shape, dtype) * (scale / shape[-2]) ** 0.5

    return init
