"""The renderer: a portrait and the motion around a frame → the frame (PIRenderer, Ren et al. 2021)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from empatheia_jax.dreamtalk.config import RendererConfig
from empatheia_jax.dreamtalk.editing_net import EditingNet
from empatheia_jax.dreamtalk.mapping_net import MappingNet
from empatheia_jax.dreamtalk.warping_net import WarpingNet


class Rendered(NamedTuple):
    """Output of the renderer for N frames; images in [-1, 1]."""

    image: Float[Array, "N H W 3"]
    warped: Float[Array, "N H W 3"]
    flow: Float[Array, "N h w 2"]


class Renderer(nnx.Module):
    """Mapping, warping and editing network in a row."""

    def __init__(self, config: RendererConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.config = config
        self.dtype = dtype
        self.mapping = MappingNet(config, **options)
        self.warping = WarpingNet(config, **options)
        self.editing = EditingNet(config, **options)

    def __call__(self, portrait: Float[Array, "B H W 3"], windows: Float[Array, "N T C"]) -> Rendered:
        """Frames of coefficient windows.

        Args:
            portrait: images in [-1, 1]; a batch of 1 serves all windows, else B = N.
            windows: coefficients of the `config.window_frames` frames around each frame (expression, then pose).
        """
        descriptor = self.mapping(windows.astype(self.dtype))
        portrait = portrait.astype(self.dtype)
        warped, flow = self.warping(portrait, descriptor)
        return Rendered(self.editing(portrait, warped, descriptor), warped, flow)


def normalise_image(image: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
    """uint8 RGB → [-1, 1], as float32 rounds (x / 255 - 0.5) / 0.5; by table, since compilers divide less exactly."""
    levels = (np.arange(256, dtype=np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return jnp.asarray(levels)[image]


def to_uint8(image: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """[-1, 1] (clamped) → uint8, truncated."""
    return ((jnp.clip(image, -1, 1) + 1) / 2 * 255).astype(jnp.uint8)
