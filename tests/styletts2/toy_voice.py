"""A network with StyleTTS2's interface that compiles in a moment: every symbol hums at a pitch of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from empatheia_jax.styletts2.joins import FRAME, SAMPLE_RATE
from empatheia_jax.styletts2.voices import VoiceTable

WIDTH = 512
SYMBOLS = 178


@dataclass(frozen=True)
class ToyDecoderConfig:
    type: str = "istftnet"


@dataclass(frozen=True)
class ToyConfig:
    decoder: ToyDecoderConfig = ToyDecoderConfig()
    multispeaker: bool = True
    hidden_dim: int = WIDTH
    late: bool = False
    last_extra: int = 0


class ToyEncoded(NamedTuple):
    text: jax.Array
    states: jax.Array
    durations: jax.Array


class ToyVocoded(NamedTuple):
    wave: jax.Array


class ToyVoice(nnx.Module):
    """Loudness follows the text frames (pads are silent), pitch the prosodic half of the style."""

    def __init__(self, config: ToyConfig | None = None):
        self.config = config or ToyConfig()
        table = np.random.default_rng(0).uniform(0.5, 1.0, (SYMBOLS, WIDTH)).astype(np.float32)
        table[0] = 0  # the pad is silent
        self.table = nnx.Param(jnp.asarray(table))

    def _mask(self, tokens, lengths):
        return (jnp.arange(tokens.shape[1])[None] < lengths[:, None])[..., None]

    def text_encoder(self, tokens, lengths):
        return jnp.where(self._mask(tokens, lengths), self.table[...][tokens], 0)

    def encode(self, tokens, lengths, prosody):
        text = self.text_encoder(tokens, lengths)
        durations = jnp.where(self._mask(tokens, lengths)[..., 0], jnp.where(tokens == 0, 8.4, 2.4), 0)
        return ToyEncoded(text, text[..., :8], durations)

    def vocode(self, text, states, style, noise, lengths, pitch):
        """100 Hz plus what the style adds."""
        acoustic, prosodic = jnp.split(style, 2, -1)
        valid = jnp.arange(2 * text.shape[1])[None] < 2 * lengths[:, None]
        f0 = jnp.where(valid, 100 + 10 * prosodic[:, :1], 0) * pitch[:, None]
        loud = jnp.repeat(text.mean(-1), FRAME, axis=1)  # (B, samples)
        phase = jnp.cumsum(jnp.repeat(f0, FRAME // 2, axis=1) / SAMPLE_RATE, axis=1)
        wave = loud * (0.3 * jnp.sin(2 * jnp.pi * phase) + 0.002 * noise.mean(-1) + 0.01 * acoustic[:, :1])
        return ToyVocoded(jnp.where(jnp.arange(wave.shape[1])[None] < FRAME * lengths[:, None], wave, 0))


class Letters:
    """A phonemizer that spells: fast, and it counts what it was asked."""

    name = "letters"

    def __init__(self):
        self.asked = 0

    def __call__(self, text: str) -> str:
        self.asked += 1
        return text.lower()


def toy_voices() -> VoiceTable:
    """Two voices whose rows all differ."""
    random = np.random.default_rng(1)
    return VoiceTable({name: random.uniform(-0.5, 0.5, (510, 1, 256)) for name in ("low", "high")})
