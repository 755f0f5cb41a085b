"""Mapping network: the coefficients around a frame → one descriptor."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.dreamtalk.config import RendererConfig

MARGIN = 3  # frames that each dilated convolution takes from either side


class MappingNet(nnx.Module):
    """(B, frames, coefficients) → (B, descriptor): valid convolutions over time, then the mean of what is left."""

    def __init__(self, config: RendererConfig, *, rngs: nnx.Rngs, dtype, param_dtype):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        width = config.descriptor_dim
        self.slope = config.leaky_relu_slope
        self.first = nnx.Conv(config.coefficient_dim, width, (7,), padding="VALID", **options)
        self.layers = nnx.List(
            nnx.Conv(width, width, (3,), padding="VALID", kernel_dilation=3, **options)
            for _ in range(config.mapping_layers)
        )

    def hidden(self, windows: Float[Array, "B T C"]) -> list[Float[Array, "B _ D"]]:
        """What leaves each convolution, before the mean."""
        x = self.first(windows)
        states = [x]
        for layer in self.layers:
            x = layer(jax.nn.leaky_relu(x, self.slope)) + x[:, MARGIN:-MARGIN]
            states.append(x)
        return states

    def __call__(self, windows: Float[Array, "B T C"]) -> Float[Array, "B D"]:
        return self.hidden(windows)[-1].mean(axis=1)
