"""StyleTTS 2's style diffusion: the denoiser that turns noise and text into a style vector, with its preconditioning.

A Transformer over PL-BERT's states with the noisy style beside every one (Li et al. 2023, section 3.2), wrapped as Karras et
al. 2022 (arXiv:2206.00364, table 1, "EDM") prescribe. After yl4579/StyleTTS2, `Modules/diffusion/modules.py`.
Axes: B batch, T text positions, D width (style + text), S style (256).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from empatheia_jax.nn.attention import attention
from empatheia_jax.nn.linear import LayerNorm
from empatheia_jax.styletts2.config import DiffusionConfig
from empatheia_jax.styletts2.linear import linear
from empatheia_jax.styletts2.masks import length_mask, masked
from empatheia_jax.styletts2.norms import AdaptiveLayerNorm


def gelu(x: Array) -> Array:
    """The exact form, with the error function."""
    return jax.nn.gelu(x, approximate=False)


class DenoiserBlock(nnx.Module):
    """Self-attention with separate norms for queries and for keys and values, then a feed-forward network; both residual.

    The multi-speaker release has norms that adapt to the reference style, the single-speaker one plain norms.
    """

    def __init__(self, config: DiffusionConfig, width: int, style_dim: int | None, *, rngs, dtype, param_dtype):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        inner = config.num_heads * config.head_features

        def norm():
            return (
                LayerNorm(width, 1e-5, **kinds) if style_dim is None else AdaptiveLayerNorm(style_dim, width, **kinds)
            )

        self.norm, self.norm_context = norm(), norm()
        self.to_q = linear(width, inner, use_bias=False, **kinds)
        self.to_kv = linear(width, 2 * inner, use_bias=False, **kinds)
        self.to_out = linear(inner, width, **kinds)
        self.up = linear(width, config.multiplier * width, **kinds)
        self.down = linear(config.multiplier * width, width, **kinds)
        self.heads = config.num_heads

    def __call__(
        self, x: Float[Array, "B T D"], features: Float[Array, "B S"] | None, lengths: Int[Array, " B"] | None
    ) -> Float[Array, "B T D"]:
        style = () if features is None else (features,)
        q = self.to_q(self.norm(x, *style))
        k, v = jnp.split(self.to_kv(self.norm_context(x, *style)), 2, -1)
        q, k, v = (part.reshape(*part.shape[:2], self.heads, -1) for part in (q, k, v))
        mixed = attention(q, k, v, lengths=lengths)
        x = x + self.to_out(mixed.reshape(*x.shape[:2], -1))
        return x + self.down(gelu(self.up(x)))


class StyleDenoiser(nnx.Module):
    """The network F of the preconditioned denoiser: scaled noisy style, ln(σ) / 4 and text states → an update."""

    def __init__(
        self,
        config: DiffusionConfig,
        style: int,
        text: int,
        features: int | None,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        """`style`, `text`, `features`: widths of a style vector, of PL-BERT's states and of the reference style, if any."""
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        width = style + text
        self.blocks = nnx.List(DenoiserBlock(config, width, features, **kinds) for _ in range(config.num_layers))
        self.to_out = linear(width, style, **kinds)
        self.mapping1, self.mapping2 = linear(width, width, **kinds), linear(width, width, **kinds)
        self.frequencies = nnx.Param(jax.random.normal(rngs.params(), (style // 2,), param_dtype))
        self.to_time = linear(style + 1, width, **kinds)
        self.to_features = None if features is None else linear(features, width, **kinds)
        self.fixed_embedding = nnx.Param(jax.random.normal(rngs.params(), (config.max_length, text), param_dtype))
        self.sigma_data, self.dtype = config.sigma_data, dtype

    def mapping(self, time: Float[Array, " B"], features: Float[Array, "B S"] | None) -> Float[Array, "B D"]:
        """What is added before every block: learned Fourier features of the time, and the reference style."""
        time = time.astype(self.dtype)[:, None]
        angles = 2 * math.pi * time * self.frequencies[...].astype(self.dtype)
        x = gelu(self.to_time(jnp.concatenate([time, jnp.sin(angles), jnp.cos(angles)], -1)))
        if self.to_features is not None:
            if features is None:
                raise ValueError("a denoiser of many voices needs the style of a reference")
            x = x + gelu(self.to_features(features))
        return gelu(self.mapping2(gelu(self.mapping1(x))))

    def __call__(
        self,
        x: Float[Array, "B S"],
        time: Float[Array, " B"],
        embedding: Float[Array, "B T E"],
        features: Float[Array, "B S"] | None = None,
        lengths: Int[Array, " B"] | None = None,
    ) -> Float[Array, "B S"]:
        """The network itself. `lengths` counts valid text positions: attention and the final mean see those only."""
        mapping = self.mapping(time, features)[:, None]
        repeated = jnp.broadcast_to(x.astype(self.dtype)[:, None], (*embedding.shape[:2], x.shape[-1]))
        y = jnp.concatenate([repeated, embedding.astype(self.dtype)], -1)
        for block in self.blocks:
            y = block(y + mapping, features, lengths)
        if lengths is None:
            return self.to_out(jnp.mean(y, 1))
        y = masked(y, length_mask(lengths, y.shape[1], self.dtype))
        return self.to_out(jnp.sum(y, 1) / lengths[:, None].astype(self.dtype))

    def scales(self, sigma: Float[Array, " B"]) -> tuple[Float[Array, " B"], ...]:
        """c_skip, c_out, c_in and c_noise at noise level σ."""
        data = self.sigma_data
        total = jnp.square(sigma) + data**2
        return data**2 / total, sigma * data / jnp.sqrt(total), 1 / jnp.sqrt(total), jnp.log(sigma) / 4

    def denoise(
        self,
        x: Float[Array, "B S"],
        sigma: Float[Array, " B"],
        embedding: Float[Array, "B T E"],
        features: Float[Array, "B S"] | None = None,
        lengths: Int[Array, " B"] | None = None,
        guidance: float | Float[Array, ""] = 1.0,
    ) -> Float[Array, "B S"]:
        """The estimated clean style: c_skip x + c_out F(c_in x, c_noise).

        With `guidance` w ≠ 1, F is F₀ + w (F − F₀), where F₀ sees a learned embedding in place of the text (classifier-free
        guidance, Ho and Salimans 2022; the original calls w `embedding_scale`). A traced w always runs both.
        """
        skip, out, into, noise = (c.astype(self.dtype) for c in self.scales(sigma))
        scaled = into[:, None] * x
        estimate = self(scaled, noise, embedding, features, lengths)
        if not (isinstance(guidance, int | float) and guidance == 1):
            fixed = self.fixed_embedding[...].astype(self.dtype)[: embedding.shape[1]]
            blind = self(scaled, noise, jnp.broadcast_to(fixed, embedding.shape), features, lengths)
            estimate = blind + guidance * (estimate - blind)
        return skip[:, None] * x + out[:, None] * estimate
