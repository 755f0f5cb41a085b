"""2-D layers of StyleTTS 2's style encoders, pitch network and discriminators: convolutions with spectral or weight norm.

Axes: B batch, H and W the two image axes in the order of the network's own convention, C channels (last).
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from empatheia_jax.styletts2.weight_norm import WeightNormed


class Buffer(nnx.Variable):
    """A stored value that is not trained: running statistics, power-iteration vectors, constant matrices."""


class Conv2d(WeightNormed):
    """2-D convolution; kernel (height, width, in / groups, out), weight norm per output channel where asked for."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        window: tuple[int, int],
        *,
        strides: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
        use_bias: bool = True,
        weight_norm: bool = False,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        """`padding` counts zeros on both sides of each axis."""
        self._init_kernel((*window, features_in // groups, features_out), -1, weight_norm, rngs, param_dtype)
        self.bias = nnx.Param(jnp.zeros((features_out,), param_dtype)) if use_bias else None
        self.strides, self.padding, self.groups, self.dtype = strides, padding, groups, dtype

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B G V O"]:
        y = self._convolve(x.astype(self.dtype), self.effective_kernel(self.dtype))
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)

    def _convolve(self, x: Array, kernel: Array) -> Array:
        padding = [(p, p) for p in self.padding]
        if self.groups == 1:
            return lax.conv_general_dilated(
                x, kernel, self.strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        # Depthwise, as a sum of shifted products: grouped convolutions run channel by channel on CPU.
        x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
        high, wide, _, _ = kernel.shape
        rows, columns = ((x.shape[axis + 1] - kernel.shape[axis]) // self.strides[axis] + 1 for axis in (0, 1))
        total = jnp.zeros((), x.dtype)
        for i in range(high):
            for j in range(wide):
                part = x[:, i :: self.strides[0], j :: self.strides[1]][:, :rows, :columns]
                total = total + part * kernel[i, j, 0]
        return total


class SpectralConv2d(Conv2d):
    """A convolution whose kernel is divided by its largest singular value, σ = uᵀ W v (Miyato et al. 2018).

    The vectors u (out,) and v (in · height · width, in PyTorch's order) are stored and used as they are, as in evaluation.
    """

    def __init__(self, features_in: int, features_out: int, window: tuple[int, int], *, groups: int = 1, **options):
        super().__init__(features_in, features_out, window, groups=groups, weight_norm=False, **options)
        param_dtype = options.get("param_dtype", jnp.float32)
        fan_in = features_in // groups * window[0] * window[1]
        self.u = Buffer(jnp.full((features_out,), features_out**-0.5, param_dtype))
        self.v = Buffer(jnp.full((fan_in,), fan_in**-0.5, param_dtype))

    def sigma(self) -> Float[Array, ""]:
        """The stored estimate of the kernel's spectral norm."""
        kernel = self.kernel[...]
        matrix = kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1)  # (out, in · height · width)
        return self.u[...] @ matrix @ self.v[...]

    def effective_kernel(self, dtype: DTypeLike) -> Array:
        return (self.kernel[...] / self.sigma()).astype(dtype)


class BatchNorm(nnx.Module):
    """Batch norm with the running statistics of training (evaluation only); ε = 1e-5."""

    EPSILON = 1e-5

    def __init__(
        self, features: int, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, param_dtype: DTypeLike = jnp.float32
    ):
        self.scale = nnx.Param(jnp.ones((features,), param_dtype))
        self.bias = nnx.Param(jnp.zeros((features,), param_dtype))
        self.mean = Buffer(jnp.zeros((features,), param_dtype))
        self.var = Buffer(jnp.ones((features,), param_dtype))
        self.count = Buffer(jnp.zeros((), jnp.int32))  # batches seen in training; kept for the way back
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        scale = self.scale[...] * lax.rsqrt(self.var[...] + self.EPSILON)
        return x * scale.astype(self.dtype) + (self.bias[...] - self.mean[...] * scale).astype(self.dtype)
