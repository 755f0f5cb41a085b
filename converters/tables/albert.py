"""ALBERT as released by Hugging Face `transformers`, and PL-BERT's checkpoint of it."""

from __future__ import annotations

from pathlib import Path

from converters.conversion import Conversion
from converters.formats.source import Source
from converters.huggingface import hf_config, hf_files, hf_model_type
from converters.table import Ignore, Row, Table, prefixed
from converters.tables.transformer import layer_rows, linear_rows, norm_rows
from empatheia_jax.encoders.albert import Albert, AlbertConfig

_SUBLAYERS = {
    "attention.query": "attention.query",
    "attention.key": "attention.key",
    "attention.value": "attention.value",
    "attention.out": "attention.dense",
    "attention_norm": "attention.LayerNorm",
    "mlp.up": "ffn",
    "mlp.down": "ffn_output",
    "mlp_norm": "full_layer_layer_norm",
}


def rows(target: str = "") -> list[Row | Ignore]:
    """Rows of the network; `target` is put before our paths (for a network that holds an ALBERT)."""
    return [
        Row("embeddings.word_embeddings.weight", f"{target}tokens"),
        Row("embeddings.position_embeddings.weight", f"{target}positions"),
        Row("embeddings.token_type_embeddings.weight", f"{target}types"),
        Ignore("embeddings.position_ids", "a counting buffer"),
        *norm_rows("embeddings.LayerNorm", f"{target}embedding_norm"),
        *linear_rows("encoder.embedding_hidden_mapping_in", f"{target}projection"),
        *layer_rows("encoder.albert_layer_groups.0.albert_layers.0", f"{target}layer", _SUBLAYERS),
        *linear_rows("pooler", f"{target}pooler"),
    ]


def table(config: AlbertConfig) -> Table:
    """Rows under the names of a bare model, of a model with a head (`albert.`), and of PL-BERT's released checkpoint,
    whose tensors lie under `net` with the prefix `module.encoder.` beside two heads of its training.
    """
    junk = [
        Ignore(f"{prefix}{head}.*", "a head of PL-BERT's training")
        for prefix in ("net.module.", "module.")
        for head in ("mask_predictor", "word_predictor")
    ]
    junk += [Ignore("predictions.*", "the masked-language-model head"), Ignore("*optimizer.*", "state of the training")]
    return Table([*prefixed(rows(), "", "albert.", "module.encoder.", "net.module.encoder."), *junk])


def _config(path: Path, source: Source) -> AlbertConfig:
    return AlbertConfig.from_source(hf_config(path))


CONVERSIONS = [
    Conversion(
        name="albert",
        kind="albert",
        about="ALBERT and PL-BERT (safetensors or .bin/.t7, with config.json)",
        config=_config,
        construct=lambda config: Albert,
        table=table,
        recognizes=lambda path, source: hf_model_type(path) == "albert",
        files=hf_files,
        config_class=AlbertConfig,
    )
]
