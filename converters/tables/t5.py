"""T5 v1.1 and Flan-T5, Hugging Face checkpoints."""

from __future__ import annotations

from converters.conversion import Conversion
from converters.huggingface import hf_config, hf_model_type
from converters.table import Ignore, Row, Same, Table, transpose
from converters.tokenizer_files import sentencepiece
from empatheia_jax.core.t5 import T5, T5Config


def table(config: T5Config) -> Table:
    """Rows of a release, `encoder.block.{i}.layer.0.SelfAttention.q.weight` and so on."""
    rows: list[Row | Ignore | Same] = [
        Row("shared.weight", "embed_tokens.embedding"),
        Same("encoder.embed_tokens.weight", "shared.weight"),
        Same("decoder.embed_tokens.weight", "shared.weight"),
        Row("lm_head.weight", "lm_head.kernel", transpose),
        Ignore(
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
            "cross-attention has no positions; old releases carry an unused table",
        ),
    ]
    for stack in ("encoder", "decoder"):
        block, ours = stack + ".block.{i}.", stack + ".layers."
        feed_forward = 2 if stack == "decoder" else 1
        rows += [
            Row(f"{stack}.final_layer_norm.weight", f"{stack}.norm.scale"),
            Row(
                f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                f"{stack}.relative_attention_bias",
            ),
            Row(block + "layer.0.layer_norm.weight", ours + "attention_norm.scale"),
            Row(f"{block}layer.{feed_forward}.layer_norm.weight", ours + "mlp_norm.scale"),
        ]
        rows += _attention(block + "layer.0.SelfAttention", ours + "attention")
        if stack == "decoder":
            rows.append(Row(block + "layer.1.layer_norm.weight", ours + "cross_norm.scale"))
            rows += _attention(block + "layer.1.EncDecAttention", ours + "cross")
        for name in ("wi_0", "wi_1", "wo"):
            source = f"{block}layer.{feed_forward}.DenseReluDense.{name}.weight"
            rows.append(Row(source, f"{ours}mlp.{name}.kernel", transpose))
    return Table(rows)


def _attention(source: str, target: str) -> list[Row]:
    return [Row(f"{source}.{name}.weight", f"{target}.{name}.kernel", transpose) for name in "qkvo"]


CONVERSIONS = [
    Conversion(
        name="t5",
        kind="t5",
        about="T5 v1.1, Flan-T5: Hugging Face folder (safetensors or .bin, single or sharded)",
        config=lambda path, source: T5Config.from_source(hf_config(path)),
        construct=lambda config: T5,
        table=table,
        recognizes=lambda path, source: hf_model_type(path) == "t5" and "shared.weight" in source,
        files=sentencepiece.language_files(sentencepiece.T5),
        config_class=T5Config,
    ),
]
