"""Masks of padded sequences: 1 at valid positions, 0 at padding.

Axes: B batch, T time (tokens, frames or samples), C or I/O channels, S style. Sequences are channels-last, (B, T, C).

The original runs one utterance at a time, unpadded. Here sequences are padded to a bucket's length, and every
layer whose output at a valid position would see the padding takes a mask, so that a padded run equals the unpadded one:
convolutions receive zeros beyond the end (what the original's zero padding gives), instance norm computes its statistics
over valid positions, and the backward direction of a recurrent layer starts at the last valid position. `mask=None`
means that everything is valid, and costs nothing.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

Mask = Float[Array, "B T 1"] | None


def length_mask(lengths: Int[Array, " B"], size: int, dtype: DTypeLike) -> Float[Array, "B T 1"]:
    """1 at positions below a row's length, else 0."""
    return (jnp.arange(size)[None, :] < lengths[:, None]).astype(dtype)[..., None]


def masked(x: Float[Array, "B T C"], mask: Mask) -> Float[Array, "B T C"]:
    """`x` with zeros at padding, whatever stood there."""
    return x if mask is None else jnp.where(mask > 0, x, 0)


def double(mask: Mask) -> Float[Array, "B U 1"] | None:
    """The mask at twice the rate."""
    return None if mask is None else jnp.repeat(mask, 2, axis=1)
