"""ChatGLM3 (THUDM/chatglm3-6b), Hugging Face checkpoints."""

from __future__ import annotations

from converters.conversion import Conversion
from converters.huggingface import hf_config, hf_model_type
from converters.table import Ignore, Row, Same, Table, transpose
from converters.tokenizer_files import sentencepiece
from empatheia_jax.core.chatglm import ChatGLM, ChatGLMConfig


def table(config: ChatGLMConfig) -> Table:
    """Rows of a release, `transformer.encoder.layers.{i}.self_attention.query_key_value.weight` and so on."""
    layer, ours = "transformer.encoder.layers.{i}.", "layers."
    rows: list[Row | Ignore | Same] = [
        Row("transformer.embedding.word_embeddings.weight", "embed_tokens.embedding"),
        Row("transformer.encoder.final_layernorm.weight", "norm.scale"),
        Row("transformer.output_layer.weight", "lm_head.kernel", transpose),
        Row(layer + "input_layernorm.weight", ours + "attention_norm.scale"),
        Row(layer + "post_attention_layernorm.weight", ours + "mlp_norm.scale"),
        Row(layer + "self_attention.query_key_value.weight", ours + "attention.query_key_value.kernel", transpose),
        Row(layer + "self_attention.dense.weight", ours + "attention.dense.kernel", transpose),
        Row(layer + "mlp.dense_h_to_4h.weight", ours + "mlp.dense_h_to_4h.kernel", transpose),
        Row(layer + "mlp.dense_4h_to_h.weight", ours + "mlp.dense_4h_to_h.kernel", transpose),
        Ignore("transformer.rotary_pos_emb.inv_freq", "rotary frequencies are computed from the config"),
    ]
    if config.qkv_bias:
        rows.append(Row(layer + "self_attention.query_key_value.bias", ours + "attention.query_key_value.bias"))
    return Table(rows)


CONVERSIONS = [
    Conversion(
        name="chatglm",
        kind="chatglm",
        about="ChatGLM3: Hugging Face folder (safetensors or .bin, single or sharded)",
        config=lambda path, source: ChatGLMConfig.from_source(hf_config(path)),
        construct=lambda config: ChatGLM,
        table=table,
        recognizes=lambda path, source: (
            hf_model_type(path) == "chatglm" and "transformer.embedding.word_embeddings.weight" in source
        ),
        files=sentencepiece.language_files(sentencepiece.CHATGLM),
        config_class=ChatGLMConfig,
    ),
]
