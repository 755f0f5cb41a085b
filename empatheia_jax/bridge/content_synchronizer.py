"""The content synchronizer (CS): speech and video content out of the reply's hidden states (paper §4.3, (1), (2)).

    z^m = Enc(FFN(r^t), q^m),   C^m = Dec(FFN(z^m), q^m),   m in {speech, video}

The queries are a learned vector plus sinusoidal positions, expanded to the requested length: phonemes for speech, video
frames for the face, so any length can be asked for. The source FFN(r^t) has sinusoidal positions too: attention over it would
be blind to the order of the reply's words otherwise, for the core's states say little of where they stand. Enc and Dec are
shared by the modalities; queries and heads are not.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.bridge.transformer import Block, BlockConfig, Gaussian, linear, sinusoids
from empatheia_jax.settings.choices import BridgeKind


@dataclasses.dataclass(frozen=True)
class SynchronizerConfig:
    """Sizes of CS: width of the core's hidden states, blocks, latent width, and the targets' shapes per position.

    `speech_channels`: 512 of StyleTTS2's text encoder, or 1024, its PL-BERT states behind them: a linear head onto both is
    two heads. `video_window` and `video_channels` are DreamTalk's 11 tokens a frame and their width. `kind` is "vae" (the
    paper) or "linear": the ablation without CS, a linear map of r^t resized to the requested length. `source_positions`: whether
    the source has positions.
    """

    hidden: int
    block: BlockConfig
    latent: int
    speech_channels: int
    video_window: int
    video_channels: int
    kind: BridgeKind = "vae"
    source_positions: bool = True


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Content:
    """C^s (B, P, 512 or 1024), C^v (B, F, 11, D) and the KL per example (B,), each where asked for."""

    speech: Float[Array, "B P C"] | None
    video: Float[Array, "B F W D"] | None
    kl: Float[Array, " B"]


def length_mask(lengths: Int[Array, " B"], size: int) -> Bool[Array, "B L"]:
    """True at positions below each row's length."""
    return jnp.arange(size)[None, :] < lengths[:, None]


class ContentSynchronizer(nnx.Module):
    """CS as above. Call `speech` and `video` apart (a reply's video length is known after its speech) or both at once."""

    def __init__(self, config: SynchronizerConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        self.config = config
        dtypes: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype}
        width = config.block.width
        video_channels = config.video_window * config.video_channels
        self.input = linear(config.hidden, width, (None, "embed"), rngs=rngs, **dtypes)
        if config.kind == "vae":
            self.encoder = Block(config.block, rngs=rngs, **dtypes)
            self.latent = Gaussian(width, config.latent, rngs=rngs, **dtypes)
            self.latent_input = linear(config.latent, width, (None, "embed"), rngs=rngs, **dtypes)
            self.decoder = Block(config.block, rngs=rngs, **dtypes)
            normal = nnx.initializers.normal(0.02)
            self.speech_query = nnx.Param(normal(rngs.params(), (width,), param_dtype))
            self.video_query = nnx.Param(normal(rngs.params(), (width,), param_dtype))
        self.speech_head = linear(width, config.speech_channels, ("embed", None), rngs=rngs, **dtypes)
        self.video_head = linear(width, video_channels, ("embed", None), rngs=rngs, **dtypes)

    def _decode(self, text, text_lengths, query, lengths, size: int, key):
        """The shared path of one modality: (B, R, H) → (B, size, D) and KL (B,), averaged over valid positions."""
        x = self.input(text)
        text_mask = length_mask(text_lengths, text.shape[1])
        if self.config.kind == "linear":
            return resize(x, text_lengths, lengths, size), jnp.zeros(text.shape[0])
        if self.config.source_positions:
            x = x + sinusoids(*x.shape[1:]).astype(x.dtype)
        mask = length_mask(lengths, size)
        queries = jnp.broadcast_to(query + sinusoids(size, x.shape[-1]), (x.shape[0], size, x.shape[-1])).astype(
            x.dtype
        )
        z, kl = self.latent(self.encoder(x, text_mask, queries, mask), key)
        out = self.decoder(self.latent_input(z.astype(x.dtype)), mask, queries, mask)
        return out, jnp.sum(kl * mask, axis=-1) / jnp.maximum(lengths, 1)

    def _query(self, modality: str):
        return getattr(self, f"{modality}_query")[...] if self.config.kind == "vae" else None

    def speech(self, text, text_lengths, lengths, size: int, key: Array | None = None):
        """C^s: r^t (B, R, H) with lengths (B,), wanted phonemes (B,) ≤ `size` → ((B, size, C), kl (B,))."""
        out, kl = self._decode(text, text_lengths, self._query("speech"), lengths, size, key)
        return self.speech_head(out), kl

    def video(self, text, text_lengths, lengths, size: int, key: Array | None = None):
        """C^v: r^t (B, R, H) with lengths (B,), wanted frames (B,) ≤ `size` → ((B, size, window, D), kl (B,))."""
        out, kl = self._decode(text, text_lengths, self._query("video"), lengths, size, key)
        return self._video(out), kl

    def __call__(
        self,
        text: Float[Array, "B R H"],
        text_lengths: Int[Array, " B"],
        speech_lengths: Int[Array, " B"],
        speech_size: int,
        video_lengths: Int[Array, " B"],
        video_size: int,
        key: Array | None = None,
    ) -> Content:
        """Both modalities in one pass, their queries padded to the longer; `key` samples the latents, None takes means."""
        size = max(speech_size, video_size)
        batch = text.shape[0]

        def twice(x):
            return jnp.concatenate([x, x])

        queries = None
        if self.config.kind == "vae":
            queries = jnp.repeat(jnp.stack([self.speech_query[...], self.video_query[...]]), batch, axis=0)[:, None]
        lengths = jnp.concatenate([speech_lengths, video_lengths])
        out, kl = self._decode(twice(text), twice(text_lengths), queries, lengths, size, key)
        speech = self.speech_head(out[:batch, :speech_size])
        return Content(speech, self._video(out[batch:, :video_size]), kl[:batch] + kl[batch:])

    def _video(self, out):
        content = self.video_head(out)
        return content.reshape(*content.shape[:2], self.config.video_window, self.config.video_channels)


def resize(
    x: Float[Array, "B R D"], from_lengths: Int[Array, " B"], to_lengths: Int[Array, " B"], size: int
) -> Float[Array, "B L D"]:
    """Linear resampling in time of each row's valid part, ends aligned, to `size` positions, `to_lengths` of them valid."""
    scale = jnp.maximum(from_lengths - 1, 0) / jnp.maximum(to_lengths - 1, 1)
    at = jnp.minimum(jnp.arange(size)[None, :] * scale[:, None], jnp.maximum(from_lengths - 1, 0)[:, None])  # (B, L)
    low = jnp.floor(at).astype(jnp.int32)
    high = jnp.minimum(low + 1, jnp.maximum(from_lengths - 1, 0)[:, None])
    part = (at - low)[..., None].astype(x.dtype)
    take = jax.vmap(lambda row, index: row[index])
    return (1 - part) * take(x, low) + part * take(x, high)
