"""Convolution of pictures with fewer multiplications: `nn.toom_cook` along both axes, for what runs on a CPU.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks". A tile of m × m outputs of a filter of r × r taps is

    Y = Aᵀ [Σ_c (G g_c Gᵀ) ⊙ (Bᵀ x_c B)] A,

n² products for n = m + r − 1, where the definition takes m² r²: 36 for 144 with m = 4 and r = 3, 49 for 256 with m = r = 4. Of
all tiles and pictures the products of one of the n² points are one matrix product over the channels c.

A convolution with stride s is first written as one with stride 1 (`phases`): s² interleaved pictures become s² times as many
channels, and taps are dealt out likewise, so that 7 taps with stride 2 are 4 taps. The phases are channels of the same sum, so
one output transform serves them all.

Rounding in float32, relative to the outputs (rms, 256 channels, inputs that are not negative): 4e-7 with tiles of 2 and 3 taps,
9e-7 with 3, 1.2e-6 with 4, and 4e-6 with tiles of 4 and 4 taps, where the definition has 2e-7 to 4e-7. Inputs that are whole
numbers, as pixels are, are transformed exactly with 4 taps.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from empatheia_jax.nn.toom_cook import TILE, combinations, matrices


def phases(x: Float[Array, "B H W C"], stride: int) -> Float[Array, "B h w K"]:
    """The pictures that a stride sees, as channels: K = stride² · C in the order row, column, channel."""
    if stride == 1:
        return x
    batch, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0)))
    x = x.reshape(batch, x.shape[1] // stride, stride, x.shape[2] // stride, stride, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, x.shape[1], x.shape[3], -1)


def transform_kernel(
    kernel: Float[np.ndarray, "R R C O"], stride: int = 1, tile: int = TILE
) -> Float[np.ndarray, "points K O"]:
    """G g Gᵀ of every phase and channel, in float64: once, where the weights are loaded."""
    size, _, channels, features = kernel.shape
    taps = -(-size // stride)
    kernel = np.pad(kernel.astype(np.float64), ((0, taps * stride - size),) * 2 + ((0, 0),) * 2)
    kernel = kernel.reshape(taps, stride, taps, stride, channels, features)
    _, weights, _ = matrices(tile, taps)
    changed = np.einsum("ya,xb,apbqco->xypqco", weights, weights, kernel, optimize=True)
    return changed.reshape(len(weights) ** 2, -1, features)


def spread(x: Float[Array, "B h w K"], taps: int, tile: int = TILE) -> Float[Array, "n n B Y X K"]:
    """Bᵀ x B of every tile (columns' points, rows' points, picture, tile): as many tiles as cover all outputs."""
    _, _, transform = matrices(tile, taps)
    height, width = (-(-(length - taps + 1) // tile) for length in x.shape[1:3])
    missing = [(0, count * tile + taps - 1 - length) for count, length in zip((height, width), x.shape[1:3])]
    # The barriers keep XLA from computing each transform anew for every one of its uses.
    x = lax.optimization_barrier(jnp.pad(x, ((0, 0), *missing, (0, 0))))
    for axis, count in ((1, height), (3, width)):
        last = (count - 1) * tile + 1
        x = combinations(transform, [lax.slice_in_dim(x, i, i + last, tile, axis) for i in range(len(transform))])
        x = lax.optimization_barrier(x)
    return x


def multiply(x: Float[Array, "n n B Y X K"], kernel: Float[Array, "points K O"]) -> Float[Array, "n n B Y X O"]:
    """The products: one matrix product for each point."""
    products = jnp.einsum("npk,nko->npo", x.reshape(len(kernel), -1, x.shape[-1]), kernel)
    return products.reshape(*x.shape[:-1], -1)


def gather(products: Float[Array, "n n B Y X O"], taps: int, tile: int = TILE) -> Float[Array, "m m B Y X O"]:
    """Aᵀ (·) A: rows and columns within each tile, picture, tile."""
    output, _, _ = matrices(tile, taps)
    half = lax.optimization_barrier(combinations(output, list(products)))
    return combinations(output, [half[:, i] for i in range(half.shape[1])])


def join(tiles: Float[Array, "m m B Y X O"], height: int, width: int) -> Float[Array, "B H W O"]:
    """Pictures out of their tiles."""
    tile, _, batch, rows, columns, features = tiles.shape
    whole = tiles.transpose(2, 3, 0, 4, 1, 5).reshape(batch, rows * tile, columns * tile, features)
    return whole[:, :height, :width]


def convolve(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "points K O"],
    size: int,
    stride: int = 1,
    padding: int = 0,
    tile: int = TILE,
) -> Float[Array, "B Y X O"]:
    """A convolution layer's sum, without bias, for square filters of `size` taps.

    Args:
        kernel: of `transform_kernel`, with the same stride and tile.
    """
    counts = [(length + 2 * padding - size) // stride + 1 for length in x.shape[1:3]]
    taps = -(-size // stride)
    x = phases(jnp.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0))), stride)
    x = x[:, : counts[0] + taps - 1, : counts[1] + taps - 1]
    missing = [(0, count + taps - 1 - length) for count, length in zip(counts, x.shape[1:3])]
    x = jnp.pad(x, ((0, 0), *missing, (0, 0)))
    return join(gather(multiply(spread(x, taps, tile), kernel), taps, tile), *counts)
