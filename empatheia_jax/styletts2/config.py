"""What a StyleTTS 2 checkpoint is: sizes and parts, as its own configuration file states them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from empatheia_jax.errors import UserError

# Every network of a checkpoint, under the name that checkpoints use.
SYNTHESIS = ("bert", "bert_encoder", "text_encoder", "predictor", "decoder")
REFERENCE = ("style_encoder", "predictor_encoder", "diffusion")
TRAINING = ("text_aligner", "pitch_extractor", "mpd", "msd", "wd")
NETWORKS = SYNTHESIS + REFERENCE + TRAINING


def _take(values: Mapping[str, Any], where: str, *names: str) -> list[Any]:
    missing = [name for name in names if name not in values]
    if missing:
        raise UserError(
            f"{where} lacks {', '.join(missing)}; give the configuration file that belongs to the checkpoint"
        )
    return [values[name] for name in names]


def _refuse_unknown(values: Mapping[str, Any], where: str, known: set[str]) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise UserError(f"{where} has fields that are not implemented: {', '.join(unknown)}")


def _pairs(value: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(v) for v in row) for row in value)


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """One of the two waveform decoders.

    Attributes:
      type: "istftnet" or "hifigan".
      upsample_rates: factor of every stage.
      upsample_kernel_sizes: width of every stage's transposed convolution.
      resblock_kernel_sizes, resblock_dilation_sizes: the residual blocks of one stage.
      upsample_initial_channel: width at which the generator starts; halves with every stage. 512 in all releases: the original
        writes it, and the body's 1024, into its code.
      n_fft, hop: the inverse STFT of "istftnet"; None for "hifigan".
    """

    type: str
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    upsample_initial_channel: int
    n_fft: int | None
    hop: int | None

    def __post_init__(self):
        samples = self.hop or 1
        for rate in self.upsample_rates:
            samples *= rate
        if self.type not in ("istftnet", "hifigan"):
            raise UserError(f"decoder type {self.type!r} is not implemented; expected istftnet or hifigan")
        if (self.type == "istftnet") != (self.n_fft is not None and self.hop is not None):
            raise UserError("a decoder has gen_istft_n_fft and gen_istft_hop_size exactly if its type is istftnet")
        if samples != 300:
            raise UserError(f"the decoder makes {samples} samples of a half frame, expected 300 (upsample_rates, hop)")
        halves = 2 ** len(self.upsample_rates)
        if self.upsample_initial_channel < halves or self.upsample_initial_channel % halves:
            raise UserError(
                f"upsample_initial_channel is {self.upsample_initial_channel}; expected a multiple of {halves}, "
                "since every stage halves the width"
            )

    @property
    def body(self) -> int:
        """Width of the body, whose last block gives half of it to the generator."""
        return 2 * self.upsample_initial_channel

    @classmethod
    def from_source(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """The `decoder` part of a configuration file.

        Raises: UserError for a field that is missing or not implemented.
        """
        names = (
            "type",
            "upsample_rates",
            "upsample_kernel_sizes",
            "resblock_kernel_sizes",
            "resblock_dilation_sizes",
            "upsample_initial_channel",
        )
        kind, rates, widths, kernels, dilations, channels = _take(values, "the decoder's configuration", *names)
        _refuse_unknown(values, "the decoder's configuration", {*names, "gen_istft_n_fft", "gen_istft_hop_size"})
        return cls(
            type=kind,
            upsample_rates=tuple(rates),
            upsample_kernel_sizes=tuple(widths),
            resblock_kernel_sizes=tuple(kernels),
            resblock_dilation_sizes=_pairs(dilations),
            upsample_initial_channel=channels,
            n_fft=values.get("gen_istft_n_fft"),
            hop=values.get("gen_istft_hop_size"),
        )


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
    """The style diffusion's denoiser and its data scale.

    Attributes:
      num_layers, num_heads, head_features, multiplier: of the Transformer.
      max_length: rows of the learned embedding that stands in for the text in classifier-free guidance.
      sigma_data: standard deviation of style vectors. Training estimates it and writes it into the configuration shipped
        with a checkpoint; it is read from there.
    """

    num_layers: int
    num_heads: int
    head_features: int
    multiplier: int
    max_length: int
    sigma_data: float


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """PL-BERT (an ALBERT over phonemes); the fields of its configuration file.

    `pooler` says whether the checkpoint has ALBERT's pooler, which nothing here uses.
    """

    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    num_hidden_layers: int
    layer_norm_eps: float
    pooler: bool

    @classmethod
    def from_source(cls, values: Mapping[str, Any], pooler: bool = True) -> BertConfig:
        """`model_params` of PL-BERT's configuration file; what it leaves out are ALBERT's published values."""
        names = (
            "vocab_size",
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "num_hidden_layers",
        )
        found = dict(zip(names, _take(values, "PL-BERT's configuration", *names)))
        _refuse_unknown(values, "PL-BERT's configuration", {*names, "dropout", "embedding_size", "layer_norm_eps"})
        # Lan et al. 2020: factorised embeddings of 128, layer norm with 1e-12.
        return cls(
            **found,
            embedding_size=values.get("embedding_size", 128),
            layer_norm_eps=values.get("layer_norm_eps", 1e-12),
            pooler=pooler,
        )


@dataclasses.dataclass(frozen=True)
class SpeechModelConfig:
    """What the discriminator over a speech language model's states sees: their width and number, and its first width."""

    hidden: int
    layers: int
    channels: int


@dataclasses.dataclass(frozen=True)
class StyleTTS2Config:
    """Sizes of all networks, and which of them are present.

    Attributes:
      networks: names out of `NETWORKS`.
      multispeaker: whether the diffusion is conditioned on a reference style.
      hidden_dim: width of text frames; `style_dim`: half of a style vector (acoustic and prosodic halves);
      n_layer: depth of the text and duration encoders; `text_kernel`: width of the text encoder's convolutions;
      n_token: symbols; `max_dur`: longest duration in frames; `n_mels`: mel bands;
      dim_in, max_conv_dim: first and largest width of the style encoders.
      weight_norm: whether convolutions keep the two parts of weight norm, as released, or one folded kernel.
      decoder, bert, diffusion, slm: of those networks; None for parts that are absent.
    """

    networks: tuple[str, ...]
    multispeaker: bool
    hidden_dim: int
    style_dim: int
    n_layer: int
    text_kernel: int
    n_token: int
    max_dur: int
    n_mels: int
    dim_in: int
    max_conv_dim: int
    weight_norm: bool
    decoder: DecoderConfig
    bert: BertConfig
    diffusion: DiffusionConfig | None
    slm: SpeechModelConfig | None

    def __post_init__(self):
        unknown = sorted(set(self.networks) - set(NETWORKS))
        if unknown:
            raise UserError(f"unknown networks {', '.join(unknown)}; expected some of {', '.join(NETWORKS)}")
        if "diffusion" in self.networks and self.diffusion is None:
            raise UserError("the configuration lacks its diffusion part")
        if "wd" in self.networks and self.slm is None:
            raise UserError("the configuration lacks its slm part")

    @property
    def late(self) -> bool:
        """Whether frames come one late: the HiFi-GAN configuration was trained so."""
        return self.decoder.type == "hifigan"

    @property
    def last_extra(self) -> int:
        """Frames that the single-speaker release adds to the last token, which it would cut short otherwise."""
        return 0 if self.multispeaker else 5

    @classmethod
    def from_source(
        cls,
        values: Mapping[str, Any],
        bert: Mapping[str, Any],
        *,
        networks: tuple[str, ...] = NETWORKS,
        weight_norm: bool = True,
    ) -> StyleTTS2Config:
        """`model_params` of a checkpoint's configuration file, and those of its PL-BERT.

        Raises: UserError for a field that is missing or not implemented.
        """
        where = "model_params"
        names = ("multispeaker", "dim_in", "hidden_dim", "n_layer", "n_mels", "n_token", "max_dur", "style_dim")
        found = dict(zip(names, _take(values, where, *names)))
        decoder, diffusion, slm = _take(values, where, "decoder", "diffusion", "slm")
        _refuse_unknown(values, where, {*names, "max_conv_dim", "dropout", "decoder", "diffusion", "slm"})
        transformer, dist = _take(diffusion, f"{where}.diffusion", "transformer", "dist")
        shape = ("num_layers", "num_heads", "head_features", "multiplier")
        _refuse_unknown(transformer, f"{where}.diffusion.transformer", set(shape))
        plbert = BertConfig.from_source(bert)
        hidden, layers, channels = _take(slm, f"{where}.slm", "hidden", "nlayers", "initial_channel")
        return cls(
            **found,
            networks=tuple(networks),
            # The original caps the style encoders at hidden_dim and does not read max_conv_dim.
            max_conv_dim=found["hidden_dim"],
            text_kernel=5,
            weight_norm=weight_norm,
            decoder=DecoderConfig.from_source(decoder),
            bert=plbert,
            diffusion=DiffusionConfig(
                **dict(zip(shape, _take(transformer, f"{where}.diffusion.transformer", *shape))),
                # The denoiser's own default in the original, equal to PL-BERT's positions.
                max_length=512,
                sigma_data=_take(dist, f"{where}.diffusion.dist", "sigma_data")[0],
            ),
            slm=SpeechModelConfig(hidden, layers, channels),
        )
