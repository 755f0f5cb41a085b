"""What decoder-only language models have in common: embedding, layers, head, padding, cache.

Axis letters: b batch, t tokens, s cache slots, d hidden, n heads, k key/value heads, h head width, l layers, v
vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.outputs import KVCache, LMOutput, Packing, valid_and_positions
from empatheia_jax.nn.attention import attention, cached_attention
from empatheia_jax.nn.linear import Embedding, Linear, RMSNorm
from empatheia_jax.nn.stack import run_layers, unstack


class CausalLM(LanguageModel):
    """A decoder-only language model. `model(model.embed(ids)).hidden` → `model.logits(hidden)`.

    remat: what is recomputed in the backward pass (`nn.stack.REMAT_POLICIES`). scan: layers as one compiled body
    (default) or as a Python loop. implementation: of attention, see `nn.attention`.

    A subclass gives `layers_class` (its modules: `attention_norm`, `attention` with `project` and `output`,
    `mlp_norm`, `mlp`) and `rotary_tables`; its config has `vocab_size, hidden_size, num_layers, num_kv_heads,
    head_dim, rms_norm_eps`.
    """

    layers_class: ClassVar[Callable[..., nnx.Module]]
    normalises_last_hidden: ClassVar[bool] = True

    def __init__(
        self,
        config: Any,
        *,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
        remat: str = "nothing",
        scan: bool = True,
        implementation: str | None = None,
    ):
        kinds: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype}
        self.config, self.dtype = config, dtype
        self.remat, self.scan, self.implementation = remat, scan, implementation
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, rngs=rngs, **kinds)
        self.layers = self.layers_class(config, rngs=rngs, **kinds)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, rngs=rngs, **kinds)
        if self.tied:
            self.lm_head = None
        else:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, axes=("embed", "vocab"), rngs=rngs, **kinds)

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding table."""
        return getattr(self.config, "tie_word_embeddings", False)

    @property
    def window(self) -> int | None:
        """How far back a query sees, None for everything."""
        return getattr(self.config, "sliding_window", None)

    def rotary_tables(self, positions: Int[Array, "b t"]):
        """Cosines and sines for `attention.project`."""
        raise NotImplementedError(f"{type(self).__name__} must say how positions rotate")

    def teacher_forced(
        self,
        embeds: Float[Array, "b t d"],
        answers: Bool[Array, "b t"],
        *,
        lengths: Int[Array, " b"] | None = None,
        segment_ids: Int[Array, "b t"] | None = None,
        positions: Int[Array, "b t"] | None = None,
        rng: jax.Array | None = None,
    ) -> Float[Array, "b t d"]:
        """Final-norm states of prompts with their answers behind them: the state at a token predicts the next one.

        answers: True at the answers' tokens. This network reads prompt and answer alike and does not need to know.
        The other arguments are those of a call.
        """
        return self(embeds, lengths=lengths, segment_ids=segment_ids, positions=positions, rng=rng).hidden

    def prefill(self, embeds: Float[Array, "b t d"], lengths: Int[Array, " b"], room: int):
        """Reads right-padded prompts: hidden state of each last token (b, d), a cache with room for as many further
        tokens, the next token's position (b,).
        """
        out = self(embeds, lengths=lengths, cache_slots=embeds.shape[1] + room)
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
        packed: int | None = None,
    ) -> LMOutput:
        """Hidden states of a batch of embedded tokens.

        lengths: valid tokens per row (right padding). mask: valid tokens (any padding). segment_ids: packed
        sequences, which do not see each other. positions: rotary positions; by default counted over the valid tokens,
        or within segments.
        cache_slots: also return a cache of that many slots, filled with these tokens. cache: the tokens continue a
        cache; `positions` is then needed, and tokens that are not valid are hidden from later ones. Where each row of the
        cache has a slot of its own, a row's valid tokens come first, and what comes out behind them says nothing.
        packed: at most so many tokens of `mask` are valid; in a cache's continuation all but attention is computed for as many.
        Not with `all_hidden`.
        rng: switches adapter dropout on. weights: separate weights per layer, see `nn.stack.unstack`.
        all_hidden: also return (layers + 1, b, t, d): the embeddings, then every layer's output, the last one
        normalised.
        """
        b, t, _ = embeds.shape
        valid, positions = valid_and_positions(b, t, lengths, mask, segment_ids, positions)
        c = self.config
        x = embeds.astype(self.dtype)
        if cache is not None:
            packing = None if packed is None or valid is None else Packing.of(valid, packed)
            return self._continue(x, positions, valid, cache, all_hidden, weights, packing)
        tables = self.rotary_tables(positions)
        restrictions = {"causal": True, "segment_ids": segment_ids, "window": self.window}
        if lengths is not None:
            restrictions["lengths"] = lengths
        elif mask is not None:
            restrictions["mask"] = jnp.broadcast_to(mask[:, None, :], (b, t, t))

        def body(layer, index, x, _):
            keys = [None] * 7 if rng is None else list(jax.random.split(jax.random.fold_in(rng, index), 7))
            q, k, v = layer.attention.project(layer.attention_norm(x), tables, keys)
            mixed = attention(q, k, v, implementation=self.implementation, **restrictions)
            x = x + layer.attention.output(mixed.reshape(b, t, -1), keys[3])
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
            final = hidden if self.normalises_last_hidden else last
            hiddens = jnp.concatenate([x[None], hiddens[:-1], final[None]])
        return LMOutput(hidden, hiddens, cache)

    def _filled_cache(self, filled, valid, b: int, t: int, slots: int) -> KVCache:
        if slots < t:
            raise ValueError(f"a cache of {slots} slots cannot hold {t} tokens")
        none, room = (0, 0), (0, slots - t)
        valid = jnp.ones((b, t), bool) if valid is None else valid
        k = jnp.pad(filled[0].transpose(0, 1, 3, 4, 2), (none, none, none, none, room))
        v = jnp.pad(filled[1].transpose(0, 1, 3, 2, 4), (none, none, none, room, none))
        return KVCache(k, v, jnp.pad(valid, (none, room)), jnp.asarray(t, jnp.int32))

    def _continue(self, x, positions, valid, cache: KVCache, all_hidden: bool, weights, packing) -> LMOutput:
        """Tokens after those in the cache: writes their keys and values into the next slots."""
        b, t, _ = x.shape
        c = self.config
        valid = jnp.ones((b, t), bool) if valid is None else valid
        if packing is not None:
            x, positions = packing.pack(x), packing.pack(positions)
        tables = self.rotary_tables(positions)
        seen, seen_later, following = self._seen(cache, valid)

        def body(layer, index, carry, _):
            x, cache = carry
            q, k, v = layer.attention.project(layer.attention_norm(x), tables, [None] * 3)
            if packing is not None:
                q, k, v = packing.unpack(q), packing.unpack(k), packing.unpack(v)
            cache = cache.write(index, k, v)
            mixed = cached_attention(q, *cache.layer(index), mask=seen).reshape(b, t, -1)
            if packing is not None:
                mixed = packing.pack(mixed)
            x = x + layer.attention.output(mixed, None)
            x = x + layer.mlp(layer.mlp_norm(x), [None] * 3)
            return (x, cache), x if all_hidden else None

        (last, filled), hiddens = run_layers(
            self.layers, c.num_layers, body, (x, cache), scan=self.scan, weights=weights
        )
        out = self._output(x, last, hiddens if all_hidden else None, KVCache(filled.k, filled.v, seen_later, following))
        return out if packing is None else replace(out, hidden=packing.unpack(out.hidden))

    def _seen(self, cache: KVCache, valid: Bool[Array, "b t"]):
        """(which slots each further token sees (b, t, s), which slots are valid behind these tokens, the next slot)."""
        t, slot = valid.shape[1], jnp.arange(cache.slots)
        if cache.by_row:
            own = (cache.index[:, None] + jnp.arange(t))[:, :, None]
            seen = slot <= own
            if self.window is not None:
                seen &= own - slot < self.window
            following = cache.index + valid.sum(axis=1, dtype=jnp.int32)
            return seen, slot < following[:, None], following
        later = jax.lax.dynamic_update_slice_in_dim(cache.valid, valid, cache.index, axis=1)
        seen = later[:, None, :] & (slot[None, None, :] <= (cache.index + jnp.arange(t))[None, :, None])
        if self.window is not None:
            # slots left empty by shorter rows do not count as distance, so the distance is taken from the valid tokens
            place = jnp.cumsum(later, axis=1) - 1
            own = jax.lax.dynamic_slice_in_dim(place, cache.index, t, axis=1)
            seen &= (own[:, :, None] - place[:, None, :]) < self.window
        return seen, later, cache.index + t
