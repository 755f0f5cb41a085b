"""The LLaMA family in Flax NNX: LLaMA 2 and 3, Vicuna, Mistral, SmolLM2, Qwen2.5, Qwen3.

Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023); the variants differ by `LlamaConfig`
only. Axis letters: b batch, t tokens, s cache slots, d hidden, n heads, k key/value heads, h head width, l layers, v
vocabulary.
"""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array, Float, Int

from empatheia_jax.core.causal import CausalLM
from empatheia_jax.core.llama_config import LlamaConfig
from empatheia_jax.nn.linear import Linear, RMSNorm
from empatheia_jax.nn.rotary import inverse_frequencies, rotary_tables, rotate_halves

__all__ = ["Llama", "LlamaConfig"]


class LlamaAttention(nnx.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: LlamaConfig, *, rngs: nnx.Rngs, **kinds):
        d, h = config.hidden_size, config.head_dim
        queries, keys = config.num_heads * h, config.num_kv_heads * h
        bias = config.qkv_bias
        self.config = config
        self.q_proj = Linear(d, queries, axes=("embed", "heads"), use_bias=bias, rngs=rngs, **kinds)
        self.k_proj = Linear(d, keys, axes=("embed", "kv_heads"), use_bias=bias, rngs=rngs, **kinds)
        self.v_proj = Linear(d, keys, axes=("embed", "kv_heads"), use_bias=bias, rngs=rngs, **kinds)
        self.o_proj = Linear(queries, d, axes=("heads", "embed"), use_bias=config.output_bias, rngs=rngs, **kinds)

        def norm() -> RMSNorm | None:
            return RMSNorm(h, config.rms_norm_eps, axis="head_dim", rngs=rngs, **kinds) if config.qk_norm else None

        self.q_norm, self.k_norm = norm(), norm()

    def project(self, x: Float[Array, "b t d"], tables, keys):
        """Queries (b, t, n, h), keys and values (b, t, k, h); queries and keys are rotated."""
        c = self.config
        b, t, _ = x.shape
        q = self.q_proj(x, keys[0]).reshape(b, t, c.num_heads, c.head_dim)
        k = self.k_proj(x, keys[1]).reshape(b, t, c.num_kv_heads, c.head_dim)
        v = self.v_proj(x, keys[2]).reshape(b, t, c.num_kv_heads, c.head_dim)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return rotate_halves(q, *tables), rotate_halves(k, *tables), v

    def output(self, mixed: Float[Array, "b t m"], key) -> Float[Array, "b t d"]:
        return self.o_proj(mixed, key)


class LlamaMLP(nnx.Module):
    """`down(silu(gate(x)) * up(x))`."""

    def __init__(self, config: LlamaConfig, *, rngs: nnx.Rngs, **kinds):
        d, f, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = Linear(d, f, axes=("embed", "mlp"), use_bias=bias, rngs=rngs, **kinds)
        self.up_proj = Linear(d, f, axes=("embed", "mlp"), use_bias=bias, rngs=rngs, **kinds)
        self.down_proj = Linear(f, d, axes=("mlp", "embed"), use_bias=bias, rngs=rngs, **kinds)

    def __call__(self, x: Float[Array, "b t d"], keys) -> Float[Array, "b t d"]:
        return self.down_proj(jax.nn.silu(self.gate_proj(x, keys[0])) * self.up_proj(x, keys[1]), keys[2])


class LlamaLayers(nnx.Module):
    """All layers of a model, their parameters stacked on axis 0."""

    def __init__(self, config: LlamaConfig, *, rngs: nnx.Rngs, **kinds):
        kinds["layers"] = config.num_layers
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps, rngs=rngs, **kinds)
        self.attention = LlamaAttention(config, rngs=rngs, **kinds)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps, rngs=rngs, **kinds)
        self.mlp = LlamaMLP(config, rngs=rngs, **kinds)


class Llama(CausalLM):
    """A network of the LLaMA family: see `CausalLM` for the calls."""

    layers_class = LlamaLayers

    def rotary_tables(self, positions: Int[Array, "b t"]):
        c = self.config
        return rotary_tables(positions, *inverse_frequencies(c.head_dim, c.rope_theta, c.rope_scaling), self.dtype)
