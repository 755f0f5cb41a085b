"""The motion denoiser of DreamTalk (Ma et al. 2023): x0 of the expression from speech content and speaking style."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from empatheia_jax.dreamtalk import diffusion
from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.dreamtalk.content_encoder import ContentEncoder
from empatheia_jax.dreamtalk.decoder import DisentangledDecoder
from empatheia_jax.dreamtalk.style_encoder import StyleEncoder
from empatheia_jax.dreamtalk.transformer import Buffer, split
from empatheia_jax.nn.bias import bias_of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Condition:
    """All that a diffusion step needs and that does not change between steps (see `Denoiser.condition`).

    B is the number of clips; S the number of styles per clip (2 under guidance: conditional, null).
    """

    content: Float[Array, "B L W D"]  # content's share of the first fusion layer
    styles: Float[Array, "S D"]
    upper_query: Float[Array, "S 1 W D"]
    lower_query: Float[Array, "S 1 W D"]


class FusionMLP(nnx.Module):
    """Content and noisy motion → memory: Linear, ReLU, Linear, ReLU, Linear on [content | x_t].

    The first layer is applied as two halves, since the content's half is the same at every diffusion step and the
    motion's half is the same in every slot of a frame's window.
    """

    def __init__(self, config: DenoiserConfig, **options):
        self.d_model = config.d_model
        self.linear1 = nnx.Linear(config.d_model + config.face3d_dim, config.d_model, **options)
        self.linear2 = nnx.Linear(config.d_model, config.d_model, **options)
        self.linear3 = nnx.Linear(config.d_model, config.d_model, **options)

    def content_half(self, content: Float[Array, "... W D"]) -> Float[Array, "... W D"]:
        dtype = self.linear1.dtype
        return content.astype(dtype) @ self.linear1.kernel[...][: self.d_model].astype(dtype) + bias_of(self.linear1)[
            ...
        ].astype(dtype)

    def __call__(self, content_half: Float[Array, "B L W D"], x_t: Float[Array, "B L C"]) -> Float[Array, "B L W D"]:
        dtype = self.linear1.dtype
        motion = x_t.astype(dtype) @ self.linear1.kernel[...][self.d_model :].astype(dtype)
        hidden = jax.nn.relu(content_half + motion[..., None, :])
        return self.linear3(jax.nn.relu(self.linear2(hidden)))


class TimeEmbedding(nnx.Module):
    """Step t (1 … T, raw) → Linear, SiLU, Linear on [cos | sin] of t · 10000^(-i / (D/2))."""

    def __init__(self, dim: int, **options):
        self.dim = dim
        self.linear1 = nnx.Linear(dim, dim, **options)
        self.linear2 = nnx.Linear(dim, dim, **options)

    @staticmethod
    def sinusoid(t: Float[Array, " B"], dim: int) -> Float[Array, "B D"]:
        """[cos | sin] features of the step."""
        half = dim // 2
        # Angles reach 1000 rad, where rounding a product to float32 costs 3e-5. So a frequency is split into 12 leading
        # bits, whose product with a step below 4096 is exact, and a small rest, joined by the addition theorem.
        frequency = np.power(10000.0, -np.arange(half) / half)
        mantissa, exponent = np.frexp(frequency)
        leading = np.ldexp(np.floor(mantissa * 4096) / 4096, exponent)
        a = t[:, None] * jnp.asarray(leading, t.dtype)
        b = t[:, None] * jnp.asarray(frequency - leading, t.dtype)
        cosine = jnp.cos(a) * jnp.cos(b) - jnp.sin(a) * jnp.sin(b)
        sine = jnp.sin(a) * jnp.cos(b) + jnp.cos(a) * jnp.sin(b)
        return jnp.concatenate([cosine, sine], axis=-1)

    def __call__(self, t: Float[Array, " B"]) -> Float[Array, "B D"]:
        return self.linear2(jax.nn.silu(self.linear1(self.sinusoid(t, self.dim))))


class Denoiser(nnx.Module):
    """Speech windows, a style clip and noisy motion → clean motion.

    `condition` runs the encoders once per clip, `sample_ddim`/`sample_ddpm` walk the diffusion, and `__call__` is one
    plain evaluation for training. Content (C^v) and style code (S^v) may come from elsewhere: that is where Empatheia
    enters.
    """

    def __init__(self, config: DenoiserConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.config = config
        self.dtype = dtype
        self.content_encoder = ContentEncoder(config, **options)
        self.style_encoder = StyleEncoder(config, **options)
        self.decoder = DisentangledDecoder(config, **options)
        self.fusion = FusionMLP(config, **options)
        self.time_embedding = TimeEmbedding(config.d_model, **options)
        self.schedule = diffusion.VarianceSchedule(
            config.diffusion_steps, config.beta_first, config.beta_last, param_dtype=param_dtype
        )
        # guidance's "no style" is a clip of zeros without padding: its rows are attended to
        self.null_style_clip = Buffer(jnp.zeros((config.style_max_len, config.face3d_dim), param_dtype))
        self.null_style_padding = Buffer(jnp.zeros((config.style_max_len,), bool))

    def null_style(self) -> Float[Array, "1 D"]:
        """Style code of the null clip."""
        return self.style_encoder(
            self.null_style_clip[...][None].astype(self.dtype), self.null_style_padding[...].astype(bool)[None]
        )

    def condition(
        self, content: Float[Array, "1 L W D"], style: Float[Array, "1 D"], *, guided: bool = False
    ) -> Condition:
        """Precomputes everything that stays the same during sampling of one clip."""
        styles = jnp.concatenate([style, self.null_style()]) if guided else style
        upper, lower = self.decoder.queries(styles)
        return Condition(self.fusion.content_half(content), styles, upper, lower)

    def predict(self, x_t: Float[Array, "1 L C"], t: Float[Array, ""], condition: Condition) -> Float[Array, "S L C"]:
        """x0 for every style of `condition`; the memory is computed once for all of them."""
        memory = self.fusion(condition.content, x_t) + self.time_embedding(t[None])[:, None, None, :]
        return self.decoder.decode((condition.upper_query, condition.lower_query), memory, condition.styles)

    def _guided(self, condition: Condition, scale: float | Array | None) -> diffusion.Predict:
        def predict(x_t, t):
            clean = self.predict(x_t, t, condition)
            return clean if scale is None else diffusion.guide(clean[:1], clean[1:], scale)

        return predict

    def sample_ddim(
        self,
        content: Float[Array, "1 L W D"],
        style: Float[Array, "1 D"],
        noise: Float[Array, "1 L C"],
        *,
        steps: int,
        guidance: float | Array | None = None,
    ) -> tuple[Float[Array, "1 L C"], Float[Array, "n 1 L C"]]:
        """Motion of one clip by DDIM; `guidance` None skips the null half (the same result as scale 1)."""
        condition = self.condition(content, style, guided=guidance is not None)
        return diffusion.ddim_sample(self._guided(condition, guidance), self.schedule, noise, steps)

    def sample_ddpm(
        self,
        content: Float[Array, "1 L W D"],
        style: Float[Array, "1 D"],
        noises: Float[Array, "T 1 L C"],
        *,
        guidance: float | Array | None = None,
        flexibility: float = 0.0,
        schedule: diffusion.VarianceSchedule | None = None,
    ) -> tuple[Float[Array, "1 L C"], Float[Array, "T 1 L C"]]:
        """Motion of one clip by ancestral sampling, with the model's schedule or another one."""
        condition = self.condition(content, style, guided=guidance is not None)
        schedule = self.schedule if schedule is None else schedule
        return diffusion.ddpm_sample(self._guided(condition, guidance), schedule, noises, flexibility)

    def __call__(
        self,
        x_t: Float[Array, "B L C"],
        t: Float[Array, " B"],
        audio: Float[Array, "B L W A"],
        style_clip: Float[Array, "B N C"],
        style_padding: Bool[Array, "B N"],
        key: Array | None = None,
    ) -> Float[Array, "B L C"]:
        """One evaluation for a batch of clips; with `key`, dropout is on (training)."""
        content_key, style_key, decoder_key = split(key, 3)
        content = self.content_encoder(audio, content_key)
        memory = self.fusion(self.fusion.content_half(content), x_t) + self.time_embedding(t)[:, None, None, :]
        style = self.style_encoder(style_clip, style_padding, style_key)
        return self.decoder(memory, style, decoder_key)
