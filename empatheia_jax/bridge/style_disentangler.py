"""The style disentangler (SD): emotion and profile out of the signal tokens' states (paper §4.3, (3)–(7), (11)).

    z_e^m = Enc(FFN(r^m), q_e^m),  E^m = Dec(FFN(z_e^m), q_e^m)      likewise P^m with q_p^m,  m in {speech, video}
    S^m = style layer of E^m ⊕ P^m;   E = fuse(E^s, E^v), P = fuse(P^s, P^v)

An emotion head reads E; age, gender and tone heads read P.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.bridge.content_synchronizer import length_mask
from empatheia_jax.bridge.transformer import Block, BlockConfig, Gaussian, linear
from empatheia_jax.settings.choices import BridgeKind, Fuse, Sharing, StyleInputs

CLASSES = {"emotion": 7, "age": 4, "gender": 2, "tone": 3}
QUERIES = ("emotion_speech", "emotion_video", "profile_speech", "profile_video")


@dataclasses.dataclass(frozen=True)
class DisentanglerConfig:
    """Sizes and switches of SD.

    `sharing`: "all" (one Enc and Dec, four queries; our reading of the paper's symbols), "modality" (one pair for speech,
    one for video) or "none" (four pairs). `inputs`: "own" (r^s and r^v) or "speech" (the literal (3)–(6): r^s for both).
    `fuse`: "linear" or "mean". `kind`: "vae", or "linear" for the ablation without SD: a linear map of the mean state,
    no heads.
    """

    hidden: int
    block: BlockConfig
    latent: int
    speech_style: int
    video_style: int
    sharing: Sharing = "all"
    inputs: StyleInputs = "own"
    fuse: Fuse = "linear"
    kind: BridgeKind = "vae"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Style:
    """S^s (B, 256), S^v (B, 256), fused E and P (B, D), logits by task, the KL per example (B,); NumPy on the host."""

    speech: Float[Array | np.ndarray, "B S"]
    video: Float[Array | np.ndarray, "B V"]
    emotion: Float[Array | np.ndarray, "B D"] | None
    profile: Float[Array | np.ndarray, "B D"] | None
    logits: Mapping[str, Float[Array | np.ndarray, "B _"]]
    kl: Float[Array | np.ndarray, " B"]


class _Vae(nnx.Module):
    """One Enc/Dec pair: (n, B, G, D) states and n queries → (n, B, D) and KL (B,)."""

    def __init__(self, config: DisentanglerConfig, *, rngs: nnx.Rngs, **dtypes):
        width = config.block.width
        self.encoder = Block(config.block, rngs=rngs, **dtypes)
        self.latent = Gaussian(width, config.latent, rngs=rngs, **dtypes)
        self.latent_input = linear(config.latent, width, (None, "embed"), rngs=rngs, **dtypes)
        self.decoder = Block(config.block, rngs=rngs, **dtypes)

    def __call__(
        self,
        states: Float[Array, "n B G D"],
        valid: Bool[Array, "B G"],
        queries: Float[Array, "n D"],
        key: Array | None,
    ):
        count, batch, length, width = states.shape
        source = states.reshape(count * batch, length, width)
        query = jnp.repeat(queries, batch, axis=0)[:, None, :].astype(source.dtype)  # (n B, 1, D)
        one = jnp.ones((count * batch, 1), bool)
        encoded = self.encoder(source, jnp.tile(valid, (count, 1)), query, one)
        z, kl = self.latent(encoded, key)
        out = self.decoder(self.latent_input(z.astype(source.dtype)), one, query, one)
        return out.reshape(count, batch, width), kl.reshape(count, batch).sum(0)


class StyleDisentangler(nnx.Module):
    """SD as above: r^s, r^v (B, 16, H) → `Style`."""

    def __init__(self, config: DisentanglerConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        self.config = config
        dtypes: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype}
        width = config.block.width
        self.input = linear(config.hidden, width, (None, "embed"), rngs=rngs, **dtypes)
        styled = width
        if config.kind == "vae":
            pairs = {"all": 1, "modality": 2, "none": 4}[config.sharing]
            self.vaes = nnx.List([_Vae(config, rngs=rngs, **dtypes) for _ in range(pairs)])
            self.queries = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (len(QUERIES), width), param_dtype))
            styled = 2 * width
            if config.fuse == "linear":
                self.fuse_emotion = linear(2 * width, width, (None, "embed"), rngs=rngs, **dtypes)
                self.fuse_profile = linear(2 * width, width, (None, "embed"), rngs=rngs, **dtypes)
            self.heads = nnx.Dict(
                {
                    task: linear(width, classes, ("embed", None), rngs=rngs, **dtypes)
                    for task, classes in CLASSES.items()
                }
            )
        self.speech_style = linear(styled, config.speech_style, (None, "embed"), rngs=rngs, **dtypes)
        self.video_style = linear(styled, config.video_style, (None, "embed"), rngs=rngs, **dtypes)

    def __call__(
        self,
        speech: Float[Array, "B G H"],
        video: Float[Array, "B G H"],
        key: Array | None = None,
        lengths: Int[Array, " B"] | None = None,
    ) -> Style:
        """`key` samples the latents (training), None takes their means; `lengths`: valid states of each row, None = all."""
        if self.config.kind == "vae":
            return self.style(*self.parts(speech, video, key, lengths))
        video = speech if self.config.inputs == "speech" else video
        speech, video = self.input(speech), self.input(video)
        valid = jnp.ones(speech.shape[:2], bool) if lengths is None else length_mask(lengths, speech.shape[1])
        mean = (lambda x: x.mean(1)) if lengths is None else (lambda x: jnp.mean(x, 1, where=valid[..., None]))
        styles = self.speech_style(mean(speech)), self.video_style(mean(video))
        return Style(*styles, None, None, {}, jnp.zeros(speech.shape[0]))

    def parts(
        self,
        speech: Float[Array, "B G H"],
        video: Float[Array, "B G H"],
        key: Array | None = None,
        lengths: Int[Array, " B"] | None = None,
    ) -> tuple[tuple[Float[Array, "B D"], ...], Float[Array, " B"]]:
        """(E^s, E^v, P^s, P^v), before they are joined, and the KL per example; arguments as of a call."""
        config = self.config
        video = speech if config.inputs == "speech" else video
        speech, video = self.input(speech), self.input(video)
        batch = speech.shape[0]
        valid = jnp.ones(speech.shape[:2], bool) if lengths is None else length_mask(lengths, speech.shape[1])
        states = jnp.stack([speech, video, speech, video])  # in the order of QUERIES
        count = len(self.vaes)
        keys = [None] * count if key is None else list(jax.random.split(key, count))
        out: dict[int, Array] = {}
        kl = jnp.zeros(batch)
        for index, vae in enumerate(self.vaes):
            chosen = jnp.arange(index, len(QUERIES), count)  # "modality": 0 takes the speech rows, 1 the video rows
            result, part = vae(states[chosen], valid, self.queries[...][chosen], keys[index])
            kl = kl + part
            for row, query in enumerate(range(index, len(QUERIES), count)):
                out[query] = result[row]
        return tuple(out[query] for query in range(len(QUERIES))), kl

    def style(self, parts: tuple[Float[Array, "B D"], ...], kl: Float[Array, " B"]) -> Style:
        """Styles, fused E and P and logits of `parts`, which may be mixtures."""
        config = self.config
        emotion_s, emotion_v, profile_s, profile_v = parts
        both = jnp.concatenate([emotion_s, emotion_v], -1), jnp.concatenate([profile_s, profile_v], -1)
        if config.fuse == "linear":
            emotion, profile = self.fuse_emotion(both[0]), self.fuse_profile(both[1])
        else:
            emotion, profile = (emotion_s + emotion_v) / 2, (profile_s + profile_v) / 2
        logits = {task: head(emotion if task == "emotion" else profile) for task, head in self.heads.items()}
        return Style(
            speech=self.speech_style(jnp.concatenate([emotion_s, profile_s], -1)),
            video=self.video_style(jnp.concatenate([emotion_v, profile_v], -1)),
            emotion=emotion,
            profile=profile,
            logits=logits,
            kl=kl,
        )
