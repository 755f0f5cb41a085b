"""T5 v1.1 in Flax NNX (Raffel et al. 2020; Shazeer, "GLU Variants", 2020): the architecture of Flan-T5.

An encoder reads the prompt, a decoder writes the answer. No 1/sqrt(h) in the scores, positions as a learned bias by
bucketed distance (one table per stack, shared by its layers), RMS norms, gated GELU, a head of its own.
Axis letters: b batch, s encoder tokens, t decoder tokens, d hidden, n heads, h head width, l layers, v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.outputs import KVCache, LMOutput, valid_and_positions
from empatheia_jax.core.t5_config import T5Config
from empatheia_jax.nn.attention import attention, cached_attention
from empatheia_jax.nn.linear import Embedding, Linear, RMSNorm
from empatheia_jax.nn.parameters import parameter
from empatheia_jax.nn.stack import run_layers, unstack

__all__ = ["T5", "T5Cache", "T5Config"]


def relative_buckets(distance: Int[Array, "*n"], buckets: int, longest: int, both_ways: bool) -> Int[Array, "*n"]:
    """Bucket of a distance (key position − query position): exact when short, logarithmic up to `longest`, one beyond.

    both_ways: keys after the query have buckets of their own (encoder); otherwise they all fall into bucket 0
    (decoder).
    """
    base = jnp.zeros_like(distance)
    if both_ways:
        buckets //= 2
        base = jnp.where(distance > 0, buckets, 0)
        distance = jnp.abs(distance)
    else:
        distance = jnp.maximum(-distance, 0)
    exact = buckets // 2
    # in float32 whatever the model computes in: the reference does so, and the borders between buckets are its rounding
    ratio = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact) / jnp.log(jnp.float32(longest / exact))
    far = jnp.minimum(exact + (ratio * (buckets - exact)).astype(distance.dtype), buckets - 1)
    return base + jnp.where(distance < exact, distance, far)


class T5Attention(nnx.Module):
    """Attention without score scaling; queries from one sequence, keys and values from the same or another."""

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs, **kinds):
        d, inner = config.hidden_size, config.num_heads * config.head_dim
        self.config = config
        self.q = Linear(d, inner, axes=("embed", "heads"), rngs=rngs, **kinds)
        self.k = Linear(d, inner, axes=("embed", "kv_heads"), rngs=rngs, **kinds)
        self.v = Linear(d, inner, axes=("embed", "kv_heads"), rngs=rngs, **kinds)
        self.o = Linear(inner, d, axes=("heads", "embed"), rngs=rngs, **kinds)

    def _heads(self, x: Float[Array, "b t m"]) -> Float[Array, "b t n h"]:
        return x.reshape(*x.shape[:2], self.config.num_heads, self.config.head_dim)

    def queries(self, x, key):
        return self._heads(self.q(x, key))

    def keys_values(self, x, keys):
        return self._heads(self.k(x, keys[0])), self._heads(self.v(x, keys[1]))

    def output(self, mixed: Float[Array, "b t n h"], key) -> Float[Array, "b t d"]:
        return self.o(mixed.reshape(*mixed.shape[:2], -1), key)


class T5MLP(nnx.Module):
    """`wo(gelu(wi_0(x)) * wi_1(x))` with the tanh form of GELU."""

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs, **kinds):
        d, f = config.hidden_size, config.intermediate_size
        self.wi_0 = Linear(d, f, axes=("embed", "mlp"), rngs=rngs, **kinds)
        self.wi_1 = Linear(d, f, axes=("embed", "mlp"), rngs=rngs, **kinds)
        self.wo = Linear(f, d, axes=("mlp", "embed"), rngs=rngs, **kinds)

    def __call__(self, x: Float[Array, "b t d"], keys) -> Float[Array, "b t d"]:
        return self.wo(jax.nn.gelu(self.wi_0(x, keys[0]), approximate=True) * self.wi_1(x, keys[1]), keys[2])


class T5Layers(nnx.Module):
    """All layers of the encoder, their parameters stacked on axis 0."""

    def __init__(self, config: T5Config, layers: int, *, rngs: nnx.Rngs, **kinds):
        kinds["layers"] = layers
        norm = partial(RMSNorm, config.hidden_size, config.rms_norm_eps, rngs=rngs, **kinds)
        self.attention_norm, self.attention = norm(), T5Attention(config, rngs=rngs, **kinds)
        self.mlp_norm, self.mlp = norm(), T5MLP(config, rngs=rngs, **kinds)


class T5DecoderLayers(T5Layers):
    """All layers of the decoder: as the encoder's, and they attend to the encoder's output."""

    def __init__(self, config: T5Config, layers: int, *, rngs: nnx.Rngs, **kinds):
        super().__init__(config, layers, rngs=rngs, **kinds)
        kinds["layers"] = layers
        self.cross_norm = RMSNorm(config.hidden_size, config.rms_norm_eps, rngs=rngs, **kinds)
        self.cross = T5Attention(config, rngs=rngs, **kinds)


class T5Stack(nnx.Module):
    """Encoder or decoder: layers, the table of position biases, the final norm."""

    def __init__(self, config: T5Config, layers: int, decoder: bool, *, rngs: nnx.Rngs, **kinds):
        self.config, self.decoder, self.count = config, decoder, layers
        self.layers = (T5DecoderLayers if decoder else T5Layers)(config, layers, rngs=rngs, **kinds)
        table = (config.relative_buckets, config.num_heads)
        init = jax.nn.initializers.normal(0.02)
        self.relative_attention_bias = parameter(rngs, init, table, kinds["param_dtype"], (None, "heads"))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, rngs=rngs, **kinds)

    def position_bias(self, queries: Int[Array, "b t"], keys: Int[Array, "b s"]) -> Float[Array, "b n t s"]:
        """Bias on the scores of every layer, from the positions of queries and keys."""
        c = self.config
        distance = keys[:, None, :] - queries[:, :, None]
        buckets = relative_buckets(distance, c.relative_buckets, c.relative_longest, not self.decoder)
        return jnp.moveaxis(self.relative_attention_bias[...][buckets], -1, 1)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("own", "places", "cross_k", "cross_v", "encoder_valid"),
    meta_fields=(),
)
@dataclass(frozen=True)
class T5Cache:
    """What a decoder keeps: its own keys and values, where they stand, and those of the encoder's output, made once.

    places: (b, slots) positions of the cached tokens. cross_k: (layers, b, n, h, s), cross_v: (layers, b, n, s, h), as those of a
    `KVCache`. encoder_valid: (b, s).
    """

    own: KVCache
    places: Int[Array, "b slots"]
    cross_k: Float[Array, "l b n h s"]
    cross_v: Float[Array, "l b n s h"]
    encoder_valid: Bool[Array, "b s"]

    def separate(self) -> T5Cache:
        """`KVCache.separate` for the decoder's own cache. Those of the encoder do not change and are sliced once anyway."""
        return replace(self, own=self.own.separate())

    def forget(self, count: Int[Array, " b"]) -> T5Cache:
        """`KVCache.forget` for the decoder's own cache."""
        return replace(self, own=self.own.forget(count))


class T5(LanguageModel):
    """An encoder-decoder language model, under the calls of `CausalLM` where they make sense.

    The prompt goes to the encoder, the answer to the decoder: `model(prompt, lengths=…,
    decoder_embeds=answer).hidden` are the decoder's final-norm states; `teacher_forced` takes both in one row.
    `prefill` and `model(embeds, cache=…)` serve `core.decoding`.
    """

    def __init__(
        self,
        config: T5Config,
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
        self.encoder = T5Stack(config, config.num_layers, False, rngs=rngs, **kinds)
        self.decoder = T5Stack(config, config.num_decoder_layers, True, rngs=rngs, **kinds)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, axes=("embed", "vocab"), rngs=rngs, **kinds)

    def encode(
        self,
        embeds: Float[Array, "b s d"],
        *,
        lengths: Int[Array, " b"] | None = None,
        mask: Bool[Array, "b s"] | None = None,
        segment_ids: Int[Array, "b s"] | None = None,
        all_hidden: bool = False,
        rng: jax.Array | None = None,
    ) -> LMOutput:
        """The encoder's final-norm states; arguments as in `CausalLM`. `all_hidden` ends with them."""
        b, s, _ = embeds.shape
        valid, _ = valid_and_positions(b, s, lengths, mask, segment_ids, None)
        index = jnp.arange(s)[None]
        bias = self.encoder.position_bias(index, index)
        seen = None if valid is None else jnp.broadcast_to(valid[:, None, :], (b, s, s))

        def body(layer: T5Layers, index, x, _):
            keys = _keys(rng, index)
            normed = layer.attention_norm(x)
            q, (k, v) = layer.attention.queries(normed, keys[0]), layer.attention.keys_values(normed, keys[1:3])
            mixed = self._attend(q, k, v, bias, mask=seen, segment_ids=segment_ids)
            x = x + layer.attention.output(mixed, keys[3])
            x = x + layer.mlp(layer.mlp_norm(x), keys[4:7])
            return x, x if all_hidden else None

        x = embeds.astype(self.dtype)
        last, hiddens = run_layers(self.encoder.layers, self.encoder.count, body, x, remat=self.remat, scan=self.scan)
        return _output(self.encoder, x, last, hiddens)

    def __call__(
        self,
        embeds: Float[Array, "b s d"],
        *,
        lengths: Int[Array, " b"] | None = None,
        mask: Bool[Array, "b s"] | None = None,
        segment_ids: Int[Array, "b s"] | None = None,
        positions: Int[Array, "b t"] | None = None,
        decoder_embeds: Float[Array, "b t d"] | None = None,
        decoder_mask: Bool[Array, "b t"] | None = None,
        decoder_segment_ids: Int[Array, "b t"] | None = None,
        cache: T5Cache | None = None,
        all_hidden: bool = False,
        rng: jax.Array | None = None,
        weights: list | None = None,
    ) -> LMOutput:
        """Decoder states.

        Without a cache, `embeds` (with `lengths`, `mask`, `segment_ids`) go to the encoder and `decoder_embeds`,
        which begin with the start token, to the decoder. With a cache, `embeds` (with `mask` and `positions`) are the
        decoder's next tokens. Packed: each decoder segment sees the encoder segment of the same id. `all_hidden` is
        the decoder's.
        """
        if cache is not None:
            return self._continue(embeds, positions, mask, cache, all_hidden, weights)
        if decoder_embeds is None:
            raise ValueError("an encoder-decoder needs decoder_embeds besides the prompt's embeddings")
        encoder_rng, decoder_rng = (None, None) if rng is None else jax.random.split(rng)
        encoded = self.encode(embeds, lengths=lengths, mask=mask, segment_ids=segment_ids, rng=encoder_rng).hidden
        b, t, _ = decoder_embeds.shape
        s = encoded.shape[1]
        encoder_valid, _ = valid_and_positions(b, s, lengths, mask, segment_ids, None)
        index = jnp.arange(t)[None]
        bias = self.decoder.position_bias(index, index)
        own_seen = None if decoder_mask is None else jnp.broadcast_to(decoder_mask[:, None, :], (b, t, t))
        cross_seen = None if encoder_valid is None else jnp.broadcast_to(encoder_valid[:, None, :], (b, t, s))
        if (segment_ids is None) != (decoder_segment_ids is None):
            raise ValueError("packed sequences need segment_ids of the encoder and of the decoder")
        across = None if segment_ids is None else (decoder_segment_ids, segment_ids)

        def body(layer: T5DecoderLayers, index, x, _):
            keys = _keys(decoder_rng, index)
            normed = layer.attention_norm(x)
            q, (k, v) = layer.attention.queries(normed, keys[0]), layer.attention.keys_values(normed, keys[1:3])
            mixed = self._attend(q, k, v, bias, mask=own_seen, segment_ids=decoder_segment_ids, causal=True)
            x = x + layer.attention.output(mixed, keys[3])
            k, v = layer.cross.keys_values(encoded, keys[7:9])
            q = layer.cross.queries(layer.cross_norm(x), keys[9])
            mixed = self._attend(q, k, v, None, mask=cross_seen, segment_ids=across)
            x = x + layer.cross.output(mixed, keys[10])
            x = x + layer.mlp(layer.mlp_norm(x), keys[4:7])
            return x, x if all_hidden else None

        x = decoder_embeds.astype(self.dtype)
        last, hiddens = run_layers(self.decoder.layers, self.decoder.count, body, x, remat=self.remat, scan=self.scan)
        return _output(self.decoder, x, last, hiddens)

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
        """`CausalLM.teacher_forced` for the same rows: prompts, each followed by its answer.

        Both stacks see whole rows, where each leaves out the other's tokens: distances between positions are all that
        they know of places, so nothing has to move. The start token stands in the decoder where the prompt's last
        token stands in the encoder; its state predicts the answer's first token.
        """
        b, t, _ = embeds.shape
        valid, _ = valid_and_positions(b, t, lengths, None, segment_ids, positions)
        real = jnp.ones((b, t), bool) if valid is None else valid
        first = answers & ~jnp.pad(answers, ((0, 0), (1, 0)))[:, :-1]
        starts = jnp.pad(first, ((0, 0), (0, 1)))[:, 1:]
        start = self.embed(jnp.full((1, 1), self.config.decoder_start_token_id))
        return self(
            embeds,
            mask=real & ~answers,
            segment_ids=segment_ids,
            decoder_embeds=jnp.where(starts[..., None], start, embeds),
            decoder_mask=real & (answers | starts),
            decoder_segment_ids=segment_ids,
            rng=rng,
        ).hidden

    def _attend(self, q, k, v, bias, **restrictions):
        return attention(q, k, v, bias=bias, scale=1.0, implementation=self.implementation, **restrictions)

    # ------------------------------------------------------------------------------------------------ decoding

    def start(self, embeds: Float[Array, "b s d"], lengths: Int[Array, " b"], slots: int) -> T5Cache:
        """Encodes right-padded prompts into a cache whose decoder has said nothing yet."""
        c, (b, s, _) = self.config, embeds.shape
        encoded = self.encode(embeds, lengths=lengths).hidden

        def body(layer: T5DecoderLayers, index, carry, _):
            keys, values = layer.cross.keys_values(encoded, [None] * 2)
            return carry, (keys.transpose(0, 2, 3, 1), values.transpose(0, 2, 1, 3))

        _, (k, v) = run_layers(self.decoder.layers, self.decoder.count, body, jnp.zeros(()), scan=self.scan)
        own = KVCache.empty(self.decoder.count, b, slots, c.num_heads, c.head_dim, self.dtype)
        places = jnp.zeros((b, slots), jnp.int32)
        return T5Cache(own, places, k, v, jnp.arange(s)[None] < lengths[:, None])

    def prefill(self, embeds: Float[Array, "b s d"], lengths: Int[Array, " b"], room: int):
        """Encodes the prompts and reads the start token: its state (b, d), a cache with room for as many further
        tokens, the next token's position (b,).
        """
        b = embeds.shape[0]
        cache = self.start(embeds, lengths, 1 + room)
        first = self.embed(jnp.full((b, 1), self.config.decoder_start_token_id))
        out = self(first, cache=cache, positions=jnp.zeros((b, 1), jnp.int32))
        return out.hidden[:, 0], out.cache, jnp.ones(b, jnp.int32)

    def decoder_weights(self) -> list:
        """The decoder's weights per layer, see `nn.stack.unstack`."""
        return unstack(self.decoder.layers, self.decoder.count)

    def _continue(self, embeds, positions, valid, cache: T5Cache, all_hidden: bool, weights) -> LMOutput:
        b, t, _ = embeds.shape
        own, index = cache.own, cache.own.index
        valid = jnp.ones((b, t), bool) if valid is None else valid
        known = jax.lax.dynamic_update_slice_in_dim(own.valid, valid, index, axis=1)
        places = jax.lax.dynamic_update_slice_in_dim(cache.places, positions.astype(jnp.int32), index, axis=1)
        seen = known[:, None, :] & (jnp.arange(own.slots)[None, None] <= (index + jnp.arange(t))[None, :, None])
        bias = self.decoder.position_bias(positions, places)
        across = jnp.broadcast_to(cache.encoder_valid[:, None, :], (b, t, cache.encoder_valid.shape[1]))

        def body(layer: T5DecoderLayers, number, carry, cross):
            x, own = carry
            normed = layer.attention_norm(x)
            own = own.write(number, *layer.attention.keys_values(normed, [None] * 2))
            q = layer.attention.queries(normed, None)
            mixed = cached_attention(q, *own.layer(number), mask=seen, bias=bias, scale=1.0)
            x = x + layer.attention.output(mixed, None)
            q = layer.cross.queries(layer.cross_norm(x), None)
            x = x + layer.cross.output(cached_attention(q, *cross, mask=across, scale=1.0), None)
            x = x + layer.mlp(layer.mlp_norm(x), [None] * 3)
            return (x, own), x if all_hidden else None

        x = embeds.astype(self.dtype)
        (last, filled), hiddens = run_layers(
            self.decoder.layers,
            self.decoder.count,
            body,
            (x, own),
            (cache.cross_k, cache.cross_v),
            scan=self.scan,
            weights=weights,
        )
        out = _output(self.decoder, x, last, hiddens)
        cache = replace(cache, own=KVCache(filled.k, filled.v, known, index + t), places=places)
        return replace(out, cache=cache)


def _keys(rng: jax.Array | None, index) -> list:
    """Dropout keys of one layer's linear maps."""
    return [None] * 11 if rng is None else list(jax.random.split(jax.random.fold_in(rng, index), 11))


def _output(stack: T5Stack, x, last, hiddens) -> LMOutput:
    hidden = stack.norm(last)
    if hiddens is not None:
        hiddens = jnp.concatenate([x[None], hiddens[:-1], hidden[None]])
    return LMOutput(hidden, hiddens)
