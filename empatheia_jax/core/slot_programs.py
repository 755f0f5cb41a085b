"""What continuous batching (`core.slots`) computes on the device: a prompt, a chunk of tokens, and moves within the cache.

Every number of a row is its own. All functions are traced; none knows which rows the host has let go but by what it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.core.form import Form
from empatheia_jax.core.outputs import KVCache
from empatheia_jax.core.sampling import Kind, adjust

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


def _layers(cache: KVCache, function, index) -> KVCache:
    """The cache with `function(array, axis of the rows, axis of the slots)` of its arrays, whose rows write next to `index`."""
    if isinstance(cache.k, tuple):
        k, v = (tuple(function(each, 0, slots) for each in part) for part, slots in ((cache.k, 3), (cache.v, 2)))
        slots = k[0].shape[3]
    else:
        k, v = function(cache.k, 1, 4), function(cache.v, 1, 3)
        slots = k.shape[4]
    return KVCache(k, v, jnp.arange(slots) < index[:, None], index)


def _fit(store, axis: int, size: int):
    """The first `size` of an axis, with zeros where there are fewer."""
    store = jax.lax.slice_in_dim(store, 0, min(size, store.shape[axis]), axis=axis)
    return jnp.pad(store, [(0, size - store.shape[axis] if each == axis else 0) for each in range(store.ndim)])


def admit(
    graphs,
    separate: bool,
    slots: int,
    states,
    weights,
    rows: Rows,
    prefix: KVCache,
    embeds,
    length,
    words,
    row,
    key,
    numbers,
):
    """Reads a prompt behind `prefix`, and the first `numbers["count"]` of `words` behind the prompt, in its padding.

    separate: each layer's array by itself. Gives the rows, a cache of this row alone with so many slots, and the final-norm
    states at the words.
    """
    model = nnx.merge(graphs[0], states[0])
    if words.shape[0]:
        added = None if graphs[1] is None else nnx.merge(graphs[1], states[1])
        read = (model.embed if added is None else partial(added.embed, model))(words[None])[0]
        place = jnp.arange(embeds.shape[1]) - length
        ours = (place >= 0) & (place < numbers["count"])
        embeds = jnp.where(ours[None, :, None], read[jnp.clip(place, 0, len(words) - 1)], embeds)
    until = length + numbers["count"]
    if prefix.slots:
        hidden, filled = _read_behind(model, weights, prefix, embeds, until)
    else:
        out = model(embeds, lengths=until[None], cache_slots=embeds.shape[1])
        hidden, filled = out.hidden, by_layers(out.cache) if separate else out.cache
    position = prefix.index + until
    alone = _layers(filled, lambda store, _, axis: _fit(store, axis, slots), position[None])
    values: dict[str, Any] = {
        **{name: value for name, value in numbers.items() if name != "node"},
        "last": hidden[0, until - 1],
        "position": position,
        "seen": False,
        "history": -1,
        "own": numbers["count"],
        "key": key,
    }
    changed: dict[str, Any] = {name: getattr(rows, name).at[row].set(value) for name, value in values.items()}
    if "node" in numbers:
        fresh = {"node": numbers["node"], "count": 0, "wrote": False}
        changed["form"] = {name: rows.form[name].at[row].set(value) for name, value in fresh.items()}
    return replace(rows, **changed), alone, hidden[0, length + jnp.arange(len(words))]


def _read_behind(model, weights, prefix: KVCache, embeds, length):
    """States of a prompt that goes on behind tokens which are read already, and the cache of both."""
    room = embeds.shape[1]
    cache = _layers(prefix, lambda store, _, axis: _fit(store, axis, prefix.slots + room), prefix.index[None])
    separate = isinstance(cache.k, tuple)
    if separate:
        cache = cache.separate()
    out = model(
        embeds,
        cache=cache,
        positions=prefix.index + jnp.arange(room)[None],
        mask=jnp.arange(room)[None] < length,
        weights=weights,
    )
    filled = out.cache
    if separate:
        k, v = (tuple(each[None] for each in part) for part in (filled.k, filled.v))
        filled = replace(filled, k=k, v=v)
    return out.hidden, filled


def read_prefix(graph, separate: bool, state, embeds, length) -> KVCache:
    """The keys and values of tokens with which many prompts begin, for `admit`. separate: each layer's array by itself."""
    filled = nnx.merge(graph, state).prefill(embeds, length[None], 0)[1]
    return replace(by_layers(filled) if separate else filled, index=length)


def by_layers(cache: KVCache) -> KVCache:
    """The same with an array for each layer. Unlike `KVCache.separate` it keeps the axis of a single row, by which prompts and
    chunks of other sizes find their rows.
    """
    return replace(cache, k=tuple(cache.k), v=tuple(cache.v))


def _likeliest(logits: Float[Array, "b v"]) -> Int[Array, " b"]:
    """The first of the highest, as `argmax`, by two plain reductions: XLA for CPUs takes six times as long for one of pairs."""
    last = logits.shape[-1] - 1
    highest = logits.max(axis=-1, keepdims=True)
    return jnp.where(logits == highest, jnp.arange(last + 1, dtype=jnp.int32), last).min(axis=-1)


def _choose(logits: Float[Array, "b v"], rows: Rows) -> Int[Array, " b"]:
    """The next token of every row, each by its own numbers; what no row asks for is not computed."""
    lowest = jnp.finfo(logits.dtype).min
    greedy = _likeliest(logits)
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


def chunk(
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
    ahead: int,
    budget: int,
):
    """Up to `steps` tokens in the first `size` rows, which the cache is of; the last pass may write more. The first row that ends
    ends the chunk, so that its place is soon taken by another.

    ahead: the most tokens of a row that are read in one pass: the one that the model chose, and those which are then certain by
    the form. A pass waits for the weights, and takes little longer for a dozen tokens.
    budget: the most tokens of all rows in one pass. What is certain and has no place goes into the next pass.

    Gives rows, cache and (tokens (b, most + ahead - 1), -1 where none, also between others; slots; hidden; real).
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
    cache = replace(cache, index=rows.position)
    if separate:
        cache = cache.separate()  # which takes the axis of a single row away
    lines, begun = jnp.arange(size), rows.real.sum()

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

    def go_on(real, token, slot, state):
        """A chosen token and those that are certain behind it, as far as the budget goes: tokens, slots and which are there
        (b, ahead), and the form's state after them.
        """
        b = token.shape[0]
        tokens = jnp.zeros((b, ahead), token.dtype).at[:, 0].set(token)
        slots = jnp.zeros((b, ahead), slot.dtype).at[:, 0].set(slot)
        there = jnp.zeros((b, ahead), bool).at[:, 0].set(real)
        if ahead == 1:
            return tokens, slots, there, state

        def more(run):
            place, state, *_, there = run
            certain, _ = form.certain(state)
            return (place < ahead) & (there.sum() < budget) & (certain & there[:, place - 1]).any()

        def add(run):
            place, state, tokens, slots, there = run
            certain, choice = form.certain(state)
            certain &= there[:, place - 1]
            certain &= jnp.cumsum(certain) <= budget - there.sum()
            token, slot, then = form.advance(state, choice)
            state = jax.tree.map(partial(jnp.where, certain), then, state)
            return (
                place + 1,
                state,
                *(each.at[:, place].set(new) for each, new in ((tokens, token), (slots, slot), (there, certain))),
            )

        _, state, *found = jax.lax.while_loop(more, add, (jnp.ones((), jnp.int32), state, tokens, slots, there))
        return *found, state

    def read(width: int, rows: Rows, token, there, cache: KVCache):
        """A pass over the first `width` tokens, behind which none is there: (final-norm states (b, ahead, d), cache)."""
        out = model(
            embed(token[:, :width]),
            cache=cache,
            positions=rows.position[:, None] + jnp.arange(width),
            mask=there[:, :width],
            weights=weights,
            packed=budget if budget < size * width else None,
        )
        return jnp.pad(out.hidden, ((0, 0), (0, ahead - width), (0, 0))), out.cache

    def running(loop):
        step, rows, *_ = loop
        return (step < steps) & rows.real.any() & (rows.real.sum() == begun)

    def body(loop):
        step, rows, cache, tokens, slots, hidden = loop
        token, slot, there, state = go_on(rows.real, *pick(rows))
        if size > 1:
            states, cache = read(ahead, rows, token, there, cache)
        elif ahead == 1:
            states, cache = read(1, rows, token, there, cache)
        else:
            states, cache = jax.lax.cond(
                there[:, 1].any(), partial(read, ahead), partial(read, 1), rows, token, there, cache
            )
        real = rows.real
        tokens = jax.lax.dynamic_update_slice_in_dim(tokens, jnp.where(there, token, -1), step, axis=1)
        slots = jax.lax.dynamic_update_slice_in_dim(slots, jnp.where(there, slot, -1).astype(jnp.int8), step, axis=1)
        hidden = jax.lax.dynamic_update_slice_in_dim(hidden, jnp.where(there[..., None], states, 0), step, axis=1)
        wrote = there.sum(axis=1, dtype=jnp.int32)
        count = rows.count + wrote
        if form is None:
            ends = count >= rows.limit
            if stops.shape[0]:
                ends |= (token == stops[None]).any(axis=1)
        else:
            ends = form.filled(state)
        written = there & (slot >= 0)
        last = jnp.take_along_axis(states, jnp.maximum(wrote - 1, 0)[:, None, None], axis=1)[:, 0]
        rows = replace(
            rows,
            last=last.astype(rows.last.dtype),
            position=rows.position + wrote,
            count=count,
            form=jax.tree.map(lambda new, old: jnp.where(real, new, old), state, rows.form),
            seen=rows.seen.at[lines[:, None], token].max(written),
            real=real & ~ends,
        )
        if kind.ngram:
            places = rows.own[:, None] + jnp.arange(ahead)
            rows = replace(
                rows,
                history=rows.history.at[lines[:, None], places].set(jnp.where(written, token, -1)),
                own=rows.own + wrote,
            )
        return step + wrote.max(), rows, cache, tokens, slots, hidden

    start = (
        jnp.zeros((), jnp.int32),
        rows,
        cache,
        jnp.full((size, most + ahead - 1), -1, jnp.int32),
        jnp.full((size, most + ahead - 1), -1, jnp.int8),
        jnp.zeros((size, most + ahead - 1, rows.last.shape[-1]), rows.last.dtype),
    )
    _, rows, cache, tokens, slots, hidden = jax.lax.while_loop(running, body, start)
    real = rows.real
    if separate:
        k, v = (tuple(each.reshape(size, *each.shape[-3:]) for each in part) for part in (cache.k, cache.v))
        cache = replace(cache, k=k, v=v)
    if size < places:
        rows = jax.tree.map(lambda every, part: every.at[:size].set(part), all_rows, rows)
    return rows, cache, (tokens, slots, hidden, real)


def row_of(cache: KVCache, row, *, slots: int) -> KVCache:
    """One row by itself, with room for so many slots."""

    def part(store, rows, axis):
        return _fit(jax.lax.dynamic_slice_in_dim(store, row, 1, axis=rows), axis, slots)

    return _layers(cache, part, jax.lax.dynamic_slice_in_dim(cache.index, row, 1))


def with_row(cache: KVCache, alone: KVCache, row) -> KVCache:
    """The cache with another row, of which it takes as many slots as it has."""
    slots = cache.slots

    def put(store, part, rows, axis):
        part = jax.lax.slice_in_dim(part, 0, slots, axis=axis)
        return jax.lax.dynamic_update_slice_in_dim(store, part, row, axis=rows)

    index = jax.lax.dynamic_update_slice_in_dim(cache.index, alone.index, row, axis=0)
    if isinstance(cache.k, tuple):
        k, v = (
            tuple(put(store, part, 0, axis) for store, part in zip(*pair))
            for pair, axis in (((cache.k, alone.k), 3), ((cache.v, alone.v), 2))
        )
    else:
        k, v = put(cache.k, alone.k, 1, 4), put(cache.v, alone.v, 1, 3)
    return KVCache(k, v, jnp.arange(slots) < index[:, None], index)


def resized(cache: KVCache, *, slots: int) -> KVCache:
    """The cache with so many slots for each row."""
    return _layers(cache, lambda store, _, axis: _fit(store, axis, slots), cache.index)


def probe(graphs, states, weights, alone: KVCache, ids, keep):
    """States of `ids` behind the first `keep` tokens of a row, whose cache stays as it is."""
    model = nnx.merge(graphs[0], states[0])
    added = None if graphs[1] is None else nnx.merge(graphs[1], states[1])
    embed = model.embed if added is None else partial(added.embed, model)
    positions = keep + jnp.arange(ids.shape[0])
    cache = replace(alone, index=keep[None])
    return model(embed(ids[None]), cache=cache, positions=positions[None], weights=weights).hidden[0]
