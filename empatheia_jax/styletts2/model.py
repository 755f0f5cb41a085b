"""StyleTTS 2's networks together, and synthesis in two halves.

    encode    tokens, prosodic style            → text frames, duration encoder states, durations in frames
    vocode    those, repeated by duration, style → F0 and energy, then the wave

Between them durations are rounded on the host (`durations`), which decides how many frames the second half needs. Both take
padded batches, and a padded run gives what an unpadded one gives. After the inference of yl4579/StyleTTS2 (Li et al. 2023).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from empatheia_jax.encoders.albert import Albert, AlbertConfig
from empatheia_jax.nn.linear import Linear
from empatheia_jax.styletts2.aligner import TextAligner
from empatheia_jax.styletts2.config import StyleTTS2Config
from empatheia_jax.styletts2.decoder_hifigan import HiFiGANDecoder
from empatheia_jax.styletts2.decoder_istft import ISTFTDecoder
from empatheia_jax.styletts2.diffusion import StyleDenoiser
from empatheia_jax.styletts2.discriminators import SpeechModelDiscriminator, multi_period, multi_resolution
from empatheia_jax.styletts2.linear import linear
from empatheia_jax.styletts2.masks import length_mask, masked
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


class Vocoded(NamedTuple):
    """What `vocode` gives."""

    f0: Float[Array, "B 2*F"]  # Hz, two values per frame
    energy: Float[Array, "B 2*F"]
    wave: Float[Array, "B 600*F"]


class StyleTTS2(nnx.Module):
    """The networks that `config.networks` names, each under the name that checkpoints use."""

    bert: Albert
    bert_encoder: Linear
    text_encoder: TextEncoder
    predictor: ProsodyPredictor
    decoder: ISTFTDecoder | HiFiGANDecoder

    def __init__(
        self,
        config: StyleTTS2Config,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        for name in config.networks:
            setattr(self, name, build_network(name, config, **kinds))
        self.config, self.dtype = config, dtype

    def bert_frames(self, tokens: Int[Array, "B T"], lengths: Int[Array, " B"]) -> Float[Array, "B T C"]:
        """The projected PL-BERT states of every phoneme, from which the prosody is predicted."""
        return self.bert_encoder(self.bert(tokens, lengths=lengths))

    def encode(
        self,
        tokens: Int[Array, "B T"],
        lengths: Int[Array, " B"],
        prosody: Float[Array, "B S"],
        bert_frames: Float[Array, "B T C"] | None = None,
        share: float | Float[Array, ""] = 1.0,
    ) -> Encoded:
        """Tokens (a 0 at the start, as the original has it) and prosodic half-styles → `Encoded`.

        bert_frames: take the place of what the method of that name gives, by this `share`.
        """
        bert = self.bert(tokens, lengths=lengths)
        frames = self.bert_encoder(bert)
        if bert_frames is not None:
            frames = share * bert_frames.astype(frames.dtype) + (1 - share) * frames
        states = self.predictor.encode(frames, prosody, lengths)
        durations = self.predictor.durations(states, lengths)
        valid = length_mask(lengths, tokens.shape[1], self.dtype)
        return Encoded(self.text_encoder(tokens, lengths), states, masked(durations[..., None], valid)[..., 0], bert)

    def vocode(
        self,
        text: Float[Array, "B F C"],
        states: Float[Array, "B F D"],
        style: Float[Array, "B 2*S"],
        noise: Float[Array, "B 600*F 9"] | None,
        lengths: Int[Array, " B"] | None = None,
        pitch: Float[Array, " B"] | float = 1.0,
    ) -> Vocoded:
        """Text frames and duration states, repeated by duration (`durations.frame_index`) → F0, energy and wave.

        Args:
            style: acoustic, then prosodic half.
            noise: standard normal, of the harmonic source; None for none.
            lengths: valid frames of every row; beyond them the wave is zero.
            pitch: factor on F0.
        """
        acoustic, prosodic = jnp.split(style, 2, -1)
        f0, energy = self.predictor.curves(states, prosodic, lengths)
        f0 = f0 * jnp.asarray(pitch, f0.dtype).reshape(-1, 1)
        return Vocoded(f0, energy, self.decoder(text, f0, energy, acoustic, noise, lengths))


def build_network(name: str, config: StyleTTS2Config, **kinds) -> nnx.Module:
    """One network of a checkpoint at the sizes of `config`; `kinds` are rngs, dtype and param_dtype."""
    c = config
    norm: dict[str, Any] = {"weight_norm": config.weight_norm}
    match name:
        case "bert":
            albert = Albert(AlbertConfig.from_source(bert_source(c)), **kinds)
            if not c.bert.pooler:
                del albert.pooler
            return albert
        case "bert_encoder":
            return linear(c.bert.hidden_size, c.hidden_dim, **kinds)
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
            if c.diffusion is None:
                raise ValueError("the configuration describes no diffusion")
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
            if c.slm is None:
                raise ValueError("the configuration describes no speech model")
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
