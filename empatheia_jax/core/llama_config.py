"""Configuration of the LLaMA family, read from a released checkpoint's own `config.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from empatheia_jax.errors import UserError
from empatheia_jax.nn.rotary import RopeScaling

# Fields that say nothing about the arithmetic of a forward pass.
BOOKKEEPING = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _name_or_path architectures auto_map bos_token_id
    chunk_size_feed_forward cross_attention_hidden_size dtype eos_token_id finetuning_task id2label
    initializer_range is_decoder is_encoder_decoder label2id max_length model_type output_attentions
    output_hidden_states pad_token_id prefix problem_type return_dict sep_token_id task_specific_params
    tokenizer_class torch_dtype transformers_version transformers.js_config use_cache decoder_start_token_id
    add_cross_attention max_window_layers max_sequence_length unsloth_version is_llama_config
    """.split()  # noqa: SIM905
)
_ARCHITECTURE = frozenset(
    """
    vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rms_norm_eps rope_theta rope_scaling rope_parameters hidden_act tie_word_embeddings
    attention_bias mlp_bias attention_dropout pretraining_tp sliding_window use_sliding_window layer_types
    rope_interleaved
    """.split()  # noqa: SIM905
)
# family: (bias on q, k, v; bias on the output projection; norm on q and k), where the format does not say
_FAMILIES = {
    "llama": (False, False, False),
    "mistral": (False, False, False),
    "qwen2": (True, False, False),
    "qwen3": (False, False, True),
}


@dataclass(frozen=True)
class LlamaConfig:
    """Architecture constants of one checkpoint; none has a default.

    qkv_bias, output_bias, mlp_bias: which projections add a bias. qk_norm: RMS norm over each head's queries and keys
    (Qwen3).
    sliding_window: how far back a query sees, None for everything (Mistral 7B v0.1: 4096).
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    tie_word_embeddings: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    sliding_window: int | None

    def __post_init__(self):
        if isinstance(self.rope_scaling, dict):  # read back from JSON
            object.__setattr__(self, "rope_scaling", RopeScaling(**self.rope_scaling))
        if self.num_kv_heads < 1 or self.num_heads % self.num_kv_heads:
            raise UserError(
                f"{self.num_heads} attention heads cannot share {self.num_kv_heads} key/value heads; "
                "num_attention_heads must be a multiple of num_key_value_heads"
            )

    @classmethod
    def from_source(cls, source: dict) -> LlamaConfig:
        """From the fields of a Hugging Face `config.json` of type llama, mistral, qwen2 or qwen3.

        Values that the format itself defines as implied (key/value heads = heads, head width = hidden / heads, rope θ
        10000, untied head, Mistral's window of 4096) are filled in; everything else must be present. Raises UserError for a
        field or a value that this network does not implement.
        """
        family = source.get("model_type")
        if family not in _FAMILIES:
            known = ", ".join(_FAMILIES)
            raise UserError(f"model_type {family!r} is not of the LLaMA family; expected one of {known}")
        unknown = sorted(key for key in set(source) - _ARCHITECTURE - BOOKKEEPING if source[key] is not None)
        if unknown:
            raise UserError(f"config of type {family}: fields not implemented: {', '.join(unknown)}")
        _require(source, "hidden_act", ("silu", "swish"))
        _require(source, "pretraining_tp", (1, None))
        _require(source, "rope_interleaved", (False, None))
        for key in ("attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window"):
            if not isinstance(source.get(key), bool | None):
                raise UserError(f"{key}={source[key]!r:.40} is neither true nor false")
        if source.get("attention_dropout") not in (None, 0, 0.0):
            raise UserError(f"attention_dropout={source['attention_dropout']} is not implemented; expected 0")

        def needed(key: str):
            if source.get(key) is None:
                raise UserError(f"config of type {family} lacks {key!r}; it has {', '.join(sorted(source))}")
            return source[key]

        rope = source.get("rope_parameters") or {}
        if isinstance(rope, dict) and source.get("rope_theta", rope.get("rope_theta")) != rope.get(
            "rope_theta", source.get("rope_theta")
        ):
            raise UserError(f"config of type {family}: rope_parameters says another thing than rope_theta")
        if rope and source.get("rope_scaling") and _kind_of_rope(rope) != _kind_of_rope(source["rope_scaling"]):
            raise UserError(f"config of type {family}: rope_parameters says another thing than rope_scaling")
        theta = source.get("rope_theta", rope.get("rope_theta", 10000.0))
        if isinstance(theta, bool) or not isinstance(theta, int | float) or not 0 < theta < math.inf:
            raise UserError(f"rope_theta={theta!r:.40} is no number above 0")
        heads, hidden = needed("num_attention_heads"), needed("hidden_size")
        qkv_bias, output_bias, qk_norm = _FAMILIES[family]
        if source.get("attention_bias") is not None and family in ("llama", "qwen3"):
            qkv_bias = output_bias = bool(source["attention_bias"])
        return cls(
            vocab_size=needed("vocab_size"),
            hidden_size=hidden,
            intermediate_size=needed("intermediate_size"),
            num_layers=needed("num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=_or(source.get("num_key_value_heads"), heads),
            head_dim=_or(source.get("head_dim"), hidden // heads),
            max_position_embeddings=needed("max_position_embeddings"),
            rms_norm_eps=needed("rms_norm_eps"),
            rope_theta=float(theta),
            rope_scaling=RopeScaling.from_source(
                source.get("rope_scaling") or source.get("rope_parameters"), source.get("max_position_embeddings")
            ),
            tie_word_embeddings=bool(source.get("tie_word_embeddings", False)),
            qkv_bias=qkv_bias,
            output_bias=output_bias,
            mlp_bias=bool(source.get("mlp_bias", False)),
            qk_norm=qk_norm,
            sliding_window=_window(source, family),
        )


def _require(source: dict, key: str, allowed: tuple) -> None:
    if key in source and source[key] not in allowed:
        raise UserError(f"{key}={source[key]!r} is not implemented; expected {allowed[0]!r}")


def _kind_of_rope(stated: dict) -> dict:
    """The fields of a rope scaling, old and new spelling alike."""
    plain = {key: value for key, value in stated.items() if key != "rope_theta"}
    return plain | {"rope_type": plain.get("rope_type", plain.pop("type", None))}


def _or(value: int | None, implied: int) -> int:
    return implied if value is None else value


def _window(source: dict, family: str) -> int | None:
    kinds = set(source.get("layer_types") or ())
    if len(kinds) > 1:
        raise UserError(f"layer_types mixes {', '.join(sorted(kinds))}; only one kind for all layers is implemented")
    if family.startswith("qwen") and not source.get("use_sliding_window", False):
        return None
    if kinds == {"full_attention"}:
        return None
    if kinds - {"full_attention", "sliding_attention"}:
        found = ", ".join(kinds)
        raise UserError(f"layer_types {found} is not implemented; expected full_attention or sliding_attention")
    if family.startswith("qwen") and source.get("max_window_layers", 0):
        raise UserError("use_sliding_window with max_window_layers > 0 mixes kinds of layers; only one is implemented")
    if family == "llama" and (kinds or source.get("sliding_window") is not None):
        raise UserError(
            "a sliding_window in a config of type llama is not implemented; the reference takes no notice of it"
        )
    return source.get("sliding_window", 4096 if family == "mistral" else None)
