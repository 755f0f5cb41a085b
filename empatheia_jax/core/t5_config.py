"""Configuration of T5 v1.1, read from a released checkpoint's own `config.json`."""

from __future__ import annotations

from dataclasses import dataclass

from empatheia_jax.core.llama_config import BOOKKEEPING
from empatheia_jax.errors import UserError

_FIELDS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "d_kv": "head_dim",
    "d_ff": "intermediate_size",
    "num_layers": "num_layers",
    "num_heads": "num_heads",
    "relative_attention_num_buckets": "relative_buckets",
    "relative_attention_max_distance": "relative_longest",
    "layer_norm_epsilon": "rms_norm_eps",
    "decoder_start_token_id": "decoder_start_token_id",
}
_REQUIRED = {
    "model_type": ("t5",),
    "feed_forward_proj": ("gated-gelu",),
    "is_gated_act": (True,),
    "tie_word_embeddings": (False,),
    "is_encoder_decoder": (True,),
    "is_decoder": (False,),
    "scale_decoder_outputs": (False,),
}
# dropout_rate is the pre-training's: frozen backbones run without it, adapters have their own. initializer_factor is of a
# random start. dense_act_fn follows from feed_forward_proj: gated-gelu means the tanh approximation, and early revisions of
# Flan-T5 write "gelu" there for the same network.
_OTHERS = frozenset(
    """
    num_decoder_layers dropout_rate n_positions output_past classifier_dropout initializer_factor dense_act_fn
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class T5Config:
    """Architecture constants of one checkpoint; none has a default."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_decoder_layers: int
    num_heads: int
    head_dim: int
    relative_buckets: int
    relative_longest: int
    rms_norm_eps: float
    decoder_start_token_id: int

    @classmethod
    def from_source(cls, source: dict) -> T5Config:
        """From the fields of a Hugging Face `config.json`. Raises UserError for a field or value that is not
        implemented.

        The first T5 (ReLU, tied and scaled head) is refused: it is another network.
        """
        known = set(_FIELDS) | set(_REQUIRED) | _OTHERS | BOOKKEEPING
        unknown = sorted(key for key in set(source) - known if source[key] is not None)
        if unknown:
            raise UserError(f"config of type t5: fields not implemented: {', '.join(unknown)}")
        for key, allowed in _REQUIRED.items():
            if key in source and source[key] not in allowed:
                raise UserError(f"{key}={source[key]!r} is not implemented; expected {allowed[0]!r} (T5 v1.1)")
        missing = sorted(key for key in [*_FIELDS, "feed_forward_proj"] if source.get(key) is None)
        if missing:
            raise UserError(f"config of type t5 lacks {', '.join(missing)}")
        if source.get("dense_act_fn") not in (None, "gelu_new", "gelu"):
            raise UserError(
                f"dense_act_fn={source['dense_act_fn']!r} is not implemented; expected 'gelu_new' (T5 v1.1)"
            )
        buckets, longest = source["relative_attention_num_buckets"], source["relative_attention_max_distance"]
        # The first half of the buckets is for one distance each, the rest for longer ones.
        if not longest > buckets // 2 > 0:
            raise UserError(
                f"relative_attention_max_distance={longest} is not beyond half of relative_attention_num_buckets={buckets}; "
                "expected those of the release, 128 and 32"
            )
        layers = source.get("num_decoder_layers") or source["num_layers"]
        return cls(num_decoder_layers=layers, **{ours: source[key] for key, ours in _FIELDS.items()})
