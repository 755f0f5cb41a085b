"""The bias of a layer of Flax, which may have none."""

from __future__ import annotations

from flax import nnx


def bias_of(layer: nnx.Linear | nnx.Conv | nnx.ConvTranspose) -> nnx.Param:
    """The bias of a layer that was built with one. Raises ValueError for a layer without."""
    if layer.bias is None:
        raise ValueError(f"{type(layer).__name__} was built without a bias")
    return layer.bias
