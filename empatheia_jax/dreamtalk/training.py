"""Losses of DreamTalk's two trainings, as pure functions. Each returns (sum, weight) pairs to be divided once.

Denoiser: DreamTalk trains the network to predict the clean motion, E ‖x0 − f(x_t, t, audio, style)‖² (the x0 form of
Ho et al. 2020's simple loss), with the style replaced by the null clip at random so that classifier-free guidance works
(Ho & Salimans 2022). The optional velocity term is MDM's (Tevet et al. 2023). DreamTalk's lip expert is not public.

Renderer: PIRenderer (Ren et al. 2021) trains the warping network alone on a perceptual loss of the warped picture, then
everything on that plus content and style (Gram) losses of the finished one. A plain L1 term may be added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.perceptual import Features, perceptual_distance
from empatheia_jax.dreamtalk.renderer import Renderer
from empatheia_jax.settings.rules import NotNegative, Whole


class Sum(NamedTuple):
    """A sum of per-example values and of their weights; their quotient is the mean."""

    total: Float[Array, ""]
    weight: Float[Array, ""]

    @property
    def mean(self) -> Float[Array, ""]:
        """Total / weight (0 where nothing was weighed)."""
        return self.total / jnp.maximum(self.weight, 1e-12)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MotionBatch:
    """Clips for the denoiser: B clips of L frames, windows of W feature rows, style clips of N frames."""

    motion: Float[Array | np.ndarray, "B L C"]  # clean expression coefficients
    audio: Float[Array | np.ndarray, "B L W A"]
    frame_weight: Float[Array | np.ndarray, "B L"]  # 0 = padding
    style_clip: Float[Array | np.ndarray, "B N C"]  # another clip of the same person and emotion
    style_padding: Bool[Array | np.ndarray, "B N"]  # True = padding


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FrameBatch:
    """Frames for the renderer: B portraits, the coefficients around the wanted frames, and those frames."""

    portrait: Float[Array | np.ndarray, "B H W 3"]  # in [-1, 1]
    windows: Float[Array | np.ndarray, "B T C"]
    target: Float[Array | np.ndarray, "B H W 3"]
    weight: Float[Array | np.ndarray, " B"]


def denoiser_loss(
    model: Denoiser,
    batch: MotionBatch,
    key: Array | None,
    *,
    null_probability: float | Float[Array, ""],
    velocity_weight: float | Float[Array, ""] = 0.0,
    coefficient_weight: Float[Array, " C"] | float = 1.0,
) -> dict[str, Sum]:
    """Loss of one batch at random steps t ~ U{1 … T}: `loss`, and its parts `x0` and `velocity`.

    Args:
        key: of the steps, the noise, the null styles and dropout; None asks for the form without chance (evaluation):
            fixed steps and noise, no null style, no dropout.
        null_probability: share of clips that see the null style (0.1 in DreamTalk).
        velocity_weight: weight of the squared error of frame-to-frame differences.
        coefficient_weight: weight of each coefficient, for motions whose coefficients differ in size or importance.
    """
    step_key, noise_key, null_key, dropout_key = jax.random.split(jax.random.key(0) if key is None else key, 4)
    if key is None:
        dropout_key, null_probability = None, 0.0
    clips = batch.motion.shape[0]
    t = jax.random.randint(step_key, (clips,), 1, model.config.diffusion_steps + 1)
    alpha_bar = model.schedule.alpha_bars[...][t].astype(batch.motion.dtype)[:, None, None]
    noise = jax.random.normal(noise_key, batch.motion.shape, batch.motion.dtype)
    motion, audio, frame_weight = (jnp.asarray(x) for x in (batch.motion, batch.audio, batch.frame_weight))
    noisy = jnp.sqrt(alpha_bar) * motion + jnp.sqrt(1 - alpha_bar) * noise

    null = jax.random.bernoulli(null_key, null_probability, (clips, 1))
    style_clip = jnp.where(null[..., None], model.null_style_clip[...].astype(batch.style_clip.dtype), batch.style_clip)
    style_padding = jnp.where(null, model.null_style_padding[...].astype(bool), batch.style_padding)
    clean = model(noisy, t.astype(motion.dtype), audio, style_clip, style_padding, dropout_key)

    error = clean - motion
    x0 = _weighted((coefficient_weight * jnp.square(error)).mean(axis=-1), frame_weight)
    both = frame_weight[:, 1:] * frame_weight[:, :-1]
    velocity = _weighted((coefficient_weight * jnp.square(jnp.diff(error, axis=1))).mean(axis=-1), both)
    # one quotient at the end: the velocity term is brought to the weight of the x0 term
    scale = velocity_weight * x0.weight / jnp.maximum(velocity.weight, 1e-12)
    return {"loss": Sum(x0.total + scale * velocity.total, x0.weight), "x0": x0, "velocity": velocity}


@dataclasses.dataclass(frozen=True)
class RendererWeights:
    """Weights of the renderer's loss terms; the constants of PIRenderer's training are 2.5, 4, 250 and 4 scales."""

    warp: NotNegative = 2.5
    final: NotNegative = 4.0
    style: NotNegative = 250.0  # of Gram matrices, relative to content
    pixel: NotNegative = 0.0  # plain L1 of the finished frame
    scales: Annotated[int, Whole(1, 8)] = 4


def renderer_loss(
    model: Renderer, batch: FrameBatch, features: Features, weights: RendererWeights, *, warp_only: bool = False
) -> dict[str, Sum]:
    """Loss of one batch: `loss`, and its parts `warp`, `final` and `pixel` (the last two not while `warp_only`).

    Args:
        features: the picture features of the perceptual terms (`perceptual.Vgg19` or `perceptual.edge_features`).
        warp_only: the first phase of PIRenderer's training: the editing network neither runs nor learns.
    """
    portrait, target, windows = (jnp.asarray(x) for x in (batch.portrait, batch.target, batch.windows))
    weight = jnp.asarray(batch.weight)
    descriptor = model.mapping(windows)
    warped, _ = model.warping(portrait, descriptor)
    parts = {"warp": perceptual_distance(features, warped, target, scales=weights.scales)}
    loss = weights.warp * parts["warp"]
    if not warp_only:
        image = model.editing(portrait, warped, descriptor)
        parts["final"] = perceptual_distance(features, image, target, scales=weights.scales, style_weight=weights.style)
        parts["pixel"] = jnp.abs(image - target).mean(axis=(1, 2, 3))
        loss += weights.final * parts["final"] + weights.pixel * parts["pixel"]
    return {name: _weighted(value, weight) for name, value in {"loss": loss, **parts}.items()}


def denoiser_objective(**options) -> Callable[[Denoiser, MotionBatch, Array | None], dict[str, Sum]]:
    """`denoiser_loss` as the training step takes it: (model, batch, rng) → {name: (sum, weight)}."""
    return lambda model, batch, rng: denoiser_loss(model, batch, rng, **options)


def _weighted(value: Array, weight: Array) -> Sum:
    return Sum((value * weight).sum(), weight.sum())
