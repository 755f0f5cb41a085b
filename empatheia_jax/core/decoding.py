"""Decoding on the device: prefill in length buckets, then one compiled loop over a fixed key/value cache.

The prompt arrives as embeddings, so that text, speech and video features look alike. The final-norm hidden state of
every generated token comes out of the same pass. Works for every core that has

    embed(ids), logits(hidden)
    prefill(embeds, lengths, room) -> (hidden of the last token (b, d), cache, position of the next token (b,))
    __call__(embeds, cache=, positions=, mask=, weights=) -> LMOutput
    decoder_weights() -> weights per layer, for `weights` where `separate_layers`
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import io_callback
from jaxtyping import Array, Float, Int

from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.form import Form
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.sampling import Choices, DecodingSettings, Kind, adjust, choose
from empatheia_jax.core.tokenizer import Tokenizer, contains_any
from empatheia_jax.errors import UserError
from empatheia_jax.nn.platform import separate_layers

__all__ = ["Choices", "DecodingSettings", "Form", "Generation", "StopStrings", "bucket", "generate"]

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


# ---------------------------------------------------------------- streaming to the host

_LISTENERS: dict[int, OnToken] = {}
_SESSIONS = itertools.count()


def _tell(session, tokens, real) -> np.ndarray:
    """Called out of the compiled loop; the program is compiled once, whoever listens."""
    answer = _LISTENERS[int(session)](np.asarray(tokens), np.asarray(real))
    return np.zeros(np.shape(tokens), bool) if answer is None else np.asarray(answer, bool)


class StopStrings:
    """An `on_token` that ends a row once its text holds one of `stops`; passes tokens' new text on to `on_text`.

    on_text: called with (row, new text); text from a stop string on is not passed on. A tail that might become a stop
    string is held back until it is certain.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        batch: int,
        stops: Sequence[str] = (),
        on_text: Callable[[int, str], None] | None = None,
    ):
        self._streams = [tokenizer.stream() for _ in range(batch)]
        self._texts, self._told = [""] * batch, [0] * batch
        self._stops, self._on_text = tuple(stops), on_text

    def __call__(self, tokens: np.ndarray, real: np.ndarray) -> np.ndarray:
        ends = np.zeros(len(tokens), bool)
        for row in map(int, np.flatnonzero(real)):
            self._texts[row] += self._streams[row].push(tokens[row])
            place = contains_any(self._texts[row], self._stops)
            ends[row] = place is not None
            self._say(row, place if place is not None else len(self._texts[row]) - self._held(self._texts[row]))
        return ends

    def text(self, row: int) -> str:
        """The row's text up to its stop string."""
        return self._texts[row][: contains_any(self._texts[row], self._stops)]

    def finish(self) -> None:
        """Passes on what was held back; call it after decoding."""
        for row in range(len(self._texts)):
            self._say(row, len(self.text(row)))

    def _held(self, text: str) -> int:
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        tails = (n for n in range(min(longest, len(text)), 0, -1) if any(s.startswith(text[-n:]) for s in self._stops))
        return next(tails, 0)

    def _say(self, row: int, upto: int) -> None:
        if self._on_text is not None and upto > self._told[row]:
            self._on_text(int(row), self._texts[row][self._told[row] : upto])
            self._told[row] = upto


# ---------------------------------------------------------------- the loop


@dataclass(frozen=True)
class _Shape:
    """Everything static besides the networks: one program is compiled per value."""

    new: int
    stops: int
    kind: Kind
    streams: bool


_FIELDS = ("token", "slot", "real", "tokens", "slots", "hidden", "extra")


@partial(jax.tree_util.register_dataclass, data_fields=_FIELDS, meta_fields=())
@dataclass(frozen=True)
class _Row:
    token: Any
    slot: Any
    real: Any
    tokens: Any
    slots: Any
    hidden: Any
    extra: dict


@partial(jax.jit, static_argnames=("graphs", "shape"))
def _decode(
    graphs,
    states,
    shape: _Shape,
    embeds,
    lengths,
    prompt_ids,
    numbers,
    limit,
    stop_ids,
    banned,
    forced,
    choices,
    form,
    key,
    session,
):
    model = nnx.merge(graphs[0], states[0])
    added = None if graphs[1] is None else nnx.merge(graphs[1], states[1])
    kind, b = shape.kind, embeds.shape[0]
    embed = model.embed if added is None else partial(added.embed, model)
    score = model.logits if added is None else partial(added.logits, model)
    last, cache, positions = model.prefill(embeds, lengths, shape.new + forced.shape[0])
    weights = None
    if separate_layers():
        weights, cache = model.decoder_weights(), cache.separate()
    rows = jnp.arange(b)

    def pick(hidden, extra, step):
        logits = score(hidden[:, None])[:, 0]
        allowed = None if choices is None else choices.allowed(extra["state"], logits.shape[-1])
        if form is not None:
            allowed = form.allowed(extra["form"], logits.shape[-1])
        logits = adjust(
            logits,
            kind,
            penalty=numbers["penalty"],
            seen=extra.get("seen"),
            history=extra.get("history"),
            history_lengths=extra.get("lengths"),
            banned=banned,
            allowed=allowed,
        )
        token = choose(logits, kind, jax.random.fold_in(key, step), numbers["temperature"], numbers["top_p"])
        if form is None:
            return token, jnp.zeros_like(token), extra
        token, slot, state = form.advance(extra["form"], token)
        return token, slot, {**extra, "form": state}

    def note(extra, token, slot, real):
        extra = dict(extra)
        own = slot >= 0  # penalty and n-gram ban are for the model's words, not for a form's
        if kind.penalty:
            extra["seen"] = extra["seen"].at[rows, token].max(real & own)
        if kind.ngram:
            extra["history"] = extra["history"].at[rows, extra["lengths"]].set(jnp.where(own, token, -1))
            extra["lengths"] = extra["lengths"] + real
        if choices is not None:
            extra["recent"] = jnp.concatenate([extra["recent"][:, 1:], token[:, None]], axis=1)
            extra["state"] = choices.advance(extra["state"], extra["recent"], token)
        return extra

    vocab = jax.eval_shape(score, jax.ShapeDtypeStruct((b, 1, last.shape[-1]), last.dtype)).shape[-1]
    extra = _start(kind, choices, prompt_ids, lengths, b, vocab, shape.new)
    if form is not None:
        extra["form"] = form.start(b)
    first, slot, extra = pick(last, extra, 0)
    start = (
        jnp.zeros((), jnp.int32),
        _Row(
            first,
            slot,
            jnp.ones(b, bool),
            jnp.full((b, shape.new), -1, jnp.int32),
            jnp.full((b, shape.new), -1, jnp.int8),
            jnp.zeros((b, shape.new, last.shape[-1]), last.dtype),
            note(extra, first, slot, jnp.ones(b, bool)),
        ),
        cache,
        positions,
    )

    def running(loop):
        step, row, _, _ = loop
        return (step < limit) & row.real.any()

    def body(loop):
        step, row, cache, positions = loop
        out = model(
            embed(row.token[:, None]),
            cache=cache,
            positions=positions[:, None],
            mask=row.real[:, None],
            weights=weights,
        )
        state = out.hidden[:, 0]
        tokens = row.tokens.at[:, step].set(jnp.where(row.real, row.token, -1))
        slots = row.slots.at[:, step].set(jnp.where(row.real, row.slot, -1).astype(jnp.int8))
        hidden = row.hidden.at[:, step].set(jnp.where(row.real[:, None], state, 0))
        ends = (row.token[:, None] == stop_ids[None]).any(axis=1) if shape.stops else jnp.zeros(b, bool)
        if form is not None:  # its last words end a row, whatever else a token may be
            ends = form.filled(row.extra["form"])
        if shape.streams:
            told = jax.ShapeDtypeStruct((b,), jnp.bool_)
            wanted = io_callback(_tell, told, session, row.token, row.real, ordered=True)
            ends |= wanted if form is None else False
        real = row.real & ~ends
        token, slot, extra = pick(state, row.extra, step + 1)
        extra = note(extra, token, slot, real)
        return step + 1, _Row(token, slot, real, tokens, slots, hidden, extra), out.cache, positions + row.real

    _, row, cache, positions = jax.lax.while_loop(running, body, start)
    if forced.shape[0]:
        count = forced.shape[0]
        ids = jnp.broadcast_to(forced[None], (b, count))
        places = positions[:, None] + jnp.arange(count)[None]
        forced_hidden = model(embed(ids), cache=cache, positions=places, weights=weights).hidden
    else:
        forced_hidden = jnp.zeros((b, 0, last.shape[-1]), last.dtype)
    return row.tokens, (row.tokens >= 0).sum(axis=1), row.hidden, forced_hidden, row.slots


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
      on_token: called on the host with every step's tokens while the loop runs; may end rows (see `StopStrings`). It
      must not
        call JAX.
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
    kind = Kind.of(settings)
    graph, state = nnx.split(model)
    added_graph, added_state = nnx.split(added) if added is not None else (None, None)
    vocab = model.config.vocab_size + (added.count if added is not None else 0)
    banned = None
    if settings.banned_ids:
        banned = jnp.zeros(vocab, bool).at[jnp.asarray(settings.banned_ids)].set(True)
    numbers = {
        "temperature": jnp.asarray(settings.temperature or 1.0, jnp.float32),
        "top_p": jnp.asarray(settings.top_p, jnp.float32),
        "penalty": jnp.asarray(settings.repetition_penalty, jnp.float32),
    }
    session = next(_SESSIONS)
    if on_token is not None:
        _LISTENERS[session] = on_token
    try:
        result = _decode(
            (graph, added_graph),
            (state, added_state),
            _Shape(new, len(settings.stop_ids), kind, on_token is not None),
            embeds,
            jnp.asarray(lengths),
            prompt_ids,
            numbers,
            jnp.asarray(most),
            jnp.asarray(settings.stop_ids, jnp.int32),
            banned,
            jnp.asarray(settings.forced_ids, jnp.int32),
            choices,
            form,
            jax.random.key(0) if rng is None else rng,
            jnp.asarray(session),
        )
        tokens, counts, hidden, forced, slots = jax.device_get(result)
    finally:
        _LISTENERS.pop(session, None)
    longest = int(counts.max())
    of = None if form is None else slots[:, :longest]
    return Generation(tokens[:, :longest], counts, hidden[:, :longest], forced, of)
