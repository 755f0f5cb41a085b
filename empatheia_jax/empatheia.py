"""Empatheia: the wiring of encoders' features, core, content synchronizer and style disentangler (paper §4).

    speech, video features ─► projections ─┐
    tokens ─► embeddings ──────────────────┴► LLM ─► r^t ─► CS ─► C^s, C^v
                                                └──► r^s, r^v ─► SD ─► S^s, S^v, emotion, age, gender, tone

Encoders and generators stand outside: their features and targets come in with the batch (`empatheia_jax.batch`), and the
generators take C and S (`empatheia_jax.dialogue`). Letters as in `Batch`; H is the width of the core.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.batch import Batch, required
from empatheia_jax.bridge.content_synchronizer import Content, ContentSynchronizer, SynchronizerConfig
from empatheia_jax.bridge.style_disentangler import DisentanglerConfig, Style, StyleDisentangler
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.nn.linear import Linear
from empatheia_jax.settings.choices import SignalSource
from empatheia_jax.tokens import ADDED_TOKENS, SIGNALS, SpecialTokens


@dataclasses.dataclass(frozen=True)
class EmpatheiaConfig:
    """Sizes around the core: feature widths of the two encoders, the longest reply in tokens, CS and SD; how many
    tokens the core's vocabulary gets (`ADDED_TOKENS`, and words that it could not write). `signal_source`: "tokens", or
    "all", which gives CS and SD the states of the whole answer.
    """

    speech_features: int
    video_features: int
    reply_tokens: int
    synchronizer: SynchronizerConfig
    disentangler: DisentanglerConfig
    added: int = len(ADDED_TOKENS)
    signal_source: SignalSource = "tokens"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Signals:
    """r^t (B, R, H) with its lengths (B,), r^s and r^v (B, 16, H): final-norm states at their tokens.

    Where the bridge reads the whole answer all three are the same (B, R, H), and `lengths` (B,) are those of r^s and r^v.
    """

    text: Float[Array, "B R H"]
    text_lengths: Int[Array, " B"]
    speech: Float[Array, "B G H"]
    video: Float[Array, "B G H"]
    lengths: Int[Array, " B"] | None = None


class Empatheia(nnx.Module):
    """The trainable whole. `core` is a language model of `empatheia_jax.core`, with LoRA attached where it shall learn."""

    def __init__(
        self,
        config: EmpatheiaConfig,
        core: LanguageModel,
        *,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        hidden = core.config.hidden_size
        self.config, self.special = config, SpecialTokens(core.config.vocab_size)
        self.core = core
        self.added = AddedTokens.for_model(core, config.added, rngs=rngs, param_dtype=param_dtype)
        self.speech_projection = Linear(config.speech_features, hidden, axes=(None, "embed"), use_bias=True, **kinds)
        self.video_projection = Linear(config.video_features, hidden, axes=(None, "embed"), use_bias=True, **kinds)
        self.synchronizer = ContentSynchronizer(config.synchronizer, **kinds)
        self.disentangler = StyleDisentangler(config.disentangler, **kinds)

    def embed(
        self,
        tokens: Int[Array, "B T"],
        speech: Float[Array, "B N C"] | None = None,
        video: Float[Array, "B N C"] | None = None,
    ) -> Float[Array, "B T H"]:
        """Embeddings with the k-th `<Aud>` (`<Vid>`) of a row replaced by its k-th projected speech (video) feature."""
        x = self.added.embed(self.core, tokens)
        if speech is not None:
            x = place(x, tokens == self.special.audio_run, self.speech_projection(speech))
        if video is not None:
            x = place(x, tokens == self.special.video_run, self.video_projection(video))
        return x

    def hidden(self, batch: Batch, rng: Array | None = None) -> Float[Array, "B T H"]:
        """Final-norm states of every token (of an encoder-decoder: of the answer's); `rng` switches LoRA's dropout
        on.
        """
        x = self.embed(batch.tokens, batch.speech, batch.video)
        if batch.segments is not None:
            places = {"segment_ids": batch.segments, "positions": batch.positions}
        else:
            places = {"lengths": batch.lengths}
        return self.core.teacher_forced(x, batch.loss_mask, rng=rng, **places)

    def logits(self, hidden: Float[Array, "B T H"]) -> Float[Array, "B T V"]:
        """Scores of the core's vocabulary followed by the added tokens."""
        return self.added.logits(self.core, hidden)

    def signals(
        self,
        hidden: Float[Array, "B T H"],
        tokens: Int[Array, "B T"],
        reply_mask: Bool[Array, "B T"],
        answer_mask: Bool[Array, "B T"],
    ) -> Signals:
        """r^t, r^s and r^v out of the states of a whole sequence; `answer_mask`: everything that the model writes."""
        special = self.special
        if self.config.signal_source == "all":
            text, lengths = gather(hidden, last(answer_mask, self.config.reply_tokens), self.config.reply_tokens)
            return Signals(text, lengths, text, text, lengths)
        text, lengths = gather(hidden, reply_mask, self.config.reply_tokens)
        is_speech = (tokens >= special.audio_signals[0]) & (tokens <= special.audio_signals[-1])
        is_video = (tokens >= special.video_signals[0]) & (tokens <= special.video_signals[-1])
        return Signals(text, lengths, gather(hidden, is_speech, SIGNALS)[0], gather(hidden, is_video, SIGNALS)[0])

    def content(self, signals: Signals, batch: Batch, key: Array | None = None) -> Content:
        """C^s and C^v at the lengths of the batch's targets."""
        return self.synchronizer(
            signals.text,
            signals.text_lengths,
            required(batch.speech_content_lengths, "speech_content_lengths"),
            required(batch.speech_content, "speech_content").shape[1],
            required(batch.video_content_lengths, "video_content_lengths"),
            required(batch.video_content, "video_content").shape[1],
            key,
        )

    def style(self, signals: Signals, key: Array | None = None) -> Style:
        """S^s, S^v, fused E and P, and the classifiers' logits."""
        return self.disentangler(signals.speech, signals.video, key, signals.lengths)

    def mixed_style(
        self, signals: Signals, other: Signals, emotion: Float[Array, ""], profile: Float[Array, ""]
    ) -> Style:
        """`style` with shares of another answer's E^m (`emotion`) and P^m (`profile`), before they are joined to S^m."""
        own, kl = self.disentangler.parts(signals.speech, signals.video, None, signals.lengths)
        others, _ = self.disentangler.parts(other.speech, other.video, None, other.lengths)
        shares = (emotion, emotion, profile, profile)  # in the order of `QUERIES`
        return self.disentangler.style(tuple((1 - t) * a + t * b for a, b, t in zip(own, others, shares)), kl)


def place(x: Float[Array, "B T H"], mask: Bool[Array, "B T"], features: Float[Array, "B N H"]) -> Float[Array, "B T H"]:
    """Row by row, the k-th True of `mask` takes the k-th feature; positions beyond N features keep what they had."""
    index = jnp.cumsum(mask, axis=1) - 1
    filled = mask & (index < features.shape[1])
    index = jnp.clip(index, 0, features.shape[1] - 1)
    return jnp.where(filled[..., None], jnp.take_along_axis(features, index[..., None], axis=1).astype(x.dtype), x)


def last(mask: Bool[Array, "B T"], count: int) -> Bool[Array, "B T"]:
    """The last `count` places of each row where `mask` holds."""
    rank = jnp.cumsum(mask, axis=1)
    return mask & (rank > rank[:, -1:] - count)


def gather(
    x: Float[Array, "B T H"], mask: Bool[Array, "B T"], size: int
) -> tuple[Float[Array, "B R H"], Int[Array, " B"]]:
    """The first `size` rows of `x` where `mask` holds, in order, zero-padded; and how many each example has."""
    order = jnp.argsort(~mask, axis=1, stable=True)[:, :size]
    lengths = jnp.minimum(mask.sum(axis=1), size).astype(jnp.int32)
    rows = jnp.take_along_axis(x, order[..., None], axis=1)
    if rows.shape[1] < size:  # a sequence shorter than the longest reply
        rows = jnp.pad(rows, ((0, 0), (0, size - rows.shape[1]), (0, 0)))
    return jnp.where((jnp.arange(size)[None, :] < lengths[:, None])[..., None], rows, 0), lengths
