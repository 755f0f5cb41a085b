"""Continuous batching: several answers are decoded together, and a row whose answer ends takes the next prompt at once.

A batch has a fixed number of rows over one fixed cache. Decoding runs in *chunks* of a few tokens; between two of them the host
reads what was written, lets rows go and fills them again. All rows write to the same slot of the cache, as in
`core.decoding`: a prompt that comes later is put right before that slot, and when the slots run out, `_compacted` moves every
row's tokens together. Every number of a row (key of the draws, temperature, …) is its own, so that what a row says depends
neither on its neighbours nor on when it came, up to the roundings of matrix products of another height.

One program is compiled per number of rows and chunk, one per length of prompts, and one for each of the rest. Which settings
requests have compiles nothing. For networks that keep a `KVCache` (`CausalLM` and its families).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.causal import CausalLM
from empatheia_jax.core.form import Form
from empatheia_jax.core.outputs import KVCache
from empatheia_jax.core.sampling import DecodingSettings, Kind, adjust
from empatheia_jax.nn.platform import separate_layers
from empatheia_jax.nn.programs import Program
from empatheia_jax.nn.stack import unstack_in_place

SMALLEST_PROMPT = 128
UNLIMITED = 2**30
SPARE = 128
"""Slots beyond what one answer needs, so that tokens are moved together seldom."""

_ROWS = (
    *("last", "position", "real", "count", "limit", "caps", "form", "seen", "history", "own"),
    *("key", "temperature", "top_k", "top_p", "penalty", "ngram"),
)


@partial(jax.tree_util.register_dataclass, data_fields=_ROWS, meta_fields=())
@dataclass(frozen=True)
class Rows:
    """What belongs to each row, besides the cache; every leaf begins with the axis of the rows (b).

    last: final-norm state that the next token is chosen from. position: of that token. real: an answer is being written.
    count, limit: tokens written, and how many may be. caps: the most tokens of each free slot of the form. form: its state.
    seen: tokens of its own that count for the penalty. history, own: its own tokens (-1 for fixed ones), and how many.
    """

    last: Float[Array, "b d"]
    position: Int[Array, " b"]
    real: Bool[Array, " b"]
    count: Int[Array, " b"]
    limit: Int[Array, " b"]
    caps: Int[Array, "b k"]
    form: dict[str, Any]
    seen: Bool[Array, "b v"]
    history: Int[Array, "b h"]
    own: Int[Array, " b"]
    key: Any
    temperature: Float[Array, " b"]
    top_k: Int[Array, " b"]
    top_p: Float[Array, " b"]
    penalty: Float[Array, " b"]
    ngram: Bool[Array, " b"]


@dataclass(frozen=True)
class Wrote:
    """What a row wrote in one chunk: tokens (n,), their slots of the form (n,), -1 for fixed words, final-norm states (n, d);
    and whether its answer is complete.
    """

    row: int
    tokens: Int[np.ndarray, " n"]
    slots: Int[np.ndarray, " n"]
    hidden: Float[np.ndarray, "n d"]
    ended: bool


def prompt_sizes(longest: int) -> tuple[int, ...]:
    """The padded lengths of prompts of at most `longest` tokens: doubling, the last one as long as needed."""
    sizes = [SMALLEST_PROMPT]
    while sizes[-1] < longest:
        sizes.append(2 * sizes[-1])
    sizes[-1] = max(-(-longest // 64) * 64, 64)
    return tuple(sizes)


class SlotDecoder:
    """Decodes up to `places` answers at once.

    Args:
      model, added: the core and the rows of the added tokens, as of `decoding.generate`.
      settings: what rows are decoded with unless `admit` says otherwise. `no_repeat_ngram` and the sets of ids are the same for
        all rows. `max_new_tokens` bounds an answer where there is no form.
      form: as of `decoding.generate`; a row may begin at any of its nodes.
      longest_prompt: tokens.
      forced: the most tokens that `probe` is given.
      places: rows. chunk: the most tokens of a chunk.
    """

    def __init__(
        self,
        model: CausalLM,
        added: AddedTokens | None,
        settings: DecodingSettings,
        *,
        form: Form | None,
        longest_prompt: int,
        forced: int,
        places: int = 8,
        chunk: int = 8,
    ):
        self.places, self.chunk, self.form, self.settings = places, chunk, form, settings
        self.prompt_sizes = prompt_sizes(longest_prompt)
        self._base = self.prompt_sizes[-1]  # where the first row begins to write: every prompt fits before it
        longest = settings.max_new_tokens if form is None else form.longest
        self._needs = chunk + forced  # slots that must be free before a chunk
        self.slots = self._base + longest + self._needs + SPARE
        self.vocab = model.config.vocab_size + (added.count if added is not None else 0)
        graph, state = nnx.split(model)
        added_graph, added_state = nnx.split(added) if added is not None else (None, None)
        self._states = (state, added_state)
        self._separate = separate_layers()
        self._place, layers = _place(state), model.config.num_layers
        self._weights = unstack_in_place(model.layers, layers, self._place) if self._separate else None
        # One answer alone has a program of its own, which does not compute the other rows; each program takes long to compile.
        self.sizes = (1, places) if places > 1 else (1,)
        banned = np.zeros(self.vocab, bool)
        banned[list(settings.banned_ids)] = True
        self._stops = jnp.asarray(settings.stop_ids, jnp.int32)
        self._banned = jnp.asarray(banned) if banned.any() else None
        graphs, kind = (graph, added_graph), replace(Kind.of(settings), draws=True, penalty=True)
        self._admit = Program(_admit, graph, donate=(1, 2))
        self._chunk = Program(_chunk, graphs, kind, chunk, static=("size",), donate=(2, 3))
        self._probe = Program(_probe, graphs)
        self._compact = Program(_compacted, donate=(0,))
        self._take_first, self._put_first = Program(_first_row), Program(_with_first_row, donate=(0,))
        self._longest_ngram = longest + chunk + 1 + kind.ngram
        self._sizes_of = model.config, model.dtype
        self._made_empty = jax.jit(self._empty, out_shardings=self._place)  # one program instead of one for every array
        self.reset()

    def reset(self) -> None:
        """Lets all rows go and makes them anew, after a step that failed in the middle."""
        self._rows, self._cache = self._made_empty()
        self._single: KVCache | None = (
            None  # the first row's part of the cache while it decodes alone, newer than `_cache`
        )
        self._index = self._base
        self._free = list(range(self.places))

    def _empty(self) -> tuple[Rows, KVCache]:
        (c, dtype), b = self._sizes_of, self.places
        k = 1 if self.form is None else self.form.limits.shape[0]

        def zeros(*shape, dtype: Any = jnp.int32) -> Array:
            return jnp.zeros((b, *shape), dtype)

        rows = Rows(
            last=zeros(c.hidden_size, dtype=dtype),
            position=zeros(),
            real=zeros(dtype=bool),
            count=zeros(),
            limit=zeros(),
            caps=zeros(k),
            form={} if self.form is None else self.form.start(b),
            seen=zeros(self.vocab, dtype=bool),
            history=zeros(self._longest_ngram) - 1,
            own=zeros(),
            key=jax.random.split(jax.random.key(0), b),
            temperature=zeros(dtype=jnp.float32),
            top_k=zeros(),
            top_p=zeros(dtype=jnp.float32),
            penalty=zeros(dtype=jnp.float32),
            ngram=zeros(dtype=bool),
        )
        cache = KVCache.empty(c.num_layers, b, self.slots, c.num_kv_heads, c.head_dim, dtype)
        cache = replace(cache, index=jnp.asarray(self._base, jnp.int32))
        # all rows keep their axis, also where there is one: prompts and chunks of other sizes find their rows by it
        return rows, replace(cache, k=tuple(cache.k), v=tuple(cache.v)) if self._separate else cache

    # ------------------------------------------------------------------------------------------------ for the host

    @property
    def free(self) -> int:
        """Rows that can be filled."""
        return len(self._free)

    @property
    def active(self) -> int:
        """Rows that hold an answer."""
        return self.places - len(self._free)

    @property
    def compilations(self) -> int:
        """Programs compiled so far."""
        own = (self._admit, self._chunk, self._probe, self._compact, self._take_first, self._put_first)
        return sum(each.compilations for each in own)

    def prompt_size(self, length: int) -> int:
        """To how many tokens a prompt is padded. Raises `ValueError` where it is too long."""
        fitting = [size for size in self.prompt_sizes if size >= length]
        if not fitting:
            raise ValueError(f"a prompt of {length} tokens; expected at most {self.prompt_sizes[-1]}")
        return fitting[0]

    def admit(
        self,
        embeds: Float[Array, "1 t d"],
        length: int,
        *,
        seed: int = 0,
        node: int | None = None,
        settings: DecodingSettings | None = None,
        caps: Int[np.ndarray, " k"] | None = None,
    ) -> int:
        """Fills a free row with a prompt; the number of the row.

        Args:
          embeds: the prompt, embedded and padded to a size of `prompt_sizes`.
          length: its tokens.
          seed: of its draws: those of `decoding.generate` with `rng=jax.random.key(seed)` and this prompt alone.
          node: of the form, where it begins; None = at its beginning.
          settings: numbers of the choice of tokens; what is the same for all rows is not looked at.
          caps: the most tokens of each free slot of the form; None = as the form says.
        """
        row = self._free.pop(0)  # the lowest: few rows are the first ones
        if self.active > 1:
            self._together()
        else:  # nobody else: begin at the beginning again
            self._single = None
            self._index = self._base
            self._cache = replace(self._cache, index=jax.device_put(np.int32(self._base), self._place))
        chosen = settings or self.settings
        k = self._rows.caps.shape[1]
        numbers = {
            "real": True,
            "count": 0,
            "limit": UNLIMITED if self.form is not None else min(chosen.max_new_tokens, self.settings.max_new_tokens),
            "caps": np.full(k, UNLIMITED, np.int32) if caps is None else np.asarray(caps, np.int32),
            "own": 0,
            "temperature": chosen.temperature,
            "top_k": chosen.top_k,
            "top_p": chosen.top_p,
            "penalty": chosen.repetition_penalty,
            "ngram": bool(chosen.no_repeat_ngram),
        }
        if self.form is not None:
            numbers["node"] = self.form.first if node is None else node
        numbers = {name: np.asarray(value, _DTYPES.get(name)) for name, value in numbers.items()}
        self._rows, self._cache = self._admit(
            self._states[0],
            self._rows,
            self._cache,
            embeds,
            np.int32(length),
            np.int32(row),
            jax.random.key(seed),
            numbers,
        )
        return row

    def drop(self, row: int) -> None:
        """Lets a row go: it is free, and what it would still write is not."""
        if row not in self._free:
            self._free = sorted([*self._free, row])

    def step(self, steps: int) -> list[Wrote]:
        """Writes up to `steps` tokens (at most a chunk) in every row that holds an answer."""
        taken = [row for row in range(self.places) if row not in self._free]
        if not taken:
            return []
        size = next(size for size in self.sizes if size > taken[-1])
        alive = np.asarray([row in taken for row in range(self.places)])
        if self._index + self._needs > self.slots:
            self.compact()
        if size == self.places:
            self._together()
        elif self._single is None:
            self._single = self._take_first(self._cache)
        self._rows, cache, out = self._chunk(
            self._states,
            self._weights,
            self._rows,
            self._cache if self._single is None else self._single,
            self.form,
            self._stops,
            self._banned,
            alive,
            np.int32(min(steps, self.chunk)),
            size=size,
        )
        if self._single is None:
            self._cache = cache
        else:
            self._single = cache
        tokens, slots, hidden, real, done = jax.device_get(out)
        self._index += int(done)
        found = []
        for row in taken:
            count = int((tokens[row] >= 0).sum())
            found.append(
                Wrote(
                    row,
                    tokens[row, :count],
                    slots[row, :count],
                    np.asarray(hidden[row, :count], np.float32),
                    not real[row],
                )
            )
        return found

    def _together(self) -> None:
        """Puts the first row's part back into the cache of all rows. While it decodes alone, its part is an array of its own, so
        that no chunk has to take it out and put it back.
        """
        if self._single is not None:
            self._cache, self._single = self._put_first(self._cache, self._single), None

    def compact(self) -> None:
        """Moves the tokens of all rows together, so that there are slots again; `step` calls it where it must."""
        self._together()
        alive = np.asarray([row not in self._free for row in range(self.places)])
        self._cache, index = self._compact(self._cache, self._rows.real & alive, np.int32(self._base))
        self._index = int(index)

    def probe(self, row: int, keep: int, ids: Sequence[int]) -> Float[np.ndarray, "n d"]:
        """Final-norm states of further tokens behind the first `keep` ones of a row (prompt and answer together), as though
        nothing came after these. The row stays as it is.
        """
        self._together()
        hidden = self._probe(
            self._states,
            self._weights,
            self._cache,
            np.asarray(ids, np.int32),
            np.int32(row),
            np.int32(keep),
        )
        return np.asarray(hidden, np.float32)


def _place(state: Any) -> jax.sharding.Sharding | None:
    """Where the programs put rows and cache: on the device that the weights are bound to. None where these are bound to none, as
    values are that nobody has placed, or where a compiler splits them over several.

    Arguments that are bound to a device and such that are not need a program each. Weights from a folder are bound, and so are
    rows that came out of a program with them. Were fresh rows not, the second answer would compile the programs of the first.
    """
    bound = [leaf for leaf in jax.tree.leaves(state) if isinstance(leaf, jax.Array) and leaf.committed]
    if not bound or len(bound[0].sharding.device_set) > 1:
        return None
    sharding = bound[0].sharding
    return NamedSharding(sharding.mesh, PartitionSpec()) if isinstance(sharding, NamedSharding) else sharding


_DTYPES: dict[str, Any] = {
    **dict.fromkeys(("count", "limit", "own", "top_k", "node"), np.int32),
    **dict.fromkeys(("temperature", "top_p", "penalty"), np.float32),
}


# ---------------------------------------------------------------- on the device


def _layers(cache: KVCache, function, valid, index=None) -> KVCache:
    """The cache with `function(array, axis of the rows)` of its arrays, and with `valid` and `index`."""
    if isinstance(cache.k, tuple):
        k, v = (tuple(function(each, 0) for each in part) for part in (cache.k, cache.v))
    else:
        k, v = function(cache.k, 1), function(cache.v, 1)
    return KVCache(k, v, valid, cache.index if index is None else index)


def _admit(graph, state, rows: Rows, cache: KVCache, embeds, length, row, key, numbers):
    """Reads a prompt, and puts its keys and values right before the slot that is written next."""
    model = nnx.merge(graph, state)
    size = embeds.shape[1]
    last, filled, position = model.prefill(embeds, length[None], 0)
    shift = size - length
    begin = cache.index - size

    def put(store, new, axis):
        new = jnp.roll(new, shift, axis=axis + 2)
        start = [jnp.zeros((), jnp.int32)] * store.ndim
        start[axis], start[axis + 2] = row, begin
        return jax.lax.dynamic_update_slice(store, new.astype(store.dtype), tuple(start))

    if isinstance(cache.k, tuple):
        k, v = (
            tuple(put(own, new, 0) for own, new in zip(store, part))
            for store, part in ((cache.k, filled.k), (cache.v, filled.v))
        )
    else:
        k, v = put(cache.k, filled.k, 1), put(cache.v, filled.v, 1)
    valid = jax.lax.dynamic_update_slice(
        jnp.zeros(cache.slots, bool), jnp.arange(size) >= shift, (begin.astype(jnp.int32),)
    )
    cache = replace(cache, k=k, v=v, valid=cache.valid.at[row].set(valid))
    values: dict[str, Any] = {
        **{name: value for name, value in numbers.items() if name != "node"},
        "last": last[0],
        "position": position[0],
        "seen": False,
        "history": -1,
        "key": key,
    }
    changed: dict[str, Any] = {name: getattr(rows, name).at[row].set(value) for name, value in values.items()}
    if "node" in numbers:
        fresh = {"node": numbers["node"], "count": 0, "wrote": False}
        changed["form"] = {name: rows.form[name].at[row].set(value) for name, value in fresh.items()}
    return replace(rows, **changed), cache


def _choose(logits: Float[Array, "b v"], rows: Rows) -> Int[Array, " b"]:
    """The next token of every row, each by its own numbers; what no row asks for is not computed."""
    lowest = jnp.finfo(logits.dtype).min
    greedy = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    draws = rows.temperature > 0

    def drawn():
        scaled = logits / jnp.where(draws, rows.temperature, 1.0)[:, None]

        def truncated():
            order = jnp.sort(scaled, axis=-1, descending=True)
            count = jnp.where(rows.top_k > 0, rows.top_k, order.shape[-1])
            kth = jnp.take_along_axis(order, jnp.minimum(count, order.shape[-1])[:, None] - 1, axis=-1)
            order = jnp.where(order < kth, lowest, order)
            weights = jax.nn.softmax(order, axis=-1)
            kept = jnp.sum(jnp.cumsum(weights, axis=-1) - weights < rows.top_p[:, None], axis=-1, keepdims=True)
            least = jnp.take_along_axis(order, jnp.maximum(kept, 1) - 1, axis=-1)
            return jnp.where(scaled < jnp.maximum(least, kth), lowest, scaled)

        truncates = draws & ((rows.top_k > 0) | (rows.top_p < 1))
        chosen = jax.lax.cond(truncates.any(), truncated, lambda: scaled)
        keys = jax.vmap(lambda key, step: jax.random.fold_in(jax.random.fold_in(key, step), 0))(rows.key, rows.count)
        return jax.vmap(jax.random.categorical)(keys, chosen).astype(jnp.int32)

    return jnp.where(draws, jax.lax.cond((draws & rows.real).any(), drawn, lambda: greedy), greedy)


def _chunk(
    graphs,
    kind: Kind,
    most: int,
    states,
    weights,
    rows: Rows,
    cache: KVCache,
    form: Form | None,
    stops,
    banned,
    alive,
    steps,
    *,
    size: int,
):
    """Up to `steps` tokens in the first `size` rows, which the cache is of.

    Gives rows, cache and (tokens (b, most), -1 where none; slots; hidden; real; tokens of the longest row).
    """
    model = nnx.merge(graphs[0], states[0])
    added = None if graphs[1] is None else nnx.merge(graphs[1], states[1])
    embed = model.embed if added is None else partial(added.embed, model)
    score = model.logits if added is None else partial(added.logits, model)
    places = alive.shape[0]
    rows = replace(rows, real=rows.real & alive)
    all_rows = rows
    separate = isinstance(cache.k, tuple)
    if size < places:
        rows = jax.tree.map(lambda leaf: leaf[:size], rows)
        cache = _layers(cache, lambda store, axis: jax.lax.slice_in_dim(store, 0, size, axis=axis), cache.valid[:size])
    if separate:
        cache = cache.separate()  # which takes the axis of a single row away
    lines = jnp.arange(size)

    def pick(rows: Rows):
        logits = score(rows.last[:, None])[:, 0]
        allowed = None if form is None else form.allowed(rows.form, logits.shape[-1])
        own = {"penalty": rows.penalty[:, None], "seen": rows.seen, "banned": banned, "allowed": allowed}
        adjusted = adjust(logits, replace(kind, ngram=0), **own)
        if kind.ngram:

            def without_repeats():
                strict = adjust(logits, kind, **own, history=rows.history, history_lengths=rows.own)
                return jnp.where(rows.ngram[:, None], strict, adjusted)

            adjusted = jax.lax.cond(rows.ngram.any(), without_repeats, lambda: adjusted)
        token = _choose(adjusted, rows)
        if form is None:
            return token, jnp.zeros_like(token), rows.form
        return form.advance(rows.form, token, rows.caps)

    def running(loop):
        step, rows, *_ = loop
        return (step < steps) & rows.real.any()

    def body(loop):
        step, rows, cache, tokens, slots, hidden = loop
        token, slot, state = pick(rows)
        out = model(
            embed(token[:, None]),
            cache=cache,
            positions=rows.position[:, None],
            mask=rows.real[:, None],
            weights=weights,
        )
        last = out.hidden[:, 0]
        real = rows.real
        tokens = tokens.at[:, step].set(jnp.where(real, token, -1))
        slots = slots.at[:, step].set(jnp.where(real, slot, -1).astype(jnp.int8))
        hidden = hidden.at[:, step].set(jnp.where(real[:, None], last, 0))
        count = rows.count + real
        if form is None:
            ends = count >= rows.limit
            if stops.shape[0]:
                ends |= (token[:, None] == stops[None]).any(axis=1)
        else:
            ends = form.filled(state)
        written = slot >= 0
        rows = replace(
            rows,
            last=last.astype(rows.last.dtype),
            position=rows.position + real,
            count=count,
            form=jax.tree.map(lambda new, old: jnp.where(real, new, old), state, rows.form),
            seen=rows.seen.at[lines, token].max(real & written),
            real=real & ~ends,
        )
        if kind.ngram:
            rows = replace(
                rows,
                history=rows.history.at[lines, rows.own].set(jnp.where(written, token, -1)),
                own=rows.own + real,
            )
        return step + 1, rows, out.cache, tokens, slots, hidden

    start = (
        jnp.zeros((), jnp.int32),
        rows,
        cache,
        jnp.full((size, most), -1, jnp.int32),
        jnp.full((size, most), -1, jnp.int8),
        jnp.zeros((size, most, rows.last.shape[-1]), rows.last.dtype),
    )
    done, rows, cache, tokens, slots, hidden = jax.lax.while_loop(running, body, start)
    real = rows.real
    if separate:
        k, v = (tuple(each.reshape(size, *each.shape[-3:]) for each in part) for part in (cache.k, cache.v))
        cache = replace(cache, k=k, v=v)
    if size < places:
        rows = jax.tree.map(lambda every, part: every.at[:size].set(part), all_rows, rows)
    return rows, cache, (tokens, slots, hidden, real, done)


def _first_row(cache: KVCache) -> KVCache:
    """The part of the first row."""
    return _layers(cache, lambda store, axis: jax.lax.slice_in_dim(store, 0, 1, axis=axis), cache.valid[:1])


def _with_first_row(cache: KVCache, first: KVCache) -> KVCache:
    """The cache with another first row, whose next slot is that of all."""

    def put(store, part, axis):
        return jax.lax.dynamic_update_slice_in_dim(store, part, 0, axis=axis)

    k, v = (
        tuple(put(*each, 0) for each in zip(*pair)) if isinstance(pair[0], tuple) else put(*pair, 1)
        for pair in ((cache.k, first.k), (cache.v, first.v))
    )
    return KVCache(k, v, cache.valid.at[:1].set(first.valid), first.index)


def _probe(graphs, states, weights, cache: KVCache, ids, row, keep):
    """States of `ids` behind the first `keep` valid tokens of a row, on a copy of it."""
    model = nnx.merge(graphs[0], states[0])
    added = None if graphs[1] is None else nnx.merge(graphs[1], states[1])
    embed = model.embed if added is None else partial(added.embed, model)
    valid = jax.lax.dynamic_slice_in_dim(cache.valid, row, 1)
    own = _layers(
        cache,
        lambda store, axis: jax.lax.dynamic_slice_in_dim(store, row, 1, axis=axis),
        valid & (jnp.cumsum(valid, axis=1) <= keep),
    )
    positions = keep + jnp.arange(ids.shape[0])
    return model(embed(ids[None]), cache=own, positions=positions[None], weights=weights).hidden[0]


def _compacted(cache: KVCache, real, base):
    """The cache with every row's tokens moved together right before a slot as early as possible, and that slot."""
    valid = cache.valid & real[:, None]
    slots = cache.slots
    index = jnp.maximum(base, valid.sum(axis=1).max()).astype(jnp.int32)
    order = jnp.argsort(valid, axis=1, stable=True)  # the valid ones last, in their order
    order = jnp.take_along_axis(order, (jnp.arange(slots)[None] + slots - index) % slots, axis=1)
    valid = jnp.take_along_axis(valid, order, axis=1)

    def moved(store, axis):
        places = order[:, None, :, None] if axis == 0 else order[None, :, None, :, None]
        return jnp.take_along_axis(store, places, axis=axis + 2)

    return _layers(cache, moved, valid, index), index
