"""ChatGLM3 in Flax NNX (Zeng et al., "ChatGLM", 2024; THUDM/chatglm3-6b).

Differs from LLaMA in its packed projections with a bias on query, key and value, in few key/value groups, and in rotary
positions on interleaved pairs of the first half of each head only.
Axis letters: b batch, t tokens, s cache slots, d hidden, n heads, k key/value groups, h head width, l layers, v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from empatheia_jax.core.causal import CausalLM
from empatheia_jax.errors import UserError
from empatheia_jax.nn.linear import Linear, RMSNorm
from empatheia_jax.nn.rotary import inverse_frequencies, rotary_tables, rotate_pairs

__all__ = ["ChatGLM", "ChatGLMConfig"]

ROPE_THETA = 10000.0  # the release computes it in code, scaled by `rope_ratio` where the config has one
_REQUIRED = {
    "model_type": ("chatglm",),
    "rmsnorm": (True,),
    "post_layer_norm": (True,),
    "add_bias_linear": (False,),
    "original_rope": (True,),
    "apply_residual_connection_post_layernorm": (False,),
    "hidden_dropout": (0, 0.0),
    "attention_dropout": (0, 0.0),
    "tie_word_embeddings": (False,),
    "pre_seq_len": (None,),
    "prefix_projection": (False, None),
    "quantization_bit": (0, None),
}
_ARCHITECTURE = frozenset(
    """
    num_layers padded_vocab_size hidden_size ffn_hidden_size kv_channels num_attention_heads seq_length
    multi_query_attention multi_query_group_num add_qkv_bias layernorm_epsilon rope_ratio
    """.split()  # noqa: SIM905
)
# Fields without influence on the result: names, ids, and switches of how the reference computes it.
_BOOKKEEPING = frozenset(
    """
    _name_or_path architectures auto_map bias_dropout_fusion bos_token_id eos_token_id pad_token_id torch_dtype dtype
    transformers_version use_cache apply_query_key_layer_scaling attention_softmax_in_fp32 fp32_residual_connection
    classifier_dropout interleaved_qkv vocab_size
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class ChatGLMConfig:
    """Architecture constants of one checkpoint; none has a default."""

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
    qkv_bias: bool

    @classmethod
    def from_source(cls, source: dict) -> ChatGLMConfig:
        """From the fields of a released `config.json`. Raises UserError for a field or value that is not implemented."""
        known = _ARCHITECTURE | _BOOKKEEPING | set(_REQUIRED)
        unknown = sorted(key for key in set(source) - known if source[key] is not None)
        if unknown:
            raise UserError(f"config of type chatglm: fields not implemented: {', '.join(unknown)}")
        for key, allowed in _REQUIRED.items():
            if key in source and source[key] not in allowed:
                raise UserError(f"{key}={source[key]!r} is not implemented; expected {allowed[0]!r}")
        optional = {"rope_ratio", "multi_query_group_num"}
        missing = sorted(key for key in _ARCHITECTURE - optional if source.get(key) is None)
        if source.get("multi_query_attention") and source.get("multi_query_group_num") is None:
            missing.append("multi_query_group_num")
        if missing:
            raise UserError(f"config of type chatglm lacks {', '.join(missing)}")
        heads = source["num_attention_heads"]
        return cls(
            vocab_size=source["padded_vocab_size"],
            hidden_size=source["hidden_size"],
            intermediate_size=source["ffn_hidden_size"],
            num_layers=source["num_layers"],
            num_heads=heads,
            num_kv_heads=source["multi_query_group_num"] if source["multi_query_attention"] else heads,
            head_dim=source["kv_channels"],
            max_position_embeddings=source["seq_length"],
            rms_norm_eps=source["layernorm_epsilon"],
            rope_theta=ROPE_THETA * (source.get("rope_ratio") or 1),
            qkv_bias=bool(source["add_qkv_bias"]),
        )


class ChatGLMAttention(nnx.Module):
    """Attention over one packed projection: all queries, then the key groups, then the value groups."""

    def __init__(self, config: ChatGLMConfig, *, rngs: nnx.Rngs, **kinds):
        c, self.config = config, config
        width = (c.num_heads + 2 * c.num_kv_heads) * c.head_dim
        # packed queries, keys and values do not split evenly over devices, so the axis of heads stays whole
        self.query_key_value = Linear(
            c.hidden_size, width, axes=("embed", None), use_bias=c.qkv_bias, rngs=rngs, **kinds
        )
        self.dense = Linear(c.num_heads * c.head_dim, c.hidden_size, axes=("heads", "embed"), rngs=rngs, **kinds)

    def project(self, x: Float[Array, "b t d"], tables, keys):
        """Queries (b, t, n, h), keys and values (b, t, k, h); the first half of queries and keys is rotated."""
        c = self.config
        b, t, _ = x.shape
        packed = self.query_key_value(x, keys[0]).reshape(b, t, -1, c.head_dim)
        q, k, v = jnp.split(packed, [c.num_heads, c.num_heads + c.num_kv_heads], axis=2)
        return self._rotate(q, tables), self._rotate(k, tables), v

    def _rotate(self, x, tables):
        half = self.config.head_dim // 2
        return jnp.concatenate([rotate_pairs(x[..., :half], *tables), x[..., half:]], axis=-1)

    def output(self, mixed: Float[Array, "b t m"], key) -> Float[Array, "b t d"]:
        return self.dense(mixed, key)


class ChatGLMMLP(nnx.Module):
    """`down(silu(gate) * up)` with gate and up packed in one projection, in this order."""

    def __init__(self, config: ChatGLMConfig, *, rngs: nnx.Rngs, **kinds):
        d, f = config.hidden_size, config.intermediate_size
        self.dense_h_to_4h = Linear(d, 2 * f, axes=("embed", "mlp"), rngs=rngs, **kinds)
        self.dense_4h_to_h = Linear(f, d, axes=("mlp", "embed"), rngs=rngs, **kinds)

    def __call__(self, x: Float[Array, "b t d"], keys) -> Float[Array, "b t d"]:
        gate, up = jnp.split(self.dense_h_to_4h(x, keys[0]), 2, axis=-1)
        return self.dense_4h_to_h(jax.nn.silu(gate) * up, keys[1])


class ChatGLMLayers(nnx.Module):
    """All layers of a model, their parameters stacked on axis 0."""

    def __init__(self, config: ChatGLMConfig, *, rngs: nnx.Rngs, **kinds):
        kinds["layers"] = config.num_layers
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps, rngs=rngs, **kinds)
        self.attention = ChatGLMAttention(config, rngs=rngs, **kinds)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps, rngs=rngs, **kinds)
        self.mlp = ChatGLMMLP(config, rngs=rngs, **kinds)


class ChatGLM(CausalLM):
    """ChatGLM3: see `CausalLM` for the calls. Its `all_hidden` ends with the last layer's output, not normalised."""

    normalises_last_hidden = False
    layers_class = ChatGLMLayers

    def rotary_tables(self, positions: Int[Array, "b t"]):
        c = self.config
        return rotary_tables(positions, *inverse_frequencies(c.head_dim // 2, c.rope_theta), self.dtype)
