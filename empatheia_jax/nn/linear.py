"""Linear maps, embeddings and norms whose parameters may carry a leading axis of stacked layers.

A module built with `layers=L` holds the parameters of L equal layers, stacked on axis 0. Such a module is never called as it
is: `nn.stack.run_layers` slices one layer out and calls that.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from empatheia_jax.nn.int8 import product
from empatheia_jax.nn.parameters import Initializer, parameter, stacked_fan_in
from empatheia_jax.nn.platform import platform

FEW_ROWS = 8
"""Up to so many rows a CPU multiplies a table from the left, as it lies: XLA's product with its transpose takes longer."""


def _stack(layers: int | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
    return ((), ()) if layers is None else ((layers,), ("layers",))


class Linear(nnx.Module):
    """`y = x @ kernel + bias`, plus the low-rank terms of the adapters that `core.lora` may have attached.

    Kernel: (in_features, out_features), with a leading axis when `layers` is given. `axes` names the two dimensions.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        axes: tuple[str | None, str | None],
        rngs: nnx.Rngs,
        use_bias: bool = False,
        layers: int | None = None,
        kernel_init: Initializer | None = None,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
    ):
        """`kernel_init` is `stacked_fan_in()` unless given."""
        stack, names = _stack(layers)
        self.in_features, self.out_features, self.layers, self.axes, self.dtype = (
            in_features,
            out_features,
            layers,
            tuple(axes),
            dtype,
        )
        init = kernel_init or stacked_fan_in()
        self.kernel = parameter(rngs, init, (*stack, in_features, out_features), param_dtype, names + axes)
        zeros = jax.nn.initializers.zeros
        self.bias = parameter(rngs, zeros, (*stack, out_features), param_dtype, (*names, axes[1])) if use_bias else None
        self.lora: nnx.Dict = nnx.Dict()  # adapters by name, see core.lora

    def __call__(self, x: Float[Array, "... i"], rng: jax.Array | None = None) -> Float[Array, "... o"]:
        """`rng` switches the adapters' dropout on."""
        x = x.astype(self.dtype)
        y = product(x, self.kernel.get_value(), self.dtype)
        if self.bias is not None:
            y = y + self.bias[...].astype(self.dtype)
        for index, adapter in enumerate(self.lora.values()):
            if adapter.active:
                y = y + adapter(x, None if rng is None else jax.random.fold_in(rng, index))
        return y


class Embedding(nnx.Module):
    """Rows of a table: `ids` (...) to (..., features)."""

    def __init__(
        self,
        count: int,
        features: int,
        *,
        axes: tuple[str | None, str | None] = ("vocab", "embed"),
        init: Initializer | None = None,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
    ):
        """`init` is a normal of standard deviation 0.02 unless given."""
        self.count, self.features, self.dtype = count, features, dtype
        init = init or jax.nn.initializers.normal(0.02)
        self.embedding = parameter(rngs, init, (count, features), param_dtype, axes)

    def __call__(self, ids: Int[Array, "*b"]) -> Float[Array, "... d"]:
        return jnp.take(self.embedding[...], ids, axis=0, mode="clip").astype(self.dtype)

    def attend(self, x: Float[Array, "... d"]) -> Float[Array, "... v"]:
        """Scores of every row, accumulated in float32 or better: the tied output head."""
        table, rows = self.embedding[...], math.prod(x.shape[:-1])
        if platform() != "cpu" or rows > FEW_ROWS:
            return head_product(x, table.T)
        scores = head_product(table.astype(x.dtype), x.reshape(rows, -1).T)
        return scores.T.reshape(*x.shape[:-1], -1)


class RMSNorm(nnx.Module):
    """`x / sqrt(mean(x²) + eps) * scale` over the last axis, computed in float32 or better; no mean, no bias."""

    def __init__(
        self,
        features: int,
        eps: float,
        *,
        rngs: nnx.Rngs,
        layers: int | None = None,
        axis: str | None = "embed",
        dtype=jnp.float32,
        param_dtype=jnp.float32,
    ):
        stack, names = _stack(layers)
        self.eps, self.dtype = eps, dtype
        self.scale = parameter(rngs, jax.nn.initializers.ones, (*stack, features), param_dtype, (*names, axis))

    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.eps)
        return (wide * self.scale[...].astype(wide.dtype)).astype(self.dtype)


class LayerNorm(nnx.Module):
    """`(x - mean) / sqrt(var + eps) * scale + bias` over the last axis, computed in float32 or better."""

    def __init__(
        self, features: int, eps: float, *, rngs: nnx.Rngs, layers=None, dtype=jnp.float32, param_dtype=jnp.float32
    ):
        stack, names = _stack(layers)
        self.eps, self.dtype = eps, dtype
        ones, zeros = jax.nn.initializers.ones, jax.nn.initializers.zeros
        self.scale = parameter(rngs, ones, (*stack, features), param_dtype, (*names, "embed"))
        self.bias = parameter(rngs, zeros, (*stack, features), param_dtype, (*names, "embed"))

    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.eps)
        return (wide * self.scale[...].astype(wide.dtype) + self.bias[...].astype(wide.dtype)).astype(self.dtype)


def head_product(x: Float[Array, "... d"], kernel: Float[Array, "d v"]) -> Float[Array, "... v"]:
    """`x @ kernel` with the result in float32 or better, whatever the operands: logits must not be rounded to
    bfloat16.
    """
    return jnp.matmul(x, kernel.astype(x.dtype), preferred_element_type=jnp.promote_types(x.dtype, jnp.float32))
