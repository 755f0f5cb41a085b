"""What decides the shapes of a DreamTalk: one frozen dataclass per network, no defaults for architecture constants."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, get_args

from empatheia_jax.errors import UserError
from empatheia_jax.settings.rules import Indices, Layers, Momentum, NotNegative, Number, Positive, Size, Whole

StylePooling = Literal["self_attention_pooling", "average"]
STYLE_POOLINGS = get_args(StylePooling)
Plain = Annotated[int | None, Whole(1, 256, none="plain layers")]


@dataclasses.dataclass(frozen=True)
class DenoiserConfig:
    """The motion denoiser: content encoder, style encoder, two-stack decoder and the diffusion schedule.

    The latent of the diffusion is the raw expression (`face3d_dim` 3DMM coefficients per video frame).
    """

    d_model: Size  # width of every token
    num_heads: Annotated[int, Whole(1, 256)]
    feedforward_dim: Size
    content_encoder_layers: Layers
    style_encoder_layers: Layers
    decoder_layers: Layers
    audio_feature_dim: Size  # width of one row of the speech features (1024 for wav2vec2 large)
    audio_rows_per_frame: Annotated[
        int, Whole(1, 16)
    ]  # feature rows per video frame (2: 50 rows/s against 25 frames/s)
    window_radius: Annotated[int, Whole(0, 1000)]  # a frame looks at rows `stride * i - radius … stride * i + radius`
    face3d_dim: Size
    style_max_len: Annotated[int, Whole(1, 30_000)]  # frames of a style clip
    style_pooling: StylePooling
    upper_face_indices: Annotated[tuple[int, ...], Indices()]  # coefficients predicted by the upper-face stack
    lower_face_indices: Annotated[tuple[int, ...], Indices()]  # … and by the lower-face (mouth) stack
    dropout: Momentum  # only while training
    layer_norm_eps: Positive
    dynamic_experts: Annotated[
        int | None, Whole(1, 256, none="plain layers")
    ]  # K of the style-adaptive feed-forward; None = plain layers (as released)
    dynamic_ratio: Plain
    dynamic_temperature: Annotated[float | None, Number(above=0, none="plain layers")]
    diffusion_steps: Annotated[int, Whole(1, 100_000)]
    beta_first: Annotated[float, Number(above=0, below=1)]
    beta_last: Annotated[float, Number(above=0, below=1)]

    def __post_init__(self):
        object.__setattr__(self, "upper_face_indices", tuple(int(i) for i in self.upper_face_indices))
        object.__setattr__(self, "lower_face_indices", tuple(int(i) for i in self.lower_face_indices))
        _require(self.d_model % self.num_heads == 0, f"d_model {self.d_model}", f"a multiple of {self.num_heads} heads")
        _require(self.d_model % 2 == 0, f"d_model {self.d_model}", "an even width (sinusoidal positions)")
        _require(
            self.style_pooling in STYLE_POOLINGS, f"style_pooling {self.style_pooling!r}", f"one of {STYLE_POOLINGS}"
        )
        _require(
            sorted(self.upper_face_indices + self.lower_face_indices) == list(range(self.face3d_dim)),
            "upper_face_indices and lower_face_indices",
            f"every coefficient 0 … {self.face3d_dim - 1} exactly once",
        )
        dynamic = (self.dynamic_experts, self.dynamic_ratio, self.dynamic_temperature)
        _require(
            all(value is None for value in dynamic) or all(value is not None for value in dynamic),
            f"dynamic_experts, dynamic_ratio, dynamic_temperature = {dynamic}",
            "all three or none of them",
        )

    @property
    def window_slots(self) -> int:
        """Feature rows in a frame's window (11 as released)."""
        return 2 * self.window_radius + 1

    @classmethod
    def from_source(cls, source: dict[str, Any]) -> DenoiserConfig:
        """The config of released hyperparameters: a dict with `denoiser` and `diffusion` as in DreamTalk's own files.

        Raises:
            UserError: a field or a value that this port does not implement.
        """
        net, diffusion = dict(source["denoiser"]), dict(source["diffusion"])
        fixed = {
            "activation": "relu",
            "norm": "post",
            "face3d_latent_type": "face3d",
            "predict_what": "x0",
        }
        for key, value in fixed.items():
            found = net.pop(key, value)
            _require(found == value, f"{key} {found!r}", repr(value))
        decoder = net.pop("decoder_network_type")
        dynamic = {"TransformerDecoder": False, "DynamicFCDecoder": True}.get(decoder)
        _require(dynamic is not None, f"decoder_network_type {decoder!r}", "TransformerDecoder or DynamicFCDecoder")
        radius = net.pop("win_size")
        slots = net.pop("window_slots", 2 * radius + 1)
        _require(slots == 2 * radius + 1, f"window_slots {slots}", f"2 * win_size + 1 = {2 * radius + 1}")
        experts, ratio = net.pop("dynamic_K"), net.pop("dynamic_ratio")
        mode = diffusion.pop("mode")
        _require(mode == "linear", f"diffusion mode {mode!r}", "'linear'")
        for key in ("ddim_num_step_default", "cfg_scale_default", "null_prob_training"):
            diffusion.pop(key, None)  # choices of a run, not of the network
        config = cls(
            d_model=net.pop("d_model"),
            num_heads=net.pop("nhead"),
            feedforward_dim=net.pop("dim_feedforward"),
            content_encoder_layers=net.pop("content_encoder_layers"),
            style_encoder_layers=net.pop("style_encoder_layers"),
            decoder_layers=net.pop("decoder_layers"),
            audio_feature_dim=net.pop("audio_feature_dim"),
            audio_rows_per_frame=net.pop("audio_rows_per_frame", 2),
            window_radius=radius,
            face3d_dim=net.pop("face3d_dim"),
            style_max_len=net.pop("style_max_len"),
            style_pooling=net.pop("style_aggregate"),
            upper_face_indices=net.pop("upper_face3d_indices"),
            lower_face_indices=net.pop("lower_face3d_indices"),
            dropout=net.pop("dropout", 0.1),
            layer_norm_eps=net.pop("layer_norm_eps"),
            dynamic_experts=experts if dynamic else None,
            dynamic_ratio=ratio if dynamic else None,
            dynamic_temperature=30.0 if dynamic else None,
            diffusion_steps=diffusion.pop("num_steps"),
            beta_first=diffusion.pop("beta_1"),
            beta_last=diffusion.pop("beta_T"),
        )
        left = sorted(net) + sorted(diffusion)
        _require(not left, f"unknown fields {left}", "only fields of a DreamTalk denoiser")
        return config


@dataclasses.dataclass(frozen=True)
class RendererConfig:
    """The renderer (PIRenderer's three networks): mapping, warping and editing."""

    coefficient_dim: Size  # expression + pose per frame (64 + 9)
    descriptor_dim: Size
    mapping_layers: Annotated[int, Whole(0, 64)]
    image_size: Annotated[int, Whole(1, 4096)]  # pixels; square
    image_channels: Annotated[int, Whole(1, 16)]
    max_channels: Size
    warp_base_channels: Size
    warp_encoder_layers: Annotated[int, Whole(1, 12)]
    warp_decoder_layers: Annotated[int, Whole(1, 12)]
    edit_base_channels: Size
    edit_layers: Annotated[int, Whole(1, 12)]
    edit_residual_blocks: Annotated[int, Whole(0, 64)]
    adain_hidden: Size
    leaky_relu_slope: NotNegative
    norm_eps: Positive
    window_radius: Annotated[int, Whole(3, 1000)]  # a frame sees 2 * radius + 1 frames of coefficients
    unused_residual_convs: bool  # keep `conv1`/`norm1`, which released files hold and the network never uses

    def __post_init__(self):
        left = 2 * self.window_radius + 1 - 6 * (1 + self.mapping_layers)
        _require(
            left >= 1,
            f"window_radius {self.window_radius} with {self.mapping_layers} mapping layers",
            f"at least {6 * (1 + self.mapping_layers) + 1} frames in a window (the convolutions are valid, not padded)",
        )
        step = 2 ** max(self.warp_encoder_layers, self.edit_layers)
        _require(self.image_size % step == 0, f"image_size {self.image_size}", f"a multiple of {step}")
        _require(
            1 <= self.warp_decoder_layers <= self.warp_encoder_layers,
            f"warp_decoder_layers {self.warp_decoder_layers}",
            f"between 1 and warp_encoder_layers = {self.warp_encoder_layers}",
        )

    @property
    def window_frames(self) -> int:
        """Frames of coefficients that one rendered frame sees (27 as released)."""
        return 2 * self.window_radius + 1

    @classmethod
    def from_source(cls, source: dict[str, Any]) -> RendererConfig:
        """The config of released hyperparameters (`renderer` as in DreamTalk's renderer file, plus sizes).

        Raises:
            UserError: a field or a value that this port does not implement.
        """
        source = {key: dict(value) if isinstance(value, dict) else value for key, value in source.items()}
        mapping, warping = source.pop("mapping_net"), source.pop("warpping_net")
        editing, common = source.pop("editing_net"), source.pop("common")
        spectral = common.pop("use_spect")
        _require(spectral is False, f"use_spect {spectral!r}", "False (no spectral normalisation)")
        descriptor = mapping.pop("descriptor_nc")
        also = common.pop("descriptor_nc")
        _require(descriptor == also, f"descriptor_nc {descriptor} and {also}", "one width")
        for key in ("fps", "batch_in_reference", "no_move_pose"):
            source.pop(key, None)  # facts of the pipeline, not of the network
        config = cls(
            coefficient_dim=mapping.pop("coeff_nc"),
            descriptor_dim=descriptor,
            mapping_layers=mapping.pop("layer"),
            image_size=source.pop("image_size"),
            image_channels=common.pop("image_nc"),
            max_channels=common.pop("max_nc"),
            warp_base_channels=warping.pop("base_nc"),
            warp_encoder_layers=warping.pop("encoder_layer"),
            warp_decoder_layers=warping.pop("decoder_layer"),
            edit_base_channels=editing.pop("base_nc"),
            edit_layers=editing.pop("layer"),
            edit_residual_blocks=editing.pop("num_res_blocks"),
            adain_hidden=source.pop("adain_hidden"),
            leaky_relu_slope=source.pop("leaky_relu_slope"),
            norm_eps=source.pop("norm_eps"),
            window_radius=source.pop("semantic_radius"),
            unused_residual_convs=True,
        )
        left = [key for part in (source, mapping, warping, editing, common) for key in sorted(part)]
        _require(not left, f"unknown fields {left}", "only fields of a DreamTalk renderer")
        return config


def _require(holds: bool, found: str, expected: str) -> None:
    if not holds:
        raise UserError(f"DreamTalk config: found {found}; expected {expected}")
