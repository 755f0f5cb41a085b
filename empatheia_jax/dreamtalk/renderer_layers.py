"""Layers of the renderer (PIRenderer, Ren et al. 2021), channels last."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.nn.bias import bias_of


def conv(in_channels: int, out_channels: int, size: int, stride: int = 1, padding: int = 0, **options) -> nnx.Conv:
    """A 2-D convolution with symmetric zero padding."""
    return nnx.Conv(
        in_channels, out_channels, (size, size), strides=stride, padding=((padding, padding),) * 2, **options
    )


def instance_norm(x: Float[Array, "B H W C"], eps: float) -> Float[Array, "B H W C"]:
    """Every sample and channel to mean 0 and (biased) variance 1; no affine part."""
    mean = x.mean(axis=(1, 2), keepdims=True)
    centered = x - mean
    variance = jnp.square(centered).mean(axis=(1, 2), keepdims=True)
    return centered * jax.lax.rsqrt(variance + eps)


class ADAIN(nnx.Module):
    """Adaptive instance normalisation: (1 + γ(z)) · norm(x) + β(z), γ and β from a shared hidden layer."""

    def __init__(self, channels: int, descriptor_dim: int, hidden: int, eps: float, **options):
        self.eps = eps
        self.shared = nnx.Linear(descriptor_dim, hidden, **options)
        self.gamma = nnx.Linear(hidden, channels, **options)
        self.beta = nnx.Linear(hidden, channels, **options)

    def modulate(
        self, normalised: Float[Array, "#B H W C"], descriptor: Float[Array, "B D"]
    ) -> Float[Array, "B H W C"]:
        """Scale and shift of an already normalised input, which may be one for all descriptors."""
        hidden = jax.nn.relu(self.shared(descriptor))
        return normalised * (1 + self.gamma(hidden))[:, None, None] + self.beta(hidden)[:, None, None]

    def __call__(self, x: Float[Array, "#B H W C"], descriptor: Float[Array, "B D"]) -> Float[Array, "B H W C"]:
        return self.modulate(instance_norm(x, self.eps), descriptor)


class LayerNorm2d(nnx.Module):
    """Statistics over height, width and channels together, per sample; scale and bias per channel."""

    def __init__(self, channels: int, eps: float, *, rngs: nnx.Rngs, dtype, param_dtype):
        del rngs, dtype
        self.eps = eps
        self.scale = nnx.Param(jnp.ones((channels,), param_dtype))
        self.bias = nnx.Param(jnp.zeros((channels,), param_dtype))

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        mean = x.mean(axis=(1, 2, 3), keepdims=True)
        centered = x - mean
        variance = jnp.square(centered).mean(axis=(1, 2, 3), keepdims=True)
        normalised = centered * jax.lax.rsqrt(variance + self.eps)
        return normalised * self.scale[...].astype(x.dtype) + self.bias[...].astype(x.dtype)


class UpConv(nnx.Module):
    """Transposed convolution, kernel 3, stride 2, padding 1, output padding 1: doubles height and width.

    `kernel` (3, 3, in, out) is stored unflipped, as checkpoints hold it: out[2i] = x[i] w[1],
    out[2i + 1] = x[i] w[2] + x[i + 1] w[0] in each direction. It is evaluated in that form, as one 2 × 2 convolution to
    four phases of the output, because a convolution over a zero-dilated input multiplies mostly zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs, dtype, param_dtype):
        init = nnx.initializers.lecun_normal()
        self.dtype = dtype
        self.kernel = nnx.Param(init(rngs.params(), (3, 3, in_channels, out_channels), param_dtype))
        self.bias = nnx.Param(jnp.zeros((out_channels,), param_dtype))

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B 2*H 2*W O"]:
        kernel = self.kernel[...].astype(self.dtype)
        rows = _phases(kernel, axis=0)  # (tap 2, phase 2, 3, I, O)
        taps = _phases(rows, axis=2)  # (tap_y, phase_y, tap_x, phase_x, I, O)
        taps = taps.transpose(0, 2, 4, 1, 3, 5)  # (tap_y, tap_x, I, phase_y, phase_x, O)
        out_channels = taps.shape[-1]
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            taps.reshape(2, 2, taps.shape[2], -1),
            (1, 1),
            ((0, 1), (0, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return interleave(y, out_channels) + self.bias[...].astype(self.dtype)


def _phases(kernel: Array, axis: int) -> Array:
    """A size-3 axis → (tap, phase): taps (x[i], x[i + 1]) of the even and the odd output."""
    first, middle, last = (jax.lax.index_in_dim(kernel, i, axis, keepdims=False) for i in range(3))
    even = jnp.stack([middle, jnp.zeros_like(middle)], axis)
    odd = jnp.stack([last, first], axis)
    return jnp.stack([even, odd], axis + 1)


def interleave(x: Float[Array, "B H W 4*C"], channels: int) -> Float[Array, "B 2*H 2*W C"]:
    """Four phases (y, x) in the channels → their places in an image of twice the size."""
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channels)


def average_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B H/2 W/2 C"]:
    """Mean of every 2 × 2 block."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def upsampled_conv(x: Float[Array, "B H W I"], layer: nnx.Conv) -> Float[Array, "B 2*H 2*W O"]:
    """A 3 × 3 convolution of the picture at twice its size (nearest neighbour): exact up to the order of sums, 4/9 of the work.

    Output phase 0 of a pixel sees the kernel's taps [w0, w1 + w2] on (x[i - 1], x[i]), phase 1 [w0 + w1, w2] on
    (x[i], x[i + 1]), in each direction: four 2 × 2 convolutions of the small image.
    """
    kernel = layer.kernel[...].astype(layer.dtype)

    def halves(k: Array, axis: int) -> tuple[Array, Array]:
        a, b, c = (jax.lax.index_in_dim(k, i, axis, keepdims=True) for i in range(3))
        return jnp.concatenate([a, b + c], axis), jnp.concatenate([a + b, c], axis)

    x = x.astype(layer.dtype)
    rows = []
    for phase_y, kernel_y in enumerate(halves(kernel, 0)):
        row = []
        for phase_x, kernel_yx in enumerate(halves(kernel_y, 1)):
            padding = tuple((1, 0) if phase == 0 else (0, 1) for phase in (phase_y, phase_x))
            y = jax.lax.conv_general_dilated(x, kernel_yx, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
            row.append(y)
        rows.append(jnp.stack(row, axis=3))  # (B, H, W, phase_x, O)
    y = jnp.stack(rows, axis=2)  # (B, H, phase_y, W, phase_x, O)
    batch, height, _, width, _, channels = y.shape
    return y.reshape(batch, 2 * height, 2 * width, channels) + bias_of(layer)[...].astype(layer.dtype)


def resize_bilinear(x: Float[Array, "B h w C"], height: int, width: int) -> Float[Array, "B H W C"]:
    """Bilinear enlargement with half-pixel centres and clamped edges (align_corners=False)."""

    def weights(size: int, target: int) -> np.ndarray:
        center = np.maximum((np.arange(target) + 0.5) * size / target - 0.5, 0.0)
        low = np.minimum(np.floor(center).astype(int), size - 1)
        high = np.minimum(low + 1, size - 1)
        matrix = np.zeros((target, size))
        np.add.at(matrix, (np.arange(target), low), 1 - (center - low))
        np.add.at(matrix, (np.arange(target), high), center - low)
        return matrix

    rows = jnp.asarray(weights(x.shape[1], height), x.dtype)
    columns = jnp.asarray(weights(x.shape[2], width), x.dtype)
    return jnp.einsum("Yy,byxc,Xx->bYXc", rows, x, columns)


def flow_to_deformation(flow: Float[Array, "B h w 2"]) -> Float[Array, "B h w 2"]:
    """Flow (x, y) in pixels → sampling positions: grid from -1 to 1 inclusive, plus 2 · flow / (size - 1)."""
    _, height, width, _ = flow.shape
    scale = np.asarray([width - 1, height - 1])
    x, y = np.meshgrid(2 * np.arange(width) / (width - 1) - 1, 2 * np.arange(height) / (height - 1) - 1)
    return jnp.asarray(np.stack([x, y], axis=-1), flow.dtype) + 2 * flow / jnp.asarray(scale, flow.dtype)


def sample_bilinear(image: Float[Array, "#B H W C"], grid: Float[Array, "B h w 2"]) -> Float[Array, "B h w C"]:
    """Bilinear sampling at grid positions (x, y) in [-1, 1], pixel *edges* at ±1 (align_corners=False), zeros outside.

    `image` may have a batch of 1 that all grids share.
    """
    _, height, width, channels = image.shape
    batch = grid.shape[0]
    x = ((grid[..., 0] + 1) * width - 1) / 2
    y = ((grid[..., 1] + 1) * height - 1) / 2
    x_low, y_low = jnp.floor(x), jnp.floor(y)
    # one border of zeros around the image takes every position outside it
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    flat = padded.reshape(image.shape[0], -1, channels)

    def corner(row: Array, column: Array) -> Array:
        row = jnp.clip(row, -1, height).astype(jnp.int32) + 1
        column = jnp.clip(column, -1, width).astype(jnp.int32) + 1
        index = (row * (width + 2) + column).reshape(batch, -1)
        if image.shape[0] == 1:
            values = flat[0][index]
        else:
            values = jnp.take_along_axis(flat, index[..., None], axis=1)
        return values.reshape(*grid.shape[:-1], channels)

    right, below = (x - x_low)[..., None], (y - y_low)[..., None]
    top = corner(y_low, x_low) * (1 - right) + corner(y_low, x_low + 1) * right
    bottom = corner(y_low + 1, x_low) * (1 - right) + corner(y_low + 1, x_low + 1) * right
    return top * (1 - below) + bottom * below


def warp(image: Float[Array, "#B H W C"], deformation: Float[Array, "B h w 2"]) -> Float[Array, "B H W C"]:
    """Warps an image by a deformation of any smaller size.

    The grid is enlarged with one convention (edges at ±1) although it was built with the other (centres at ±1), so zero
    flow is not the identity. The released weights were trained with it.
    """
    _, height, width, _ = image.shape
    if deformation.shape[1:3] != (height, width):
        deformation = resize_bilinear(deformation, height, width)
    return sample_bilinear(image, deformation)
