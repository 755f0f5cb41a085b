"""How the next token is chosen from logits: penalties, bans, constraint, truncation, draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.errors import UserError

COLDEST = 1e-6
"""Lowest temperature that is divided by. Below it only equal logits are drawn from, and a quotient could overflow."""


@dataclass(frozen=True)
class DecodingSettings:
    """How tokens are chosen, and when decoding ends.

    max_new_tokens: upper bound. temperature: 0 = greedy. top_k: draw among the k likeliest (0 = all). top_p: draw
    among the likeliest that together hold this probability. repetition_penalty: divides positive and multiplies
    negative logits of tokens seen before (Keskar et al. 2019). no_repeat_ngram: no n-gram occurs twice (0 = off).
    stop_ids: a row ends after any of them. banned_ids: never chosen. forced_ids: fed after each row's end, in the same
    cache, for their hidden states (the signal tokens).
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    stop_ids: tuple[int, ...] = ()
    banned_ids: tuple[int, ...] = ()
    forced_ids: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("stop_ids", "banned_ids", "forced_ids"):
            object.__setattr__(self, name, tuple(int(i) for i in getattr(self, name)))
        wrong = [
            f"{name}={getattr(self, name)} (expected {expected})"
            for name, expected, fits in (
                ("max_new_tokens", "at least 1", self.max_new_tokens >= 1),
                ("temperature", "at least 0", self.temperature >= 0),
                ("top_k", "at least 0", self.top_k >= 0),
                ("top_p", "in (0, 1]", 0 < self.top_p <= 1),
                ("repetition_penalty", "above 0", self.repetition_penalty > 0),
                ("no_repeat_ngram", "0 or at least 2", self.no_repeat_ngram == 0 or self.no_repeat_ngram >= 2),
            )
            if not fits
        ]
        if wrong:
            raise UserError("decoding settings: " + ", ".join(wrong))


@dataclass(frozen=True)
class Kind:
    """The part of the settings that decides which program is compiled; the numbers are given to it at every call."""

    draws: bool
    top_k: int
    top_p: bool
    penalty: bool
    ngram: int

    @classmethod
    def of(cls, settings: DecodingSettings) -> Kind:
        draws = settings.temperature > 0
        return cls(
            draws,
            settings.top_k if draws else 0,
            draws and settings.top_p < 1,
            settings.repetition_penalty != 1,
            settings.no_repeat_ngram,
        )


@partial(
    jax.tree_util.register_dataclass, data_fields=("triggers", "tokens", "following"), meta_fields=("trigger_lengths",)
)
@dataclass(frozen=True)
class Choices:
    """Keeps the text that follows a trigger inside a list of options, for example an emotion inside its label set.

    After any of the `triggers`, only tokens that continue one of the options are possible; when an option is complete,
    decoding is free again. The options are a trie: row s of `tokens` lists the tokens possible in state s (-1 =
    none), row s of `following` the states that they lead to. State 0 is free, state 1 is right after a trigger.
    """

    triggers: Int[Array, "n longest"]
    tokens: Int[Array, "states edges"]
    following: Int[Array, "states edges"]
    trigger_lengths: tuple[int, ...]

    @classmethod
    def of(cls, triggers: Sequence[Sequence[int]], options: Sequence[Sequence[int]]) -> Choices:
        """From token ids. Raises UserError where an option is empty or the beginning of another one."""
        trie: list[dict[int, int]] = [{}, {}]
        ends: set[tuple[int, int]] = set()
        for option in options:
            state = 1
            for place, token in enumerate(option):
                last = place == len(option) - 1
                clash = (state, token) in ends or (last and token in trie[state])
                if clash and not ((state, token) in ends and last):
                    raise UserError(
                        f"one option is the beginning of another: {list(option)}; end each with a delimiter"
                    )
                if last:
                    trie[state][token] = 0
                    ends.add((state, token))
                elif token not in trie[state]:
                    trie.append({})
                    trie[state][token] = len(trie) - 1
                state = trie[state][token]
        if not all(len(t) for t in triggers) or not triggers or not all(len(o) for o in options) or not options:
            raise UserError("choices need at least one trigger and one option, none of them empty")
        edges = max(len(node) for node in trie)
        tokens, following = np.full((len(trie), edges), -1, np.int32), np.zeros((len(trie), edges), np.int32)
        for state, node in enumerate(trie):
            tokens[state, : len(node)] = list(node)
            following[state, : len(node)] = list(node.values())
        lengths = tuple(len(t) for t in triggers)
        padded = np.full((len(triggers), max(lengths)), -1, np.int32)
        for row, trigger in zip(padded, triggers):
            row[len(row) - len(trigger) :] = trigger
        return cls(jnp.asarray(padded), jnp.asarray(tokens), jnp.asarray(following), lengths)

    def advance(self, state: Int[Array, " b"], recent: Int[Array, "b w"], token: Int[Array, " b"]) -> Int[Array, " b"]:
        """The state after `token`; `recent` are the last tokens, `token` included."""
        edge = self.tokens[state] == token[:, None]
        inside = jnp.where(edge.any(axis=1), jnp.sum(jnp.where(edge, self.following[state], 0), axis=1), 0)
        width = self.triggers.shape[1]
        window = recent[:, -width:]
        fits = (window[:, None, :] == self.triggers[None]) | (self.triggers[None] < 0)
        triggered = fits.all(axis=2).any(axis=1)
        return jnp.where(state > 0, inside, jnp.where(triggered, 1, 0))

    def allowed(self, state: Int[Array, " b"], vocab: int) -> Bool[Array, "b v"]:
        """Which tokens are possible in each row's state."""
        possible = self.tokens[state]
        rows = jnp.arange(state.shape[0])[:, None]
        mask = (
            jnp.zeros((state.shape[0], vocab), bool)
            .at[rows, jnp.where(possible < 0, vocab, possible)]
            .set(True, mode="drop")
        )
        return mask | (state == 0)[:, None]


def adjust(
    logits: Float[Array, "b v"],
    kind: Kind,
    *,
    penalty: Float[Array, ""] | Float[Array, "b 1"],
    seen: Bool[Array, "b v"] | None = None,
    history: Int[Array, "b s"] | None = None,
    history_lengths: Int[Array, " b"] | None = None,
    banned: Bool[Array, " v"] | None = None,
    allowed: Bool[Array, "b v"] | None = None,
) -> Float[Array, "b v"]:
    """Logits after penalty, n-gram ban, banned ids and constraint. A constraint wins over the other bans."""
    if kind.penalty:
        if seen is None:
            raise ValueError("a repetition penalty needs the tokens that were seen")
        logits = jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)
    lowest = jnp.finfo(logits.dtype).min
    if kind.ngram:
        if history is None or history_lengths is None:
            raise ValueError("a ban of repeated n-grams needs the history")
        repeats = repeated_ngrams(history, history_lengths, kind.ngram, logits.shape[-1])
        logits = jnp.where(repeats, lowest, logits)
    if banned is not None:
        logits = jnp.where(banned[None], lowest, logits)
    if allowed is not None:
        logits = jnp.where(allowed, jnp.maximum(logits, lowest / 2), lowest)
    return logits


def repeated_ngrams(history: Int[Array, "b s"], lengths: Int[Array, " b"], n: int, vocab: int) -> Bool[Array, "b v"]:
    """Tokens that would complete an n-gram which the first `lengths` tokens of `history` already hold."""
    b, s = history.shape
    rows = jnp.arange(b)[:, None]
    tail = jnp.take_along_axis(history, jnp.maximum(lengths[:, None] - (n - 1) + jnp.arange(n - 1)[None], 0), axis=1)
    starts = s - (n - 1)
    same = jnp.ones((b, starts), bool)
    for k in range(n - 1):
        same &= history[:, k : k + starts] == tail[:, k : k + 1]
    completes = jnp.arange(starts)[None] + (n - 1) < lengths[:, None]
    same &= (tail >= 0).all(axis=1, keepdims=True)  # what does not count (below 0) stands in no n-gram
    token = history[:, n - 1 :]
    token = jnp.where(same & completes & (token >= 0), token, vocab)
    return jnp.zeros((b, vocab), bool).at[rows, token].set(True, mode="drop")


def truncate(logits: Float[Array, "b v"], kind: Kind, top_p: Float[Array, ""]) -> Float[Array, "b v"]:
    """Leaves the `top_k` likeliest, then the smallest set of them that holds `top_p`; the likeliest always stays."""
    lowest = jnp.finfo(logits.dtype).min
    if kind.top_k:
        least = jax.lax.top_k(logits, min(kind.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < least, lowest, logits)
    if kind.top_p:
        order = jnp.sort(logits, axis=-1, descending=True)
        mass = jnp.cumsum(jax.nn.softmax(order, axis=-1), axis=-1)
        count = jnp.sum(mass - jax.nn.softmax(order, axis=-1) < top_p, axis=-1, keepdims=True)
        least = jnp.take_along_axis(order, jnp.maximum(count, 1) - 1, axis=-1)
        logits = jnp.where(logits < least, lowest, logits)
    return logits


def choose(
    logits: Float[Array, "b v"], kind: Kind, key: jax.Array, temperature: Float[Array, ""], top_p: Float[Array, ""]
) -> Int[Array, " b"]:
    """The next token of every row; rows draw from separate streams, so a row's draw does not depend on its
    neighbours.
    """
    if not kind.draws:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = truncate(logits / jnp.maximum(temperature, COLDEST), kind, top_p)
    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(logits.shape[0]))
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)
