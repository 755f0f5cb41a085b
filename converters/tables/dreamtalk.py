"""DreamTalk's released files: `denoising_network.pth` (`model_state_dict`) and `renderer.pt` (`net_G_ema`).

`--source=dreamtalk` takes a folder with both, and with the folder of the wav2vec 2.0 model that its features come from
(`wav2vec2-large-xlsr-53-english`), and makes the one weights folder that `dreamtalk.Animator` loads. The two networks
convert alone, too. Also here: VGG-19, which the renderer's training compares pictures by.

The published files do not say their sizes, which are always the same. An export of ours has a `config.json` beside them, since
the networks trained here may have other sizes; where it is there, its sizes are expected, else the published ones.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converters.conversion import Conversion
from converters.formats.source import JoinedSource, RenamedSource, Source
from converters.formats.torch_file import TorchSource
from converters.huggingface import hf_config, hf_model_type
from converters.sources import open_source
from converters.table import Ignore, Row, Table, chain, conv1d, conv2d, permute, prefixed, squeeze, transpose
from converters.tables import hubert
from empatheia_jax import weights
from empatheia_jax.dreamtalk import perceptual, released
from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.model import KIND, DreamTalk, DreamTalkConfig
from empatheia_jax.dreamtalk.renderer import Renderer
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2Config
from empatheia_jax.errors import UserError

DENOISER_PREFIX = "diff_net."
up_conv = permute(2, 3, 0, 1, name="up_conv")  # (in, out, h, w) → (h, w, in, out), window as stored


def _linear(source: str, target: str) -> list[Row]:
    return [Row(f"{source}.weight", f"{target}.kernel", transpose), Row(f"{source}.bias", f"{target}.bias")]


def _norm(source: str, target: str) -> list[Row]:
    return [Row(f"{source}.weight", f"{target}.scale"), Row(f"{source}.bias", f"{target}.bias")]


def _conv(source: str, target: str, transform=conv2d) -> list[Row]:
    return [Row(f"{source}.weight", f"{target}.kernel", transform), Row(f"{source}.bias", f"{target}.bias")]


def _attention(source: str, target: str) -> list[Row]:
    return [
        Row(f"{source}.in_proj_weight", f"{target}.in_proj.kernel", transpose),
        Row(f"{source}.in_proj_bias", f"{target}.in_proj.bias"),
        *_linear(f"{source}.out_proj", f"{target}.out_proj"),
    ]


def _feed_forward(source: str, target: str) -> list[Row]:
    return [
        *_linear(f"{source}linear1", f"{target}feed_forward.linear1"),
        *_linear(f"{source}linear2", f"{target}feed_forward.linear2"),
    ]


def _dynamic_feed_forward(source: str, target: str) -> list[Row]:
    """K experts (K, out, in, 1, 1) and the two 1 × 1 convolutions that mix them."""
    convolution = f"{source}linear1.dynamic_conv"
    experts = _unit_tail(permute(0, 2, 1, name="experts"))
    pointwise = _unit_tail(transpose)
    return [
        Row(f"{convolution}.weight", f"{target}feed_forward.kernel", experts),
        Row(f"{convolution}.bias", f"{target}feed_forward.bias"),
        Row(f"{convolution}.attention.net.0.weight", f"{target}feed_forward.attention1.kernel", pointwise),
        Row(f"{convolution}.attention.net.2.weight", f"{target}feed_forward.attention2.kernel", pointwise),
        *_linear(f"{source}linear2", f"{target}feed_forward.linear2"),
    ]


def _unit_tail(transform):
    """`transform` after dropping two last axes of size one (a 1 × 1 window)."""
    return chain(squeeze(-1), squeeze(-1), transform)


def _encoder(source: str, target: str, layers: int) -> list[Row]:
    rows = []
    for i in range(layers):
        layer, ours = f"{source}.encoder.layers.{i}", f"{target}.layers.{i}"
        rows += _attention(f"{layer}.self_attn", f"{ours}.self_attn") + _feed_forward(f"{layer}.", f"{ours}.")
        rows += _norm(f"{layer}.norm1", f"{ours}.norm1") + _norm(f"{layer}.norm2", f"{ours}.norm2")
    rows += _linear(f"{source}.increase_embed_dim", f"{target}.embed")
    return [*rows, Row(f"{source}.pos_embed.pos_table", f"{target}.position")]


def decoder_layer(source: str, target: str, dynamic: bool) -> list[Row]:
    """Rows of one decoder layer, plain or style-adaptive; `source` and `target` are prefixes (with their dots)."""
    rows = _attention(f"{source}self_attn", f"{target}self_attn")
    rows += _attention(f"{source}multihead_attn", f"{target}cross_attn")
    rows += _dynamic_feed_forward(source, target) if dynamic else _feed_forward(source, target)
    for i in (1, 2, 3):
        rows += _norm(f"{source}norm{i}", f"{target}norm{i}")
    return rows


def denoiser(config: DenoiserConfig) -> Table:
    """`model_state_dict` of `denoising_network.pth`, keys with their prefix `diff_net.`."""
    net = f"{DENOISER_PREFIX}net"
    rows = _encoder(f"{net}.content_encoder", "content_encoder", config.content_encoder_layers)
    rows += _encoder(f"{net}.style_encoder", "style_encoder", config.style_encoder_layers)
    if config.style_pooling == "self_attention_pooling":
        rows += _linear(f"{net}.style_encoder.aggregate_method.W.0", "style_encoder.pooling.hidden")
        rows += _linear(f"{net}.style_encoder.aggregate_method.W.2", "style_encoder.pooling.score")
    for half in ("upper", "lower"):
        stack = f"{net}.decoder.{half}_decoder"
        for i in range(config.decoder_layers):
            rows += decoder_layer(
                f"{stack}.layers.{i}.", f"decoder.{half}.layers.{i}.", config.dynamic_experts is not None
            )
        rows += _norm(f"{stack}.norm", f"decoder.{half}.norm")
        for ours, theirs in ((1, 0), (2, 2), (3, 4)):
            rows += _linear(f"{net}.decoder.{half}_tail_fc.{theirs}", f"decoder.{half}_tail.linear{ours}")
    rows.append(Row(f"{net}.decoder.pos_embed.pos_table", "decoder.position"))
    for ours, theirs in ((1, 0), (2, 2), (3, 4)):
        rows += _linear(f"{net}.content_xt_to_decoder_input_wo_time.{theirs}", f"fusion.linear{ours}")
    for ours, theirs in ((1, 0), (2, 2)):
        rows += _linear(f"{net}.time_embed_net.{theirs}", f"time_embedding.linear{ours}")
    schedule = f"{DENOISER_PREFIX}var_sched"
    rows += [
        Row(f"{schedule}.betas", "schedule.betas"),
        Row(f"{schedule}.alphas", "schedule.alphas"),
        Row(f"{schedule}.alpha_bars", "schedule.alpha_bars"),
        Row(f"{schedule}.sigmas_flex", "schedule.sigmas_flexible"),
        Row(f"{schedule}.sigmas_inflex", "schedule.sigmas_inflexible"),
        Row(f"{DENOISER_PREFIX}null_style_clip", "null_style_clip"),
        Row(f"{DENOISER_PREFIX}null_pad_mask", "null_style_padding"),
    ]
    return Table(rows)


def _adain(source: str, target: str) -> list[Row]:
    return [
        *_linear(f"{source}.mlp_shared.0", f"{target}.shared"),
        *_linear(f"{source}.mlp_gamma", f"{target}.gamma"),
        *_linear(f"{source}.mlp_beta", f"{target}.beta"),
    ]


def _norm2d(source: str, target: str) -> list[Row]:
    """LayerNorm2d keeps (C, 1, 1); ours is (C,)."""
    channels = chain(squeeze(-1), squeeze(-1))
    return [
        Row(f"{source}.weight", f"{target}.scale", channels),
        Row(f"{source}.bias", f"{target}.bias", channels),
    ]


def _conv_norm(source: str, target: str) -> list[Row]:
    return _conv(f"{source}.model.0", f"{target}.conv") + _norm2d(f"{source}.model.1", f"{target}.norm")


def renderer(config: RendererConfig) -> Table:
    """`net_G_ema` of `renderer.pt`."""
    rows = _conv("mapping_net.first.0", "mapping.first", conv1d)
    for i in range(config.mapping_layers):
        rows += _conv(f"mapping_net.encoder{i}.1", f"mapping.layers.{i}", conv1d)

    hourglass = "warpping_net.hourglass"  # (sic)
    rows += _conv(f"{hourglass}.encoder.input_layer", "warping.input_layer")
    for i in range(config.warp_encoder_layers):
        block, ours = f"{hourglass}.encoder.encoder{i}", f"warping.encoder.{i}"
        for name in ("conv_0", "conv_1"):
            rows += _conv(f"{block}.{name}", f"{ours}.{name}")
        for name in ("norm_0", "norm_1"):
            rows += _adain(f"{block}.{name}", f"{ours}.{name}")
    for place in range(config.warp_decoder_layers):  # ours count from the smallest map, theirs by encoder level
        block = f"{hourglass}.decoder.decoder{config.warp_encoder_layers - 1 - place}"
        ours = f"warping.decoder.{place}"
        rows += _conv(f"{block}.conv_0", f"{ours}.conv_0")
        for name in ("conv_1", "conv_s"):
            rows += _conv(f"{block}.{name}", f"{ours}.{name}", up_conv)
        for name in ("norm_0", "norm_1", "norm_s"):
            rows += _adain(f"{block}.{name}", f"{ours}.{name}")
    rows += _norm2d("warpping_net.flow_out.0", "warping.flow_norm")
    rows += _conv("warpping_net.flow_out.2", "warping.flow_conv")

    rows += _conv_norm("editing_net.encoder.first", "editing.first")
    for i in range(config.edit_layers):
        rows += _conv_norm(f"editing_net.encoder.down{i}", f"editing.down.{i}")
    for place in range(config.edit_layers):
        level, ours = config.edit_layers - 1 - place, f"editing.levels.{place}"
        for j in range(config.edit_residual_blocks):
            block = f"editing_net.decoder.res{level}.res{j}"
            for number in (1, 2) if config.unused_residual_convs else (2,):
                rows += _conv(f"{block}.conv{number}", f"{ours}.residual.{j}.conv{number}")
                rows += _adain(f"{block}.norm{number}", f"{ours}.residual.{j}.norm{number}")
        rows += _conv_norm(f"editing_net.decoder.up{level}", f"{ours}.up")
        rows += _conv_norm(f"editing_net.decoder.jump{level}", f"{ours}.jump")
    rows += _conv("editing_net.decoder.final.model.0", "editing.final")
    return Table(rows)


def vgg19() -> Table:
    """Torchvision's `vgg19` up to relu5_1; what follows it is not needed."""
    rows: list[Row | Ignore] = []
    place = 0
    for block, count in enumerate((2, 2, 4, 4, 4)):
        for conv in range(count):
            if block < 4 or conv == 0:
                rows += _conv(f"features.{place}", f"blocks.{block}.{conv}")
            else:
                rows.append(Ignore(f"features.{place}.*", "lies above relu5_1"))
            place += 2  # a convolution and its ReLU
        place += 1  # the pooling
    return Table([*rows, Ignore("classifier.*", "classifies ImageNet")])


# ------------------------------------------------------------------------------------------------ released files

DENOISER_FILE, RENDERER_FILE = "denoising_network.pth", "renderer.pt"
_PARTS = {"denoiser": "denoiser/", "renderer": "renderer/", "speech": "speech/"}
_SPEECH_FILE = "speech/model.safetensors"
_ALONE = {part: f"{KIND}-{part}" for part in ("denoiser", "renderer")}
"""Kind of a network that was exported alone."""


def _exported_sizes(kind: str, config: Any) -> dict[str, bytes]:
    """`config.json` of an export: the sizes of its networks, and the kind of the whole as its `model_type`."""
    values = {"model_type": kind, **weights.config_to_dict(config)}
    return {"config.json": (json.dumps(values, indent=1) + "\n").encode()}


def _exported_config(path: Path) -> DreamTalkConfig | None:
    """What the `config.json` of an export says; None where there is none, as beside the published files."""
    if hf_model_type(path) != KIND:
        return None
    values = {key: value for key, value in hf_config(path).items() if key != "model_type"}
    return weights.config_from_dict(DreamTalkConfig, values)


def _config_of(part: str, config_class: type, published: Any) -> Callable[[Path, Source], Any]:
    """Config of one of the networks, in a folder of its own or beside the other."""

    def config(path: Path, source: Source) -> Any:
        if (whole := _exported_config(path)) is not None:
            return getattr(whole, part)
        if hf_model_type(path) != _ALONE[part]:
            return published
        values = {key: value for key, value in hf_config(path).items() if key != "model_type"}
        return weights.config_from_dict(config_class, values)

    return config


def _open_denoiser(path: Path) -> Source:
    """Tensors of the denoiser; a checkpoint holds others (of its training) beside them, under other prefixes."""
    source = _open(path, DENOISER_FILE, "model_state_dict")
    return RenamedSource(source, lambda key: key if key.startswith(DENOISER_PREFIX) else None)


def _open_renderer(path: Path) -> Source:
    return _open(path, RENDERER_FILE, "net_G_ema")


def _open(path: Path, name: str, root: str) -> Source:
    """One network: its file, a folder with it, or another checkpoint that holds its tensors alone."""
    file = path / name if (path / name).is_file() else path
    return TorchSource(file, root) if file.suffix in (".pth", ".pt") else open_source(file)


def _speech_folder(path: Path) -> Path:
    found = [folder.parent for folder in sorted(path.glob("*/config.json"))]
    if len(found) != 1:
        names = [folder.name for folder in found]
        raise UserError(
            f"{path} holds {names or 'no'} speech model folders; expected one with config.json and weights "
            "(jonatasgrosman/wav2vec2-large-xlsr-53-english)"
        )
    return found[0]


def _open_folder(path: Path) -> Source:
    lost = [name for name in (DENOISER_FILE, RENDERER_FILE) if not (path / name).is_file()]
    if lost:
        raise UserError(f"{path} has no {' and no '.join(lost)}; expected the files that DreamTalk's authors give out")
    parts = {"denoiser": _open_denoiser(path / DENOISER_FILE), "renderer": _open_renderer(path / RENDERER_FILE)}
    if hf_model_type(path) != KIND:
        parts["speech"] = open_source(_speech_folder(path))
    elif hf_config(path).get("speech") is not None:
        parts["speech"] = open_source(path / _SPEECH_FILE)
    return JoinedSource(
        str(path), [RenamedSource(part, lambda key, n=name: _PARTS[n] + key) for name, part in parts.items()]
    )


def _folder_config(path: Path, source: Source) -> DreamTalkConfig:
    if (exported := _exported_config(path)) is not None:
        return exported
    speech = Wav2Vec2Config.from_source(hf_config(_speech_folder(path)))
    return DreamTalkConfig(speech, released.DENOISER, released.RENDERER, released.STILL_POSE)


def whole(config: DreamTalkConfig) -> Table:
    """All networks in one table: sources and targets under the name of their part."""
    tables = {"denoiser": denoiser(config.denoiser), "renderer": renderer(config.renderer)}
    if config.speech is not None:
        tables["speech"] = hubert.table(config.speech)
    rows: list[Any] = []
    for name, table in tables.items():
        for row in prefixed(table.rows, _PARTS[name]):
            if isinstance(row, Row):
                row = dataclasses.replace(row, target=tuple(f"{name}.{target}" for target in row.targets))
            rows.append(row)
    return Table(rows)


def _export_place(key: str) -> tuple[str, tuple[str, ...]]:
    """Where the original's loaders look for a tensor of the whole folder."""
    part, _, inner = key.partition("/")
    if part == "speech":
        return _SPEECH_FILE, (inner,)
    file, root = {"denoiser": (DENOISER_FILE, "model_state_dict"), "renderer": (RENDERER_FILE, "net_G_ema")}[part]
    return file, (root, inner)


def _holds(source: Source, beginning: str) -> bool:
    return any(key.startswith(beginning) for key in source)


CONVERSIONS = [
    Conversion(
        name="dreamtalk",
        kind=KIND,
        about=f"DreamTalk: a folder with {DENOISER_FILE}, {RENDERER_FILE} and the wav2vec 2.0 folder",
        config=_folder_config,
        construct=lambda config: DreamTalk,
        table=whole,
        recognizes=lambda path, source: False,  # a folder of several checkpoints is recognized by their names
        folder_files=(DENOISER_FILE, RENDERER_FILE),
        open=_open_folder,
        place=_export_place,
        export_files=lambda config: _exported_sizes(KIND, config),
        config_class=DreamTalkConfig,
    ),
    Conversion(
        name=_ALONE["denoiser"],
        kind=_ALONE["denoiser"],
        about=f"DreamTalk's {DENOISER_FILE} alone",
        config=_config_of("denoiser", DenoiserConfig, released.DENOISER),
        construct=lambda config: Denoiser,
        table=denoiser,
        recognizes=lambda path, source: _holds(source, f"model_state_dict.{DENOISER_PREFIX}"),
        open=_open_denoiser,
        place=lambda key: (DENOISER_FILE, ("model_state_dict", key)),
        export_files=lambda config: _exported_sizes(_ALONE["denoiser"], config),
        config_class=DenoiserConfig,
    ),
    Conversion(
        name=_ALONE["renderer"],
        kind=_ALONE["renderer"],
        about=f"DreamTalk's {RENDERER_FILE} alone",
        config=_config_of("renderer", RendererConfig, released.RENDERER),
        construct=lambda config: Renderer,
        table=renderer,
        recognizes=lambda path, source: _holds(source, "net_G_ema.warpping_net."),
        open=_open_renderer,
        place=lambda key: (RENDERER_FILE, ("net_G_ema", key)),
        export_files=lambda config: _exported_sizes(_ALONE["renderer"], config),
        config_class=RendererConfig,
    ),
    Conversion(
        name="vgg19",
        kind=perceptual.KIND,
        about="torchvision's VGG-19, which the renderer's training compares pictures by",
        config=lambda path, source: perceptual.VGG19,
        construct=lambda config: perceptual.Vgg19,
        table=lambda config: vgg19(),
        recognizes=lambda path, source: _holds(source, "features.34.weight"),
        config_class=perceptual.Vgg19Config,
    ),
]
