"""Content encoder: the speech features around a frame → one token per feature row."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.dreamtalk.transformer import Buffer, encoder_layers, sinusoidal_table, split


class ContentEncoder(nnx.Module):
    """(…, slots, features) → (…, slots, d_model). Frames do not see each other.

    This output is what Empatheia's content synchronizer replaces (C^v) and is trained against in stage 2.
    """

    def __init__(self, config: DenoiserConfig, *, rngs: nnx.Rngs, dtype, param_dtype):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.embed = nnx.Linear(config.audio_feature_dim, config.d_model, **options)
        self.position = Buffer(sinusoidal_table(config.window_slots, config.d_model).astype(param_dtype))
        self.layers = encoder_layers(config, config.content_encoder_layers, **options)

    def __call__(self, windows: Float[Array, "... W C"], key: Array | None = None) -> Float[Array, "... W D"]:
        x = self.embed(windows)
        x = x + self.position[...][0].astype(x.dtype)
        for layer, layer_key in zip(self.layers, split(key, len(self.layers)), strict=True):
            x = layer(x, key=layer_key)
        return x
