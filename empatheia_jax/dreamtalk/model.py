"""The whole DreamTalk as one module and one weights folder: speech features, denoiser, renderer."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx

from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.renderer import Renderer
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from empatheia_jax.errors import UserError

KIND = "dreamtalk"


@dataclasses.dataclass(frozen=True)
class DreamTalkConfig:
    """The three networks and the still pose.

    Attributes:
        speech: wav2vec 2.0 whose last hidden states are the speech features; None = log-mel energies of
            `denoiser.audio_feature_dim` bands (see `features.log_mel`).
        rest_pose: pose coefficients where no pose clip is given.
    """

    speech: Wav2Vec2Config | None
    denoiser: DenoiserConfig
    renderer: RendererConfig
    rest_pose: tuple[float, ...]

    def __post_init__(self):
        object.__setattr__(self, "rest_pose", tuple(float(v) for v in self.rest_pose))
        width = self.denoiser.audio_feature_dim if self.speech is None else self.speech.width
        if width != self.denoiser.audio_feature_dim:
            raise UserError(
                f"DreamTalk config: speech features of width {width}; the denoiser expects {self.denoiser.audio_feature_dim}"
            )
        total = self.denoiser.face3d_dim + len(self.rest_pose)
        if total != self.renderer.coefficient_dim:
            raise UserError(
                f"DreamTalk config: {self.denoiser.face3d_dim} expression + {len(self.rest_pose)} pose coefficients; "
                f"the renderer expects {self.renderer.coefficient_dim}"
            )


class DreamTalk(nnx.Module):
    """Holds the networks; `animator.Animator` runs them."""

    def __init__(self, config: DreamTalkConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.config = config
        self.speech = None if config.speech is None else Wav2Vec2(config.speech, **options)
        self.denoiser = Denoiser(config.denoiser, **options)
        self.renderer = Renderer(config.renderer, **options)
