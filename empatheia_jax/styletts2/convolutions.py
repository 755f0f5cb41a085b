"""1-D convolutions over time with optional weight norm."""

from __future__ import annotations

import functools

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from empatheia_jax.nn import toom_cook
from empatheia_jax.nn.platform import platform
from empatheia_jax.styletts2.weight_norm import WeightNormed

_zeros = nnx.initializers.zeros_init()


class Conv1d(WeightNormed):
    """1-D convolution over time; kernel (width, in, out), the norm of weight norm taken per output channel.

    Long convolutions in float32 on a CPU take the algorithm of `nn.toom_cook`, which multiplies less.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        use_bias: bool = True,
        weight_norm: bool = False,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        """`padding` counts zeros on both sides; None keeps the length (odd widths)."""
        self._init_kernel((width, features_in, features_out), -1, weight_norm, rngs, param_dtype)
        self.bias = nnx.Param(_zeros(rngs.params(), (features_out,), param_dtype)) if use_bias else None
        self.stride, self.dilation, self.dtype = stride, dilation, dtype
        self.padding = dilation * (width - 1) // 2 if padding is None else padding

    def __call__(self, x: Float[Array, "B T I"]) -> Float[Array, "B U O"]:
        kernel = self.effective_kernel(self.dtype)
        x = x.astype(self.dtype)
        if kernel.shape[0] == 1 and self.stride == 1 and not self.padding:
            y = x @ kernel[0]
        elif self._gains_from_fewer_products(x, kernel):
            y = toom_cook.correlate(x, kernel, self.dilation)
        else:
            y = lax.conv_general_dilated(
                x,
                kernel,
                (self.stride,),
                [(self.padding, self.padding)],
                rhs_dilation=(self.dilation,),
                dimension_numbers=("NWC", "WIO", "NWC"),
            )
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)

    def _gains_from_fewer_products(self, x: Array, kernel: Array) -> bool:
        width, *channels = kernel.shape
        same = width % 2 == 1 and self.padding == self.dilation * (width - 1) // 2 and self.stride == 1
        # Transforming the kernel must be little beside the products, and transforming `x` too: three taps gain nothing.
        large = width > 4 and min(channels) >= 64 and x.shape[1] >= 8 * max(channels)
        return same and large and x.dtype == jnp.float32 and platform() == "cpu"


class ConvTranspose1d(WeightNormed):
    """1-D transposed convolution that multiplies the length by `stride`; kernel (width, in, out).

    Every input frame adds its `width` output samples at `stride · t − padding`. It is computed as one matrix product
    followed by an overlap-add, since a convolution with a dilated input is slow on CPU. The norm of weight norm is taken
    per *input* channel, as PyTorch's `weight_norm` does on a transposed convolution.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        width: int,
        *,
        stride: int,
        padding: int,
        weight_norm: bool = False,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        self._init_kernel((width, features_in, features_out), 1, weight_norm, rngs, param_dtype)
        self.bias = nnx.Param(_zeros(rngs.params(), (features_out,), param_dtype))
        self.stride, self.padding, self.width, self.dtype = stride, padding, width, dtype

    def __call__(self, x: Float[Array, "B T I"]) -> Float[Array, "B T*stride O"]:
        kernel = self.effective_kernel(self.dtype)
        batch, time, _ = x.shape
        hops = -(-self.width // self.stride)
        kernel = jnp.pad(kernel, ((0, hops * self.stride - self.width), (0, 0), (0, 0)))
        parts = jnp.einsum("bti,kio->btko", x.astype(self.dtype), kernel)  # (B, T, hops·stride, O)
        parts = parts.reshape(batch, time, hops, self.stride, -1)
        size = time * self.stride
        total = overlap_add(parts).reshape(batch, (time + hops - 1) * self.stride, -1)
        total = jnp.pad(total, ((0, 0), (0, max(0, self.padding + size - total.shape[1])), (0, 0)))
        return total[:, self.padding : self.padding + size] + self.bias[...].astype(self.dtype)


def overlap_add(parts: Float[Array, "B T hops *rest"]) -> Float[Array, "B T+hops-1 *rest"]:
    """Sum of every frame's hop-sized pieces, piece k of frame t at position t + k."""
    hops = parts.shape[2]
    rest = [(0, 0)] * (parts.ndim - 3)
    pieces = [jnp.pad(parts[:, :, k], [(0, 0), (k, hops - 1 - k), *rest]) for k in range(hops)]
    return functools.reduce(jnp.add, pieces)


class DepthwiseUpsample(WeightNormed):
    """Depthwise transposed convolution of width 3 that doubles the length: PyTorch's stride 2, padding 1, output padding 1.

    Kernel (3, channels); the norm of weight norm is per channel.
    """

    def __init__(self, features: int, *, weight_norm: bool, rngs: nnx.Rngs, dtype: DTypeLike, param_dtype: DTypeLike):
        self._init_kernel((3, features), 1, weight_norm, rngs, param_dtype)
        self.bias = nnx.Param(_zeros(rngs.params(), (features,), param_dtype))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B 2*T C"]:
        kernel = self.effective_kernel(self.dtype)
        x = x.astype(self.dtype)
        after = jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0)))
        pairs = jnp.stack([x * kernel[1], x * kernel[2] + after * kernel[0]], axis=2)
        return pairs.reshape(x.shape[0], 2 * x.shape[1], x.shape[2]) + self.bias[...].astype(self.dtype)
