"""What the language models take and give besides token ids: key/value cache, outputs, padding and positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.errors import UserError


@partial(jax.tree_util.register_dataclass, data_fields=("k", "v", "valid", "index"), meta_fields=())
@dataclass(frozen=True)
class KVCache:
    """Keys and values of every layer, in a fixed number of slots.

    All rows of a batch write to the same slot, so that a step is one in-place update; rows of unequal length leave
    slots that are marked invalid instead. Where `index` has a number for each row, every row writes behind its own tokens, and
    leaves none. k: (layers, b, kv_heads, head_dim, slots), v: (layers, b, kv_heads, slots, head_dim),
    so that neither product of attention turns them; or `separate`: a tuple of the layers' arrays. valid: (b, slots); index: next
    slot to be written.
    """

    k: Float[Array, "l b k h s"] | tuple[Float[Array, "b k h s"], ...]
    v: Float[Array, "l b k s h"] | tuple[Float[Array, "b k s h"], ...]
    valid: Bool[Array, "b s"]
    index: Int[Array, ""] | Int[Array, " b"]

    @classmethod
    def empty(cls, layers: int, batch: int, slots: int, kv_heads: int, head_dim: int, dtype) -> KVCache:
        return cls(
            jnp.zeros((layers, batch, kv_heads, head_dim, slots), dtype),
            jnp.zeros((layers, batch, kv_heads, slots, head_dim), dtype),
            jnp.zeros((batch, slots), bool),
            jnp.zeros((), jnp.int32),
        )

    @property
    def slots(self) -> int:
        return self.valid.shape[1]

    @property
    def by_row(self) -> bool:
        """Whether every row has a next slot of its own."""
        return self.index.ndim == 1

    def separate(self) -> KVCache:
        """The same cache with one array per layer. Layers are then chosen by Python integers.

        With a single row, the axis of the rows is left out: with an axis of size 1, XLA for CPUs writes a token once for
        attention and once for the next step, and copies the cache for each.
        """
        single = self.valid.shape[0] == 1
        k, v = (tuple(each[0] if single else each for each in part) for part in (self.k, self.v))
        return replace(self, k=k, v=v)

    def write(self, layer: int | Int[Array, ""], k: Float[Array, "b t k h"], v: Float[Array, "b t k h"]) -> KVCache:
        """The cache with keys and values of further tokens in the next slots of one layer; `index` and `valid` stay.

        Of several rows with slots of their own, what lies behind the last slot is not written. Else there must be room for all:
        it is one update in place, and no scatter.
        """
        if self.by_row and k.shape[0] > 1:
            return self._write_by_row(layer, k, v)
        index = self.index[0] if self.by_row else self.index

        def put(store, new, slots: int):
            """`slots`: the axis of the slots, from behind."""
            if isinstance(store, tuple):
                own = store[layer]
                new = new.astype(own.dtype).reshape(*own.shape[:-2], *new.shape[-2:])
                own = jax.lax.dynamic_update_slice_in_dim(own, new, index, axis=own.ndim + slots)
                return (*store[:layer], own, *store[layer + 1 :])
            start: list[Any] = [jnp.zeros((), jnp.int32)] * store.ndim
            start[0], start[slots] = layer, index
            return jax.lax.dynamic_update_slice(store, new[None].astype(store.dtype), tuple(start))

        return replace(self, k=put(self.k, k.transpose(0, 2, 3, 1), -1), v=put(self.v, v.transpose(0, 2, 1, 3), -2))

    def _write_by_row(self, layer, k: Float[Array, "b t k h"], v: Float[Array, "b t k h"]) -> KVCache:
        rows, slots, all_of = jnp.arange(k.shape[0])[:, None], self.index[:, None] + jnp.arange(k.shape[1]), slice(None)

        def put(store, new, where):
            if isinstance(store, tuple):
                own = store[layer]
                return (*store[:layer], own.at[where].set(new.astype(own.dtype)), *store[layer + 1 :])
            return store.at[(layer, *where)].set(new.astype(store.dtype))

        return replace(self, k=put(self.k, k, (rows, all_of, all_of, slots)), v=put(self.v, v, (rows, all_of, slots)))

    def forget(self, count: Int[Array, " b"]) -> KVCache:
        """Hides the latest `count` slots of each row from what comes after."""
        kept = jnp.arange(self.slots)[None] < (self.index - count)[:, None]
        return replace(self, valid=self.valid & kept)

    def layer(self, layer: int | Int[Array, ""]) -> tuple[Float[Array, "*b k h s"], Float[Array, "*b k s h"]]:
        """Keys and values of one layer, for `nn.attention.cached_attention`."""
        if isinstance(self.k, tuple):
            return self.k[layer], self.v[layer]
        return tuple(jax.lax.dynamic_index_in_dim(store, layer, keepdims=False) for store in (self.k, self.v))


@partial(jax.tree_util.register_dataclass, data_fields=("places", "tokens"), meta_fields=())
@dataclass(frozen=True)
class Packing:
    """Few real tokens of a batch (b, t) without what lies between them, as one row (1, n).

    places: where each token of the batch lies in that row; of one that is not real, any place. tokens: the number of each of its
    tokens in the batch, row by row; behind the real ones, any.
    """

    places: Int[Array, "b t"]
    tokens: Int[Array, " n"]

    @classmethod
    def of(cls, real: Bool[Array, "b t"], size: int) -> Packing:
        """For the `real` tokens, which are at most `size`."""
        flat = real.reshape(-1)
        places = jnp.maximum(jnp.cumsum(flat, dtype=jnp.int32) - 1, 0).reshape(real.shape)
        return cls(places, jnp.nonzero(flat, size=size, fill_value=0)[0])

    def pack(self, x: Array) -> Array:
        """(b, t, …) → (1, n, …)."""
        return x.reshape(-1, *x.shape[2:])[self.tokens][None]

    def unpack(self, x: Array) -> Array:
        """(1, n, …) → (b, t, …)."""
        return x[0][self.places]


@partial(jax.tree_util.register_dataclass, data_fields=("hidden", "all_hidden", "cache"), meta_fields=())
@dataclass(frozen=True)
class LMOutput:
    """hidden: (b, t, d) after the final norm. all_hidden: (layers + 1, b, t, d) when asked for. cache: a `KVCache`, or
    a `T5Cache`, when one is in use.
    """

    hidden: Float[Array, "b t d"]
    all_hidden: Float[Array, "l b t d"] | None = None
    cache: Any = None


def positions_in_segments(segment_ids: Int[Array, "b t"]) -> Int[Array, "b t"]:
    """0, 1, 2 … within every run of equal ids."""
    index = jnp.arange(segment_ids.shape[1])[None, :]
    starts = jnp.concatenate(
        [jnp.ones_like(segment_ids[:, :1], bool), segment_ids[:, 1:] != segment_ids[:, :-1]], axis=1
    )
    return index - jax.lax.cummax(jnp.where(starts, index, 0), axis=1)


def valid_and_positions(
    batch: int,
    steps: int,
    lengths: Int[Array, " b"] | None,
    mask: Bool[Array, "b t"] | None,
    segment_ids: Int[Array, "b t"] | None,
    positions: Int[Array, "b t"] | None,
) -> tuple[Bool[Array, "b t"] | None, Int[Array, "b t"]]:
    """Which tokens are real (None = all) and where they stand.

    Without explicit `positions`: counted within segments, over the valid tokens of `mask` (padding before the first
    stands at 0), or 0..t-1. Raises UserError when both `lengths` and `mask` are given.
    """
    if lengths is not None and mask is not None:
        raise UserError("both lengths and mask were given; give lengths for right padding or mask for any padding")
    valid = mask
    if lengths is not None:
        valid = jnp.arange(steps)[None, :] < lengths[:, None]
    if positions is None:
        if segment_ids is not None:
            positions = positions_in_segments(segment_ids)
        elif mask is not None:
            positions = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
        else:
            positions = jnp.broadcast_to(jnp.arange(steps)[None, :], (batch, steps))
    return valid, positions
