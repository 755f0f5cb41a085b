"""Style encoder: a clip of expression coefficients → one style code."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.dreamtalk.transformer import Buffer, encoder_layers, sinusoidal_table, split

MASKED_LOGIT = -100000.0  # added, not assigned: as the released network does


def mish(x: Array) -> Array:
    """X tanh(softplus(x)) (Misra 2019)."""
    return x * jnp.tanh(jax.nn.softplus(x))


class AttentionPooling(nnx.Module):
    """Self-attentive pooling over time (Safari et al. 2020): weights softmax(Linear(Mish(Linear(x))))."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs, dtype, param_dtype):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.hidden = nnx.Linear(dim, dim, **options)
        self.score = nnx.Linear(dim, 1, **options)

    def __call__(self, x: Float[Array, "B T D"], padding: Bool[Array, "B T"]) -> Float[Array, "B D"]:
        logits = self.score(mish(self.hidden(x)))[..., 0]
        logits = logits + padding.astype(logits.dtype) * MASKED_LOGIT
        return jnp.einsum("bt,btd->bd", jax.nn.softmax(logits, axis=-1), x)


class StyleEncoder(nnx.Module):
    """A padded clip (B, style_max_len, face3d_dim) → the style code (B, d_model).

    This output is what Empatheia's style disentangler replaces (S^v) and is trained against in stage 3.
    """

    def __init__(self, config: DenoiserConfig, *, rngs: nnx.Rngs, dtype, param_dtype):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.embed = nnx.Linear(config.face3d_dim, config.d_model, **options)
        self.position = Buffer(sinusoidal_table(config.style_max_len, config.d_model).astype(param_dtype))
        self.layers = encoder_layers(config, config.style_encoder_layers, **options)
        self.pooling = (
            AttentionPooling(config.d_model, **options) if config.style_pooling == "self_attention_pooling" else None
        )

    def encode(
        self, clip: Float[Array, "B T C"], padding: Bool[Array, "B T"], key: Array | None = None
    ) -> Float[Array, "B T D"]:
        """Tokens before pooling; `padding` True = not part of the clip."""
        x = self.embed(clip)
        x = x + self.position[...][0, : clip.shape[1]].astype(x.dtype)
        for layer, layer_key in zip(self.layers, split(key, len(self.layers)), strict=True):
            x = layer(x, padding, layer_key)
        return x

    def __call__(
        self, clip: Float[Array, "B T C"], padding: Bool[Array, "B T"], key: Array | None = None
    ) -> Float[Array, "B D"]:
        x = self.encode(clip, padding, key)
        if self.pooling is not None:
            return self.pooling(x, padding)
        valid = ~padding[..., None]
        return jnp.where(valid, x, 0).sum(axis=1) / valid.sum(axis=1)
