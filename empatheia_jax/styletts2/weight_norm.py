"""Layers with weight norm, and folding it away for inference."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array

_kernel_init = nnx.initializers.lecun_normal()


class WeightNormed(nnx.Module):
    """A layer whose kernel is either one parameter, or g · v / ‖v‖ (Salimans and Kingma 2016), kept as its two parts.

    Attributes:
      weight_norm: whether the two parts `g` and `v` exist instead of `kernel`.
    """

    v: nnx.Variable

    def _init_kernel(self, shape: tuple[int, ...], norm_axis: int, weight_norm: bool, rngs: nnx.Rngs, param_dtype):
        self.weight_norm = weight_norm
        self.norm_axis = norm_axis % len(shape)
        kernel = _kernel_init(rngs.params(), shape, param_dtype)
        if weight_norm:
            self.v = nnx.Param(kernel)
            self.g = nnx.Param(self._norm(kernel))
        else:
            self.kernel = nnx.Param(kernel)

    def _norm(self, v: Array) -> Array:
        axes = tuple(axis for axis in range(v.ndim) if axis != self.norm_axis)
        return jnp.sqrt(jnp.sum(jnp.square(v), axes))

    def effective_kernel(self, dtype: DTypeLike) -> Array:
        """The kernel that the layer applies."""
        if not self.weight_norm:
            return self.kernel[...].astype(dtype)
        v, g = self.v[...], self.g[...]
        shape = [1] * v.ndim
        shape[self.norm_axis] = -1
        return (v * (g / self._norm(v)).reshape(shape)).astype(dtype)

    def fold(self) -> None:
        """Replaces `g` and `v` by the kernel that they make: the same function, with nothing left to compute."""
        if self.weight_norm:
            kernel = self.effective_kernel(self.v[...].dtype)
            del self.g, self.v
            self.kernel = nnx.Param(kernel)
            self.weight_norm = False


def fold_weight_norm(model: nnx.Module) -> nnx.Module:
    """Folds every weight-normed layer of `model`, in place, for inference. Returns `model`."""
    layers = [module for _, module in nnx.iter_modules(model) if isinstance(module, WeightNormed)]
    for layer in layers:
        layer.fold()
    return model
