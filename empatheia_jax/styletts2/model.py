"""StyleTTS 2's networks together, and synthesis in two halves.

    encode            tokens, prosodic style            → text frames, duration encoder states, durations in frames
    curves, vocode    those, whole durations, style     → F0 and energy, then the wave

Between them durations are rounded on the host, which decides how many frames the second half needs. Both take padded
batches, and a padded run gives what an unpadded one gives. After the inference of yl4579/StyleTTS2 (Li et al. 2023).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from empatheia_jax.encoders.albert import Albert, AlbertConfig
from empatheia_jax.styletts2.aligner import TextAligner
from empatheia_jax.styletts2.config import StyleTTS2Config
from empatheia_jax.styletts2.decoder_hifigan import HiFiGANDecoder
from empatheia_jax.styletts2.decoder_istft import ISTFTDecoder
from empatheia_jax.styletts2.diffusion import StyleDenoiser
from empatheia_jax.styletts2.discriminators import SpeechModelDiscriminator, multi_period, multi_resolution
from empatheia_jax.styletts2.layers import Dtype, Linear, length_mask, masked
from empatheia_jax.styletts2.pitch import PitchExtractor
from empatheia_jax.styletts2.predictor import ProsodyPredictor
from empatheia_jax.styletts2.source import BLOCK
from empatheia_jax.styletts2.style_encoder import StyleEncoder
from empatheia_jax.styletts2.text_encoder import TextEncoder

KIND = "styletts2"
FRAME = 2 * BLOCK  # samples per frame at 24 kHz


class Encoded(NamedTuple):
    """What `encode` gives."""

    text: Float[Array, "B T 512"]  # the text encoder's frames, one per phoneme (Empatheia's C^s has this place)
    states: Float[Array, "B T 640"]  # the duration encoder's states d
    durations: Float[Array, "B T"]  # expected frames per phoneme at speed 1, not rounded; 0 at padding
    bert: Float[Array, "B T 768"]  # PL-BERT's last states, on which the style diffusion is conditioned


class StyleTTS2(nnx.Module):
    """The networks that `config.networks` names, each under the name that checkpoints use."""

    def __init__(
        self,
        config: StyleTTS2Config,
        *,
        rngs: nnx.Rngs,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
    ):
        kinds = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        for name in config.networks:
            setattr(self, name, build_network(name, config, **kinds))
        self.config, self.dtype = config, dtype

    def encode(self, tokens: Int[Array, "B T"], lengths: Int[Array, " B"], prosody: Float[Array, "B S"]) -> Encoded:
        """Tokens (a 0 at the start, as the original has it) and prosodic half-styles → `Encoded`."""
        bert = self.bert(tokens, lengths=lengths)
        states = self.predictor.encode(self.bert_encoder(bert), prosody, lengths)
        durations = self.predictor.durations(states, lengths)
        valid = length_mask(lengths, tokens.shape[1], self.dtype)
        return Encoded(self.text_encoder(tokens, lengths), states, masked(durations[..., None], valid)[..., 0], bert)

    def align(self, x: Float[Array, "B T C"], durations: Int[Array, "B T"], frames: int) -> Float[Array, "B frames C"]:
        """Every token's vector repeated for its duration, zero beyond the row's last frame.

        The HiFi-GAN configuration was trained one frame late: its first frame is repeated and its last dropped.
        """
        y = repeat_by_duration(x, durations, frames)
        if self.config.decoder.type == "hifigan":
            y = jnp.concatenate([y[:, :1], y[:, :-1]], 1)
            y = masked(y, length_mask(jnp.sum(durations, 1), frames, y.dtype))
        return y

    def curves(
        self, states: Float[Array, "B T 640"], durations: Int[Array, "B T"], prosody: Float[Array, "B S"], frames: int
    ) -> tuple[Float[Array, "B 2*frames"], Float[Array, "B 2*frames"]]:
        """F0 (Hz) and energy of the utterance, two values per frame."""
        return self.predictor.curves(self.align(states, durations, frames), prosody, jnp.sum(durations, 1))

    def vocode(
        self,
        text: Float[Array, "B T 512"],
        durations: Int[Array, "B T"],
        f0: Float[Array, "B 2*frames"],
        energy: Float[Array, "B 2*frames"],
        acoustic: Float[Array, "B S"],
        noise: Float[Array, "B 600*frames 9"] | None,
        frames: int,
    ) -> Float[Array, "B 600*frames"]:
        """Text frames and curves → wave, zero beyond the row's last frame."""
        asr = self.align(text, durations, frames)
        return self.decoder(asr, f0, energy, acoustic, noise, jnp.sum(durations, 1))


def build_network(name: str, config: StyleTTS2Config, **kinds) -> nnx.Module:
    """One network of a checkpoint at the sizes of `config`; `kinds` are rngs, dtype and param_dtype."""
    c, norm = config, {"weight_norm": config.weight_norm}
    match name:
        case "bert":
            albert = Albert(AlbertConfig.from_source(bert_source(c)), **kinds)
            if not c.bert.pooler:
                del albert.pooler
            return albert
        case "bert_encoder":
            return Linear(c.bert.hidden_size, c.hidden_dim, **kinds)
        case "text_encoder":
            return TextEncoder(c.n_token, c.hidden_dim, c.text_kernel, c.n_layer, **norm, **kinds)
        case "predictor":
            return ProsodyPredictor(c.hidden_dim, c.style_dim, c.n_layer, c.max_dur, **norm, **kinds)
        case "decoder":
            kind = ISTFTDecoder if c.decoder.type == "istftnet" else HiFiGANDecoder
            return kind(c.decoder, c.hidden_dim, c.style_dim, **norm, **kinds)
        case "style_encoder" | "predictor_encoder":
            return StyleEncoder(c.dim_in, c.max_conv_dim, c.style_dim, **kinds)
        case "diffusion":
            style = 2 * c.style_dim
            return StyleDenoiser(c.diffusion, style, c.bert.hidden_size, style if c.multispeaker else None, **kinds)
        case "text_aligner":
            return TextAligner(c.n_mels, c.n_token, **kinds)
        case "pitch_extractor":
            return PitchExtractor(**kinds)
        case "mpd":
            return multi_period(**kinds)
        case "msd":
            return multi_resolution(**kinds)
        case "wd":
            return SpeechModelDiscriminator(c.slm.hidden * c.slm.layers, c.slm.channels, **kinds)
    raise ValueError(f"no network is called {name!r}")


def bert_source(config: StyleTTS2Config) -> dict:
    """PL-BERT's sizes as an ALBERT configuration file states them."""
    b = config.bert
    return {
        "model_type": "albert",
        "vocab_size": b.vocab_size,
        "embedding_size": b.embedding_size,
        "hidden_size": b.hidden_size,
        "num_hidden_layers": b.num_hidden_layers,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "num_attention_heads": b.num_attention_heads,
        "intermediate_size": b.intermediate_size,
        "max_position_embeddings": b.max_position_embeddings,
        "type_vocab_size": 2,
        "hidden_act": "gelu_new",
        "layer_norm_eps": b.layer_norm_eps,
    }


def repeat_by_duration(
    x: Float[Array, "B T C"], durations: Int[Array, "B T"], frames: int
) -> Float[Array, "B frames C"]:
    """Frame f of a row holds the token in whose span it falls; zero beyond the sum of the durations."""
    ends = jnp.cumsum(durations, 1)
    at = jnp.arange(frames)
    index = jax.vmap(lambda e: jnp.searchsorted(e, at, side="right"))(ends)
    index = jnp.minimum(index, x.shape[1] - 1)
    return masked(jnp.take_along_axis(x, index[..., None], 1), length_mask(ends[:, -1], frames, x.dtype))


def round_durations(
    durations: Float[np.ndarray, "B T"], lengths: Int[np.ndarray, " B"], speed: float = 1.0, last_extra: int = 0
) -> Int[np.ndarray, "B T"]:
    """Whole frames per token: durations over `speed`, rounded half to even, at least 1; 0 at padding.

    `last_extra` frames are added to the last token (the single-speaker release adds 5).
    """
    whole = np.maximum(np.round(np.asarray(durations) / speed), 1).astype(np.int32)
    lengths = np.asarray(lengths)
    whole[np.arange(whole.shape[1])[None] >= lengths[:, None]] = 0
    whole[np.arange(len(lengths)), lengths - 1] += last_extra
    return whole
