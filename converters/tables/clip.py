"""The vision tower of CLIP as released by Hugging Face `transformers`, alone or inside the whole CLIP."""

from __future__ import annotations

from pathlib import Path

from converters.conversion import Conversion
from converters.formats.source import Source
from converters.huggingface import hf_config, hf_files, hf_model_type
from converters.table import Ignore, Row, Same, Table, conv2d, prefixed
from converters.tables.transformer import layer_rows, norm_rows
from empatheia_jax.encoders.clip_vision import ClipVision, ClipVisionConfig

_SUBLAYERS = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.out_proj",
    "attention_norm": "layer_norm1",
    "mlp.up": "mlp.fc1",
    "mlp.down": "mlp.fc2",
    "mlp_norm": "layer_norm2",
}


def table(config: ClipVisionConfig) -> Table:
    """Rows for one tower, with the prefix `vision_model.` or without."""
    rows: list[Row | Ignore | Same] = [
        Row("embeddings.class_embedding", "class_token"),
        Row("embeddings.patch_embedding.weight", "patch", conv2d),
        Row("embeddings.position_embedding.weight", "positions"),
        Ignore("embeddings.position_ids", "a counting buffer"),
        *norm_rows("pre_layrnorm", "pre_norm"),  # the released spelling
        *norm_rows("post_layernorm", "post_norm"),
        *layer_rows("encoder.layers.{i}", "layers", _SUBLAYERS),
    ]
    text = "part of CLIP's text side, which the encoder does not have"
    junk = [Ignore(key, text) for key in ("text_model.*", "visual_projection.weight", "text_projection.weight")]
    return Table([*prefixed(rows, "vision_model.", ""), *junk, Ignore("logit_scale", text)])


def _config(path: Path, source: Source) -> ClipVisionConfig:
    return ClipVisionConfig.from_source(hf_config(path))


CONVERSIONS = [
    Conversion(
        name="clip-vision",
        kind="clip-vision",
        about="CLIP's vision tower (safetensors or .bin, with config.json and preprocessor_config.json)",
        config=_config,
        construct=lambda config: ClipVision,
        table=table,
        recognizes=lambda path, source: hf_model_type(path) in ("clip", "clip_vision_model"),
        files=hf_files,
        config_class=ClipVisionConfig,
    )
]
