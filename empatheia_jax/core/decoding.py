"""Decoding on the device: prefill in length buckets, then a compiled loop over a fixed key/value cache.

A listener gets its tokens between two calls of that loop, many tokens at a time where they come fast, so that the device does
not wait for the host at every token. What the loop went on with after the listener had ended a row is taken back.

The prompt arrives as embeddings, so that text, speech and video features look alike. The final-norm hidden state of
every generated token comes out of the same pass. Works for every core that has

    embed(ids), logits(hidden)
    prefill(embeds, lengths, room) -> (hidden of the last token (b, d), cache, position of the next token (b,))
    __call__(embeds, cache=, positions=, mask=, weights=) -> LMOutput
    decoder_weights() -> weights per layer, for `weights` where `separate_layers`
    and whose cache has `separate()` and `forget(count)`
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.form import Form
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.sampling import Choices, DecodingSettings, Kind, adjust, choose
from empatheia_jax.errors import UserError
from empatheia_jax.nn.platform import separate_layers

__all__ = ["Choices", "DecodingSettings", "Form", "Generation", "bucket", "generate"]

OnToken = Callable[[np.ndarray, np.ndarray], np.ndarray | Sequence[bool] | None]
"""(tokens (b,), which of them are real (b,)) → which rows shall end after this token (b,), or None."""


@dataclass(frozen=True)
class Generation:
    """What was decoded; arrays are on the host.

    tokens: (b, n) int32, rows end where `lengths` (b,) says, -1 after it; a stop token counts. hidden: (b, n, d)
    final-norm state at each of these tokens. forced_hidden: (b, f, d) likewise at `settings.forced_ids`, which follow
    each row's last token. slots: (b, n) int8, which slot of a form each token fills, -1 for fixed words; None without a
    form.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    hidden: np.ndarray
    forced_hidden: np.ndarray
    slots: np.ndarray | None = None

    def row(self, index: int) -> list[int]:
        """The tokens of one row, without padding."""
        return self.tokens[index, : self.lengths[index]].tolist()


def bucket(length: int, smallest: int = 64) -> int:
    """The padded length that serves `length`: powers of two and the steps halfway between them."""
    size = smallest
    while size < length:
        if size + size // 2 >= length:
            return size + size // 2
        size *= 2
    return size


# ---------------------------------------------------------------- streaming

CALL_SECONDS = 0.05
"""How long the device works between two hearings of a listener, as far as whole tokens allow."""
MOST_AT_ONCE = 32


# ---------------------------------------------------------------- the loop


@dataclass(frozen=True)
class _Shape:
    """Everything static besides the networks: one program is compiled per value."""

    new: int
    stops: int
    forced: int
    kind: Kind


@partial(jax.tree_util.register_dataclass, data_fields=("model", "added"), meta_fields=("graphs",))
@dataclass(frozen=True)
class _Networks:
    """The networks as an argument of a compiled program."""

    model: Any
    added: Any
    graphs: Any

    @classmethod
    def of(cls, model: LanguageModel, added: AddedTokens | None) -> _Networks:
        graph, state = nnx.split(model)
        added_graph, added_state = nnx.split(added) if added is not None else (None, None)
        return cls(state, added_state, (graph, added_graph))

    def merged(self) -> tuple[Any, Callable[..., Array], Callable[..., Array]]:
        """The core, its embedding and its head, with the added tokens."""
        model = nnx.merge(self.graphs[0], self.model)
        if self.graphs[1] is None:
            return model, model.embed, model.logits
        added = nnx.merge(self.graphs[1], self.added)
        return model, partial(added.embed, model), partial(added.logits, model)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("key", "temperature", "top_p", "penalty", "stop_ids", "banned", "choices", "form"),
    meta_fields=(),
)
@dataclass(frozen=True)
class _Rules:
    """How tokens are chosen: the arrays of it."""

    key: Any
    temperature: Any
    top_p: Any
    penalty: Any
    stop_ids: Any
    banned: Any
    choices: Choices | None
    form: Form | None

    def pick(self, kind: Kind, score, hidden, extra, step):
        """(token, its slot of a form, what is remembered) after the final-norm states `hidden` (b, d)."""
        logits = score(hidden[:, None])[:, 0]
        allowed = None if self.choices is None else self.choices.allowed(extra["state"], logits.shape[-1])
        if self.form is not None:
            allowed = self.form.allowed(extra["form"], logits.shape[-1])
        logits = adjust(
            logits,
            kind,
            penalty=self.penalty,
            seen=extra.get("seen"),
            history=extra.get("history"),
            history_lengths=extra.get("lengths"),
            banned=self.banned,
            allowed=allowed,
        )
        token = choose(logits, kind, jax.random.fold_in(self.key, step), self.temperature, self.top_p)
        if self.form is None:
            return token, jnp.zeros_like(token), extra
        token, slot, state = self.form.advance(extra["form"], token)
        return token, slot, {**extra, "form": state}

    def note(self, kind: Kind, extra, token, slot, real):
        """What is remembered, with a further token."""
        extra, rows = dict(extra), jnp.arange(len(token))
        own = slot >= 0  # penalty and n-gram ban are for the model's words, not for a form's
        if kind.penalty:
            extra["seen"] = extra["seen"].at[rows, token].max(real & own)
        if kind.ngram:
            extra["history"] = extra["history"].at[rows, extra["lengths"]].set(jnp.where(own, token, -1))
            extra["lengths"] = extra["lengths"] + real
        if self.choices is not None:
            extra["recent"] = jnp.concatenate([extra["recent"][:, 1:], token[:, None]], axis=1)
            extra["state"] = self.choices.advance(extra["state"], extra["recent"], token)
        return extra


_FIELDS = ("step", "token", "slot", "real", "tokens", "slots", "hidden", "extra", "cache", "positions")


@partial(jax.tree_util.register_dataclass, data_fields=_FIELDS, meta_fields=())
@dataclass(frozen=True)
class _Loop:
    """What a step changes. `token` (b,) is chosen and not yet read; `tokens`, `slots` and `hidden` are of those read."""

    step: Any
    token: Any
    slot: Any
    real: Any
    tokens: Any
    slots: Any
    hidden: Any
    extra: dict
    cache: Any
    positions: Any


@partial(jax.jit, static_argnames="shape")
def _begin(networks: _Networks, shape: _Shape, rules: _Rules, embeds, lengths, prompt_ids):
    """Reads the prompts and chooses the first tokens: (weights per layer or None, the loop before its first step)."""
    model, _, score = networks.merged()
    kind, b = shape.kind, embeds.shape[0]
    last, cache, positions = model.prefill(embeds, lengths, shape.new + shape.forced)
    weights = None
    if separate_layers():
        weights, cache = model.decoder_weights(), cache.separate()
    vocab = jax.eval_shape(score, jax.ShapeDtypeStruct((b, 1, last.shape[-1]), last.dtype)).shape[-1]
    extra = _start(kind, rules.choices, prompt_ids, lengths, b, vocab, shape.new)
    if rules.form is not None:
        extra["form"] = rules.form.start(b)
    first, slot, extra = rules.pick(kind, score, last, extra, 0)
    real = jnp.ones(b, bool)
    return weights, _Loop(
        step=jnp.zeros((), jnp.int32),
        token=first,
        slot=slot,
        real=real,
        tokens=jnp.full((b, shape.new), -1, jnp.int32),
        slots=jnp.full((b, shape.new), -1, jnp.int8),
        hidden=jnp.zeros((b, shape.new, last.shape[-1]), last.dtype),
        extra=rules.note(kind, extra, first, slot, real),
        cache=cache,
        positions=positions,
    )


@partial(jax.jit, static_argnames="shape", donate_argnames="loop")
def _go_on(networks: _Networks, shape: _Shape, rules: _Rules, weights, loop: _Loop, ended, until) -> _Loop:
    """Steps up to `until`, or until no row is left; rows `ended` (b,) do not go on."""
    model, embed, score = networks.merged()
    kind, form = shape.kind, rules.form

    def running(loop: _Loop):
        return (loop.step < until) & loop.real.any()

    def body(loop: _Loop) -> _Loop:
        real, step = loop.real, loop.step
        out = model(
            embed(loop.token[:, None]),
            cache=loop.cache,
            positions=loop.positions[:, None],
            mask=real[:, None],
            weights=weights,
        )
        state = out.hidden[:, 0]
        if form is not None:  # its last words end a row, whatever else a token may be
            ends = form.filled(loop.extra["form"])
        elif shape.stops:
            ends = (loop.token[:, None] == rules.stop_ids[None]).any(axis=1)
        else:
            ends = jnp.zeros_like(real)
        token, slot, extra = rules.pick(kind, score, state, loop.extra, step + 1)
        return _Loop(
            step=step + 1,
            token=token,
            slot=slot,
            real=real & ~ends,
            tokens=loop.tokens.at[:, step].set(jnp.where(real, loop.token, -1)),
            slots=loop.slots.at[:, step].set(jnp.where(real, loop.slot, -1).astype(jnp.int8)),
            hidden=loop.hidden.at[:, step].set(jnp.where(real[:, None], state, 0)),
            extra=rules.note(kind, extra, token, slot, real & ~ends),
            cache=out.cache,
            positions=loop.positions + real,
        )

    return jax.lax.while_loop(running, body, replace(loop, real=loop.real & ~ended))


@partial(jax.jit, static_argnames="shape")
def _finish(networks: _Networks, shape: _Shape, weights, loop: _Loop, lengths, forced):
    """(tokens, hidden, forced_hidden, slots) of `Generation`; rows end after `lengths` (b,) tokens, whatever was read."""
    model, embed, _ = networks.merged()
    read = (loop.tokens >= 0).sum(axis=1)
    kept = jnp.arange(shape.new)[None] < lengths[:, None]
    tokens, slots = jnp.where(kept, loop.tokens, -1), jnp.where(kept, loop.slots, -1)
    hidden = jnp.where(kept[..., None], loop.hidden, 0)
    if not shape.forced:
        return tokens, hidden, hidden[:, :0], slots
    ids = jnp.broadcast_to(forced[None], (len(lengths), shape.forced))
    places = (loop.positions - (read - lengths))[:, None] + jnp.arange(shape.forced)[None]
    cache = loop.cache.forget(loop.step - lengths)
    forced_hidden = model(embed(ids), cache=cache, positions=places, weights=weights).hidden
    return tokens, hidden, forced_hidden, slots


def _start(kind: Kind, choices: Choices | None, prompt_ids, lengths, b: int, vocab: int, new: int) -> dict:
    """What the choice of tokens remembers, as of the prompt."""
    extra = {}
    real: Array | None = None
    if prompt_ids is not None:
        real = (jnp.arange(prompt_ids.shape[1])[None] < lengths[:, None]) & (prompt_ids >= 0)
    if kind.penalty:
        seen = jnp.zeros((b, vocab), bool)
        if real is not None:
            seen = seen.at[jnp.arange(b)[:, None], jnp.where(real, prompt_ids, vocab)].set(True, mode="drop")
        extra["seen"] = seen
    if kind.ngram:
        known = jnp.zeros((b, 0), jnp.int32) if prompt_ids is None else prompt_ids
        extra["history"] = jnp.pad(known, ((0, 0), (0, new + 1 + kind.ngram)), constant_values=-1)
        extra["lengths"] = jnp.zeros(b, jnp.int32) if prompt_ids is None else lengths
    if choices is not None:
        extra["recent"] = jnp.full((b, choices.triggers.shape[1]), -2, jnp.int32)
        extra["state"] = jnp.zeros(b, jnp.int32)
    return extra


def generate(
    model: LanguageModel,
    added: AddedTokens | None,
    prompt_embeds: Float[Array, "b t d"],
    lengths: Int[Array, " b"] | Sequence[int],
    settings: DecodingSettings,
    rng: jax.Array | None = None,
    on_token: OnToken | None = None,
    *,
    prompt_ids: Int[Array | np.ndarray, "b t"] | None = None,
    choices: Choices | None = None,
    form: Form | None = None,
) -> Generation:
    """Continues a batch of prompts of unequal lengths.

    Args:
      model: a core; see the module's docstring.
      added: rows of the added tokens, None where there are none.
      prompt_embeds: right-padded prompts, embedded.
      lengths: valid tokens per prompt, each at least 1.
      settings: how tokens are chosen. A new value of a number does not compile anew, switching a rule on does.
      rng: key of the draws; needed where temperature > 0.
      on_token: called with every step's tokens, in order, a little after they were chosen; may end rows (see `StopStrings`).
      prompt_ids: ids of the prompts, where repetition penalty and n-gram ban shall count them; ids below 0 do not
      count.
      choices: constraint on parts of the text.
      form: fixed words and the slots between them, which alone the model fills; every row then ends with the form's
        last word, and `settings.max_new_tokens` and `stop_ids` do not count.
    Raises: UserError for lengths that do not fit, or a missing key.
    """
    embeds, counts = jnp.asarray(prompt_embeds), np.asarray(lengths, np.int32)
    b, t, _ = embeds.shape
    if counts.shape != (b,) or counts.min() < 1 or counts.max() > t:
        raise UserError(
            f"prompt lengths {counts.tolist()} do not fit {b} prompts of at most {t} tokens (and at least 1)"
        )
    if settings.temperature > 0 and rng is None:
        raise UserError("decoding with a temperature draws at random; give a key (rng)")
    if form is not None and choices is not None:
        raise ValueError("a form has its own choices")
    most = settings.max_new_tokens if form is None else form.longest
    longest, new = int(counts.max()), bucket(most)
    room = bucket(longest)
    embeds = jnp.pad(embeds[:, :longest], ((0, 0), (0, room - longest), (0, 0)))
    if prompt_ids is not None:
        prompt_ids = jnp.pad(jnp.asarray(prompt_ids, jnp.int32)[:, :longest], ((0, 0), (0, room - longest)))
    vocab = model.config.vocab_size + (added.count if added is not None else 0)
    banned = None
    if settings.banned_ids:
        banned = jnp.zeros(vocab, bool).at[jnp.asarray(settings.banned_ids)].set(True)
    networks = _Networks.of(model, added)
    shape = _Shape(new, len(settings.stop_ids), len(settings.forced_ids), Kind.of(settings))
    rules = _Rules(
        key=jax.random.key(0) if rng is None else rng,
        temperature=jnp.asarray(settings.temperature or 1.0, jnp.float32),
        top_p=jnp.asarray(settings.top_p, jnp.float32),
        penalty=jnp.asarray(settings.repetition_penalty, jnp.float32),
        stop_ids=jnp.asarray(settings.stop_ids, jnp.int32),
        banned=banned,
        choices=choices,
        form=form,
    )
    weights, loop = _begin(networks, shape, rules, embeds, jnp.asarray(lengths), prompt_ids)
    step = partial(_go_on, networks, shape, rules, weights)
    loop, ends = _run(step, loop, most) if on_token is None else _listen(step, loop, most, on_token, form is None)
    forced = jnp.asarray(settings.forced_ids, jnp.int32)
    tokens, hidden, forced_hidden, slots = jax.device_get(_finish(networks, shape, weights, loop, ends, forced))
    counts = np.asarray(ends)
    longest = int(counts.max())
    of = None if form is None else slots[:, :longest]
    return Generation(tokens[:, :longest], counts, hidden[:, :longest], forced_hidden, of)


def _run(step, loop: _Loop, most: int) -> tuple[_Loop, Array]:
    """All steps in one call, and how many tokens each row has."""
    loop = step(loop, jnp.zeros_like(loop.real), jnp.asarray(most))
    return loop, (loop.tokens >= 0).sum(axis=1)


def _listen(step, loop: _Loop, most: int, on_token: OnToken, may_end: bool) -> tuple[_Loop, np.ndarray]:
    """All steps, several a call: as many as take about `CALL_SECONDS`. `on_token` hears each; where it `may_end` rows, their
    further tokens do not count. Returns the loop and how many tokens each row has.
    """
    b = len(loop.real)
    told, at_once = 0, 1
    ended, counts = np.zeros(b, bool), np.zeros(b, np.int32)
    while True:
        start = time.monotonic()
        loop = step(loop, ended, jnp.asarray(min(told + at_once, most)))
        done, real, tokens = jax.device_get((loop.step, loop.real, loop.tokens))
        seconds = time.monotonic() - start
        for place in range(told, int(done)):
            said = (tokens[:, place] >= 0) & ~ended
            if not said.any():
                break
            counts += said
            answer = on_token(tokens[:, place], said)
            if may_end and answer is not None:
                ended |= np.asarray(answer, bool)
        told = int(done)
        if told >= most or not (real & ~ended).any():
            return loop, counts
        if seconds < CALL_SECONDS / 2:
            at_once = min(2 * at_once, MOST_AT_ONCE)
        elif seconds > 2 * CALL_SECONDS:
            at_once = max(at_once // 2, 1)
