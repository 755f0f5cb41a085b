"""Frozen weights in eight bits: symmetric, weight-only, one scale per output channel.

`w ≈ values * scale` with `values` int8 and `scale = max|w| / 127` over the input dimension. The arithmetic of a product stays
in the computation's dtype, and its result is scaled (`product`): the weight itself is never written down wide, so a model of
7 billion weights holds and reads 6.7 GB of them instead of 13.5. Only frozen weights are stored so; trainable ones stay float32.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int8

from empatheia_jax.nn.platform import platform

FEWEST_ROWS = 8
"""On a GPU fewer rows than these are multiplied by packed weights as if they were as many: its kernel for one row is slower."""


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class QuantisedArray:
    """Stands in for an array as the value of an `nnx.Param`: `param[...]` gives the widened weight.

    `values` has the weight's shape, `scale` the same with the input dimension (the last but one) of size 1. Both may
    carry leading axes (stacked layers), over which `jax.lax.scan` slices as over any pytree.
    """

    values: Int8[Array, "*stack i o"]
    scale: Float[Array, "*stack 1 o"]
    dtype: jnp.dtype

    def tree_flatten(self):
        return (self.values, self.scale), self.dtype

    @classmethod
    def tree_unflatten(cls, dtype, children):
        # Past the constructor, since what JAX puts here need be no array: shapes while it traces, shardings, None.
        made = object.__new__(cls)
        for name, value in zip(("values", "scale", "dtype"), (*children, dtype)):
            object.__setattr__(made, name, value)
        return made

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def ndim(self) -> int:
        return self.values.ndim

    @property
    def size(self) -> int:
        return self.values.size

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.scale.nbytes

    def dequantise(self) -> Float[Array, "*stack i o"]:
        """The weight that the pair stands for, in `dtype`."""
        return (self.values.astype(self.scale.dtype) * self.scale).astype(self.dtype)

    def __getitem__(self, index) -> Array:
        return self.dequantise()[index]

    def __jax_array__(self) -> Array:
        return self.dequantise()

    def astype(self, dtype) -> Array:
        return self.dequantise().astype(dtype)


def product(x: Float[Array, "... i"], kernel: Array | np.ndarray | QuantisedArray, dtype) -> Float[Array, "... o"]:
    """`x @ kernel` in `dtype`. Of a packed weight the integers are multiplied, every one of which any floating type of ours
    holds exactly, and the sums are scaled: a GPU then widens them on their way into the product, not in its memory.
    """
    x, shape = x.astype(dtype), x.shape[:-1]
    if not isinstance(kernel, QuantisedArray):
        return x @ kernel.astype(dtype)
    wide = jnp.promote_types(dtype, kernel.scale.dtype)
    rows = math.prod(x.shape[:-1])
    padded = rows < FEWEST_ROWS and platform() == "gpu"
    if padded:
        x = jnp.pad(x.reshape(rows, -1), ((0, FEWEST_ROWS - rows), (0, 0)))
    sums = jnp.matmul(x, kernel.values.astype(dtype), preferred_element_type=wide)
    if padded:
        sums = sums[:rows].reshape(*shape, -1)
    return (sums * kernel.scale.astype(wide).squeeze(-2)).astype(dtype)


def quantise(weight: Float[Array, "*stack i o"]) -> QuantisedArray:
    """Rounds a weight to int8 with one float32 scale per output channel (per layer of a stack).

    The largest error is half a step: `max|w| / 254` of the channel. A channel of zeros stays zero.
    """
    wide = weight.astype(jnp.float32)
    scale = jnp.max(jnp.abs(wide), axis=-2, keepdims=True) / 127.0
    scale = jnp.where(scale == 0, 1.0, scale)
    values = jnp.clip(jnp.round(wide / scale), -127, 127).astype(jnp.int8)
    return QuantisedArray(values, scale, jnp.dtype(weight.dtype))


def is_matrix(path: str, value) -> bool:
    """Whether a leaf is worth eight bits: a floating `kernel` of a layer with at least 2**16 entries.

    Embedding tables are read by row and tied to heads, heads decide between near-equal scores, norms and biases are small:
    all of these keep their dtype.
    """
    parts = path.split(".")
    return (
        parts[-1] == "kernel"
        and "lm_head" not in parts
        and len(value.shape) >= 2
        and value.size >= 2**16
        and jnp.issubdtype(value.dtype, jnp.floating)
    )


def quantise_model(model: nnx.Module, choose: Callable[[str, Any], bool] = is_matrix) -> list[str]:
    """Puts every chosen parameter of a model into eight bits, in place and one at a time; returns their paths.

    Traceable, so that `nnx.eval_shape` gives the abstract quantised model. Quantise before adapters are attached.
    """
    paths = []
    for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        name, value = ".".join(map(str, path)), variable.get_value()
        if choose(name, value):
            nnx.update(model, nnx.from_flat_state([(path, variable.replace(jax.jit(quantise)(value)))]))
            paths.append(name)
    return paths
