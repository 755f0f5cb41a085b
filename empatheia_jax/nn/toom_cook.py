"""Correlation of long sequences with fewer multiplications: what a CPU gains from minimal filtering.

Winograd 1980, "Arithmetic Complexity of Computations"; Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural
Networks", for pictures. A tile of m outputs of a filter of r taps needs m + r − 1 products instead of m · r:

    y = Aᵀ [(G g) ⊙ (Bᵀ x)],

where products are matrix products over channels. Longer filters are cut into parts of r taps. With r = m a part sees the
tile that its predecessor sees one tile later, so the transformed input is shared, and parts are summed before Aᵀ: with
m = r = 4 a filter of 11 taps takes 21 products for 4 outputs where the definition takes 44. Each of the m + r − 1 products is
then a short convolution over tiles, which XLA's library computes on all cores of a CPU.

Rounding is about four times that of the definition in float32 (`tests/nn/test_toom_cook.py`), so this is not for half
precision; accelerators have units of their own for convolutions and gain nothing.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from math import lcm

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

TILE = 4
"""Outputs of a tile. More would save more, and lose digits."""
POINTS = {
    1: (0,),
    2: (0, 1),
    3: (0, 1, -1),
    4: (0, Fraction(1, 2), -1, 2),
    5: (0, Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)),
    6: (0, 1, -1, 2, Fraction(-1, 2), -2),
}
"""Where polynomials are evaluated, beside infinity, by their number: of the sets that we tried, those that lose fewest digits."""
CHUNK = 2**21
"""Numbers of a sequence that are worked on at once, which bounds the memory of their transforms. XLA's library uses one core
alone for the products of much shorter chunks.
"""


@functools.cache
def matrices(tile: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Aᵀ (tile, n), G (n, taps) and Bᵀ (n, n) for n = tile + taps − 1 products, exact before rounding to float64.

    Polynomials multiply where they are evaluated; correlation is the transposed of that multiplication.

    Raises:
        ValueError: no points are known for so many products.
    """
    size = tile + taps - 1
    if size - 1 not in POINTS:
        raise ValueError(f"a tile of {tile} and {taps} taps need {size - 1} points; {max(POINTS)} are known")
    points = [Fraction(point) for point in POINTS[size - 1]]

    def evaluation(length: int) -> list[list[Fraction]]:
        at_infinity = [Fraction(int(power == length - 1)) for power in range(length)]
        return [[point**power for power in range(length)] for point in points] + [at_infinity]

    interpolation = _inverse(evaluation(size))
    transform = [list(column) for column in zip(*interpolation)]
    kernel = evaluation(taps)
    output = evaluation(tile)
    # Numbers that are rounded would move every result in the same direction: what divides them goes to the kernel. Of the output,
    # odd divisors alone, since halves are exact in floating point, and ones cost nothing.
    for i in range(size):
        scale = lcm(*(value.denominator for value in transform[i]))
        back = lcm(*(value.denominator // (value.denominator & -value.denominator) for value in output[i]))
        transform[i] = [value * scale for value in transform[i]]
        output[i] = [value * back for value in output[i]]
        kernel[i] = [value / (scale * back) for value in kernel[i]]
    output = [list(column) for column in zip(*output)]

    def floats(rows: list[list[Fraction]]) -> np.ndarray:
        return np.array([[float(value) for value in row] for row in rows])

    return floats(output), floats(kernel), floats(transform)


def _inverse(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """Gauss and Jordan over the rationals."""
    size = len(rows)
    wide = [[*row, *(Fraction(int(i == j)) for j in range(size))] for i, row in enumerate(rows)]
    for i in range(size):
        pivot = next(k for k in range(i, size) if wide[k][i])
        wide[i], wide[pivot] = wide[pivot], wide[i]
        wide[i] = [value / wide[i][i] for value in wide[i]]
        for k in range(size):
            if k != i and wide[k][i]:
                wide[k] = [a - wide[k][i] * b for a, b in zip(wide[k], wide[i])]
    return [row[size:] for row in wide]


def correlate(x: Float[Array, "B T I"], kernel: Float[Array, "width I O"], dilation: int = 1) -> Float[Array, "B T O"]:
    """Stride 1, zeros at both ends so that the length stays (odd widths): a convolution layer's product, without bias."""
    width, channels, features = kernel.shape
    batch, time, _ = x.shape
    taps = min(TILE, width)
    output, weights, transform = matrices(TILE, taps)
    size, parts = len(transform), -(-width // taps)
    step = TILE * dilation  # a tile takes every dilation-th position, and that many tiles interleave
    chunks = max(1, min(round(time * channels / CHUNK), time // step))
    each = -(-time // (chunks * step))  # tiles of a chunk
    length = each * step
    left = dilation * (width - 1) // 2
    # Not `jnp.pad`: what computes `x` would be fused into it and then run element by element.
    zeros = [jnp.zeros((batch, n, channels), x.dtype) for n in (left, max(length - time, 0) + parts * step - left)]
    x = jnp.concatenate([zeros[0], x, zeros[1]], 1)
    groups = [list(kernel[first : first + taps]) for first in range(0, width, taps)]
    kernels = jnp.stack([combinations(weights[:, : len(group)], group) for group in groups], 1)  # (n, parts, I, O)

    def piece(first):
        seen = lax.dynamic_slice_in_dim(x, first, length + parts * step, 1)
        seen = seen.reshape(batch, each + parts, TILE, dilation, channels)
        places = [seen[:, :-1, i] for i in range(TILE)] + [seen[:, 1:, i] for i in range(taps - 1)]
        changed = combinations(transform, places).reshape(size, batch, -1, channels)
        # The sum over parts is a correlation of tiles, of which `dilation` interleave.
        products = [
            lax.conv_general_dilated(
                changed[j], kernels[j], (1,), "VALID", rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
            ).reshape(batch, each, dilation, features)
            for j in range(size)
        ]
        return jnp.moveaxis(combinations(output, products), 0, 2).reshape(batch, length, features)

    if chunks == 1:
        return piece(0)[:, :time]

    def write(i, y):
        first = jnp.minimum(i * length, time - length)  # the last chunk repeats some of its predecessor
        return lax.dynamic_update_slice_in_dim(y, piece(first), first, 1)

    return lax.fori_loop(0, chunks, write, jnp.zeros((batch, time, features), x.dtype))


def combinations(rows: np.ndarray, values: list[Array]) -> Array:
    """Sums of `values` with the factors of each row, stacked; zeros and ones cost nothing."""

    def combine(row):
        terms = [value if factor == 1 else factor * value for factor, value in zip(row.tolist(), values) if factor]
        return functools.reduce(jnp.add, terms) if terms else jnp.zeros_like(values[0])

    return jnp.stack([combine(row) for row in rows])
