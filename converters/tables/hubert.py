"""HuBERT and wav2vec 2.0 as released by Hugging Face `transformers`, with or without their CTC head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.conversion import Conversion
from converters.formats.source import Source
from converters.huggingface import hf_config, hf_files, hf_model_type
from converters.table import Ignore, Row, Table, conv1d, prefixed, squeeze
from converters.table import chain as chained
from converters.tables.transformer import layer_rows, linear_rows, norm_rows
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config

_SUBLAYERS = {
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.out": "attention.out_proj",
    "attention_norm": "layer_norm",
    "mlp.up": "feed_forward.intermediate_dense",
    "mlp.down": "feed_forward.output_dense",
    "mlp_norm": "final_layer_norm",
}
_POSITION = "encoder.pos_conv_embed.conv"


def table(config: Wav2Vec2Config) -> Table:
    """Rows for one network. Keys may have the prefix of a model with a head (`hubert.`, `wav2vec2.`) or none, and the
    positional convolution's weight norm either of its two spellings.
    """
    rows: list[Row | Ignore] = [Row("masked_spec_embed", "masked_frame")]
    for i in range(len(config.conv_channels)):
        theirs, ours = f"feature_extractor.conv_layers.{i}", f"convolutions.{i}"
        rows.append(Row(f"{theirs}.conv.weight", f"{ours}.kernel", conv1d))
        if config.conv_bias:
            rows.append(Row(f"{theirs}.conv.bias", f"{ours}.bias"))
        if i == 0 or config.conv_norm == "layer":
            rows += norm_rows(f"{theirs}.layer_norm", f"{ours}.norm")
    rows += norm_rows("feature_projection.layer_norm", "projection_norm")
    rows += linear_rows("feature_projection.projection", "projection")
    parametrized = f"{_POSITION}.parametrizations.weight.original"
    rows += [
        Row(f"{_POSITION}.bias", "position.bias"),
        Row(
            f"{_POSITION}.weight_g",
            "position.scale",
            chained(squeeze(0), squeeze(0)),
            aliases=(f"{parametrized}0",),
        ),
        Row(f"{_POSITION}.weight_v", "position.direction", conv1d, aliases=(f"{parametrized}1",)),
    ]
    rows += norm_rows("encoder.layer_norm", "norm")
    rows += layer_rows("encoder.layers.{i}", "layers", _SUBLAYERS)
    prefix = f"{config.model_type}."
    # What pre-training needs beside the encoder.
    junk = [
        Ignore(f"{name}*", "part of the pre-training objective")
        for name in ("quantizer.", "project_q.", "project_hid.")
    ]
    order = ("", prefix) if config.vocabulary is None else (prefix, "")
    if config.vocabulary is None:
        head: Sequence[Row | Ignore] = [Ignore("lm_head.*", "a CTC head, which the configuration does not name")]
    else:
        head = linear_rows("lm_head", "ctc")
    return Table([*prefixed(rows, *order), *head, *junk])


def _config(path: Path, source: Source) -> Wav2Vec2Config:
    return Wav2Vec2Config.from_source(hf_config(path))


def _conversion(name: str, about: str) -> Conversion:
    return Conversion(
        name=name,
        kind=name,
        about=about,
        config=_config,
        construct=lambda config: Wav2Vec2,
        table=table,
        recognizes=lambda path, source: hf_model_type(path) == name,
        files=hf_files,
        config_class=Wav2Vec2Config,
    )


CONVERSIONS = [
    _conversion("hubert", "HuBERT base and large (safetensors or .bin, with config.json)"),
    _conversion("wav2vec2", "wav2vec 2.0 and XLSR (safetensors or .bin, with config.json)"),
]
