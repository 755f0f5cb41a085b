"""A merged model as one GGUF file, in bfloat16 with float32 norms, tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np

from converters import interpreter
from converters.formats.sentencepiece_file import Pieces
from converters.release.base import Told
from converters.tables import llama
from converters.tokenizer_files import gguf as tokenizer_files
from empatheia_jax.errors import UserError
from empatheia_jax.nn.rotary import inverse_frequencies

_KINDS = gguf.GGMLQuantizationType


def _require_plain(config: Any) -> None:
    """Raises UserError for a network that the architecture `llama` of GGUF cannot hold."""
    scaled = config.rope_scaling is not None and config.rope_scaling.kind != "llama3"
    if config.qkv_bias or config.output_bias or config.mlp_bias or config.qk_norm or config.sliding_window or scaled:
        raise UserError(
            "a GGUF file is written for plain LLaMA alone (no biases, no query norms, no window); leave gguf out of --parts"
        )


def write_gguf(
    path: Path,
    name: str,
    parameters: Mapping[str, Any],
    config: Any,
    tokenizer: str,
    names: Mapping[str, str | None],
    chat_template: str | None,
    sentencepiece: bytes | None,
    told: Told,
) -> None:
    """Writes the file.

    Args:
      path: the file.
      name: what it calls the model.
      parameters: {path of the core: array or `Lazy`}, merged and resized.
      config: the core's config, resized.
      tokenizer: `tokenizer.json` with the added tokens.
      names: bos_token, eos_token, pad_token.
      chat_template: Jinja, or None.
      sentencepiece: the release's `tokenizer.model`, which has the scores of its pieces; None where there is none.
      told: called with the bytes of each tensor.

    Raises: UserError for a network or a tokenizer that GGUF's `llama` cannot hold.
    """
    _require_plain(config)
    table = llama.gguf_table(config)
    manifest = interpreter.export_manifest(parameters, table)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_BF16))
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    _add_tokenizer(writer, tokenizer, names, config.vocab_size, sentencepiece)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    factors = _rope_factors(config)
    if factors is not None:
        writer.add_tensor_info(llama.ROPE_FACTORS, factors.shape, factors.dtype, factors.nbytes)
    for key, entry in manifest.items():
        plain = len(entry["shape"]) < 2
        size = int(np.prod(entry["shape"])) * (4 if plain else 2)
        kind = np.dtype(np.float32) if plain else np.dtype(np.float16)  # two bytes; `raw_dtype` says which
        writer.add_tensor_info(key, entry["shape"], kind, size, None if plain else _KINDS.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    written = []
    for key, array in interpreter.export(parameters, table):
        dtype = np.float32 if array.ndim < 2 else ml_dtypes.bfloat16
        data = np.ascontiguousarray(array.astype(dtype)).view(np.uint8)
        writer.write_tensor_data(data)
        written.append(key)
        told(data.nbytes)
    writer.close()
    if written != list(manifest):
        raise ValueError("the tensors came in another order than they were announced")


def _rope_factors(config: Any) -> np.ndarray | None:
    """What llama.cpp divides the rotary frequencies by (Llama 3's scaling)."""
    if config.rope_scaling is None:
        return None
    plain, _ = inverse_frequencies(config.head_dim, config.rope_theta)
    scaled, _ = inverse_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)
    return (np.asarray(plain) / np.asarray(scaled)).astype(np.float32)


def _add_tokenizer(
    writer: gguf.GGUFWriter, tokenizer: str, names: Mapping[str, str | None], rows: int, sentencepiece: bytes | None
) -> None:
    spec = json.loads(tokenizer)
    model = spec["model"]
    if model.get("type") != "BPE":
        raise UserError(f"the tokenizer is of the kind {model.get('type')!r}; a GGUF file is written for BPE alone")
    added = {entry["id"]: entry for entry in spec["added_tokens"]}
    tokens = {i: piece for piece, i in model["vocab"].items()} | {i: entry["content"] for i, entry in added.items()}
    listed = [tokens.get(i, f"<|unused_row_{i}|>") for i in range(rows)]
    kinds = [_kind(i, tokens, added) for i in range(rows)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if _is_byte_level(spec):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(tokenizer_files.rule_of(spec))
        writer.add_token_merges(merges)
    else:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(listed, merges, sentencepiece))
        kinds = [tokenizer_files.BYTE if _is_byte(piece) else kind for piece, kind in zip(listed, kinds)]
    writer.add_token_list(listed)
    writer.add_token_types(kinds)
    ids = {piece: i for i, piece in enumerate(listed)}
    for name, add in (
        ("bos_token", writer.add_bos_token_id),
        ("eos_token", writer.add_eos_token_id),
        ("pad_token", writer.add_pad_token_id),
    ):
        if (piece := names.get(name)) is not None:
            add(ids[piece])
    if model.get("unk_token") in ids:
        writer.add_unk_token_id(ids[model["unk_token"]])
    writer.add_add_bos_token(_begins_with_bos(spec, names.get("bos_token")))


def _kind(i: int, tokens: Mapping[int, str], added: Mapping[int, Mapping[str, Any]]) -> int:
    if i not in tokens or tokens[i].startswith("<|unused_row_"):
        return tokenizer_files.UNUSED
    if i in added:
        return tokenizer_files.CONTROL if added[i]["special"] else tokenizer_files.USER_DEFINED
    return tokenizer_files.NORMAL


def _is_byte_level(spec: Mapping[str, Any]) -> bool:
    return '"ByteLevel"' in json.dumps(spec.get("decoder")) or '"ByteLevel"' in json.dumps(spec.get("pre_tokenizer"))


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _scores(tokens: Sequence[str], merges: Sequence[str], sentencepiece: bytes | None) -> list[float]:
    """The scores by which llama.cpp merges: of SentencePiece's own file, else by the order of the merges."""
    if sentencepiece is not None:
        known = {text: score for text, score, _ in Pieces.read(sentencepiece, "tokenizer.model").pieces}
    else:
        known = {merge.replace(" ", "", 1): -float(rank) for rank, merge in reversed(list(enumerate(merges)))}
    return [known.get(token, 0.0 if len(token) == 1 else -1e6) for token in tokens]


def _begins_with_bos(spec: Mapping[str, Any], bos: str | None) -> bool:
    return bos is not None and bos in json.dumps(spec.get("post_processor"), ensure_ascii=False)
