"""The LLaMA family in Flax NNX: LLaMA 2 and 3, Vicuna, Mistral, SmolLM2, Qwen2.5, Qwen3.

Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023); the variants differ by `LlamaConfig`
only. Axis letters: b batch, t tokens, s cache slots, d hidden, n heads, k key/value heads, h head width, l layers, v
vocabulary.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.core.llama_config import LlamaConfig
from empatheia_jax.core.outputs import KVCache, LMOutput, valid_and_positions
from empatheia_jax.nn.attention import attention
from empatheia_jax.nn.linear import Embedding, Linear, RMSNorm, head_product
from empatheia_jax.nn.rotary import inverse_frequencies, rotary_tables, rotate_halves
from empatheia_jax.nn.stack import run_layers, unstack

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
        self.q_norm = self.k_norm = None
        if config.qk_norm:
            self.q_norm = RMSNorm(h, config.rms_norm_eps, axis="head_dim", rngs=rngs, **kinds)
            self.k_norm = RMSNorm(h, config.rms_norm_eps, axis="head_dim", rngs=rngs, **kinds)

    def project(self, x: Float[Array, "b t d"], tables, keys):
        """Queries (b, t, n, h), keys and values (b, t, k, h); queries and keys are rotated."""
        c = self.config
        b, t, _ = x.shape
        q = self.q_proj(x, keys[0]).reshape(b, t, c.num_heads, c.head_dim)
        k = self.k_proj(x, keys[1]).reshape(b, t, c.num_kv_heads, c.head_dim)
        v = self.v_proj(x, keys[2]).reshape(b, t, c.num_kv_heads, c.head_dim)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return rotate_halves(q, *tables), rotate_halves(k, *tables), v


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


class Llama(nnx.Module):
    """A decoder-only language model. `model(model.embed(ids)).hidden` → `model.logits(hidden)`.

    remat: what is recomputed in the backward pass (`nn.stack.REMAT_POLICIES`). scan: layers as one compiled body
    (default) or as a Python loop. implementation: of attention, see `nn.attention`.
    """

    def __init__(
        self,
        config: LlamaConfig,
        *,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
        remat: str = "nothing",
        scan: bool = True,
        implementation: str | None = None,
    ):
        kinds = {"dtype": dtype, "param_dtype": param_dtype}
        self.config, self.dtype = config, dtype
        self.remat, self.scan, self.implementation = remat, scan, implementation
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, rngs=rngs, **kinds)
        self.layers = LlamaLayers(config, rngs=rngs, **kinds)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, rngs=rngs, **kinds)
        if config.tie_word_embeddings:
            self.lm_head = None
        else:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, axes=("embed", "vocab"), rngs=rngs, **kinds)

    def embed(self, ids: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        return self.embed_tokens(ids)

    def logits(self, hidden: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
        """Scores of the base vocabulary, in float32 or better. `hidden` is after the final norm."""
        if self.lm_head is None:
            return self.embed_tokens.attend(hidden)
        return head_product(hidden.astype(self.dtype), self.lm_head.kernel[...])

    def empty_cache(self, batch: int, slots: int) -> KVCache:
        c = self.config
        return KVCache.empty(c.num_layers, batch, slots, c.num_kv_heads, c.head_dim, self.dtype)

    def prefill(self, embeds: Float[Array, "b t d"], lengths: Int[Array, " b"], slots: int):
        """Reads right-padded prompts: hidden state of each last token (b, d), the cache, the next token's position
        (b,).
        """
        out = self(embeds, lengths=lengths, cache_slots=slots)
        return out.hidden[jnp.arange(embeds.shape[0]), lengths - 1], out.cache, lengths

    def decoder_weights(self) -> list:
        """Weights per layer for `weights`, see `nn.stack.unstack`."""
        return unstack(self.layers, self.config.num_layers)

    def __call__(
        self,
        embeds: Float[Array, "b t d"],
        *,
        lengths: Int[Array, " b"] | None = None,
        mask: Bool[Array, "b t"] | None = None,
        segment_ids: Int[Array, "b t"] | None = None,
        positions: Int[Array, "b t"] | None = None,
        cache: KVCache | None = None,
        cache_slots: int | None = None,
        all_hidden: bool = False,
        rng: jax.Array | None = None,
        weights: list | None = None,
    ) -> LMOutput:
        """Hidden states of a batch of embedded tokens.

        lengths: valid tokens per row (right padding). mask: valid tokens (any padding). segment_ids: packed
        sequences, which do not see each other. positions: rotary positions; by default counted over the valid tokens,
        or within segments.
        cache_slots: also return a cache of that many slots, filled with these tokens. cache: the tokens continue a
        cache; `positions` is then needed, and tokens that are not valid are hidden from later ones.
        rng: switches adapter dropout on. weights: separate weights per layer, see `nn.stack.unstack`.
        all_hidden: also return (layers + 1, b, t, d): the embeddings, then every layer's output, the last one
        normalised.
        """
        b, t, _ = embeds.shape
        valid, positions = valid_and_positions(b, t, lengths, mask, segment_ids, positions)
        c = self.config
        tables = rotary_tables(positions, *inverse_frequencies(c.head_dim, c.rope_theta, c.rope_scaling), self.dtype)
        x = embeds.astype(self.dtype)
        if cache is not None:
            return self._continue(x, tables, valid, cache, all_hidden, weights)
        restrictions = {"causal": True, "segment_ids": segment_ids, "window": c.sliding_window}
        if lengths is not None:
            restrictions["lengths"] = lengths
        elif mask is not None:
            restrictions["mask"] = jnp.broadcast_to(mask[:, None, :], (b, t, t))

        def body(layer: LlamaLayers, index, x, _):
            keys = [None] * 7 if rng is None else list(jax.random.split(jax.random.fold_in(rng, index), 7))
            q, k, v = layer.attention.project(layer.attention_norm(x), tables, keys)
            mixed = attention(q, k, v, implementation=self.implementation, **restrictions)
            x = x + layer.attention.o_proj(mixed.reshape(b, t, -1), keys[3])
            x = x + layer.mlp(layer.mlp_norm(x), keys[4:])
            return x, (x if all_hidden else None, (k, v) if cache_slots else None)

        last, (hiddens, filled) = run_layers(
            self.layers, c.num_layers, body, x, remat=self.remat, scan=self.scan, weights=weights
        )
        new_cache = self._filled_cache(filled, valid, b, t, cache_slots) if cache_slots else None
        return self._output(x, last, hiddens if all_hidden else None, new_cache)

    def _output(self, x, last, hiddens, cache) -> LMOutput:
        hidden = self.norm(last)
        if hiddens is not None:
            hiddens = jnp.concatenate([x[None], hiddens[:-1], hidden[None]])
        return LMOutput(hidden, hiddens, cache)

    def _filled_cache(self, filled, valid, b: int, t: int, slots: int) -> KVCache:
        if slots < t:
            raise ValueError(f"a cache of {slots} slots cannot hold {t} tokens")
        room = ((0, 0), (0, 0), (0, slots - t), (0, 0), (0, 0))
        valid = jnp.ones((b, t), bool) if valid is None else valid
        k, v = (jnp.pad(part, room) for part in filled)
        return KVCache(k, v, jnp.pad(valid, ((0, 0), (0, slots - t))), jnp.asarray(t, jnp.int32))

    def _continue(self, x, tables, valid, cache: KVCache, all_hidden: bool, weights) -> LMOutput:
        """Tokens after those in the cache: writes their keys and values into the next slots."""
        b, t, _ = x.shape
        c = self.config
        valid = jnp.ones((b, t), bool) if valid is None else valid
        seen_later = jax.lax.dynamic_update_slice_in_dim(cache.valid, valid, cache.index, axis=1)
        slot = jnp.arange(cache.slots)
        seen = seen_later[:, None, :] & (slot[None, None, :] <= (cache.index + jnp.arange(t))[None, :, None])
        if c.sliding_window is not None:
            # slots left empty by shorter rows do not count as distance, so the distance is taken from the valid tokens
            place = jnp.cumsum(seen_later, axis=1) - 1
            own = jax.lax.dynamic_slice_in_dim(place, cache.index, t, axis=1)
            seen &= (own[:, :, None] - place[:, None, :]) < c.sliding_window

        def body(layer: LlamaLayers, index, carry, _):
            x, keys, values = carry
            q, k, v = layer.attention.project(layer.attention_norm(x), tables, [None] * 3)
            zero = jnp.zeros((), jnp.int32)
            at = (index, zero, cache.index, zero, zero)
            keys = jax.lax.dynamic_update_slice(keys, k[None].astype(keys.dtype), at)
            values = jax.lax.dynamic_update_slice(values, v[None].astype(values.dtype), at)
            own_keys = jax.lax.dynamic_index_in_dim(keys, index, keepdims=False)
            own_values = jax.lax.dynamic_index_in_dim(values, index, keepdims=False)
            mixed = attention(q, own_keys, own_values, mask=seen)
            x = x + layer.attention.o_proj(mixed.reshape(b, t, -1))
            x = x + layer.mlp(layer.mlp_norm(x), [None] * 3)
            return (x, keys, values), x if all_hidden else None

        (last, keys, values), hiddens = run_layers(
            self.layers, c.num_layers, body, (x, cache.k, cache.v), scan=self.scan, weights=weights
        )
        new_cache = KVCache(keys, values, seen_later, cache.index + t)
        return self._output(x, last, hiddens if all_hidden else None, new_cache)
