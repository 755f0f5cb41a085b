"""A form that decoding fills: fixed words are written by force, and the model writes the slots between them alone.

A row of a batch is always at one *node* of the form: at a fixed token, in a free slot, or in the trie of a slot that has
options. The state moves on the device, inside the loop of `core.decoding`, and costs no pass of the network that free
decoding would not need.

Letters: b batch, v vocabulary, f fixed tokens, k free slots, s states of all tries, e edges of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.errors import UserError

GOES_ON, ENDS, ENDS_AFTER = range(3)
"""What a token does to a free slot: it belongs to it; it ends the slot and is not written; it is written and ends the slot."""
FIXED = -1
"""Slot number of fixed tokens."""


@dataclass(frozen=True)
class Free:
    """A slot that the model fills with at most `limit` tokens, on one line."""

    name: str
    limit: int


@dataclass(frozen=True)
class Choice:
    """A slot that holds one of `options`."""

    name: str
    options: tuple[str, ...]


Slot = Free | Choice
_ARRAYS = (
    "fixed",
    "after_fixed",
    "slot_of_node",
    "limits",
    "kinds",
    "blank",
    "closing",
    "trie_tokens",
    "trie_following",
)


@partial(jax.tree_util.register_dataclass, data_fields=_ARRAYS, meta_fields=("names", "longest", "first"))
@dataclass(frozen=True)
class Form:
    """Nodes are numbered: fixed tokens 0 … f−1, free slots f …, states of the tries f + k …, the end f + k + s.

    names: of the slots, in order. longest: the most tokens that a filled form has. first: the node that it begins with.
    kinds: what each token does to each free slot. blank: tokens that write nothing. closing: the node after a free slot,
    and where the slot's last token held the line break already.
    """

    names: tuple[str, ...]
    longest: int
    first: int
    fixed: Int[Array, " f"]
    after_fixed: Int[Array, " f"]
    slot_of_node: Int[Array, " nodes"]
    limits: Int[Array, " k"]
    kinds: Int[Array, "k v"]
    blank: Bool[Array, " v"]
    closing: Int[Array, "k 2"]
    trie_tokens: Int[Array, "s e"]
    trie_following: Int[Array, "s e"]

    @property
    def end(self) -> int:
        """The node of a form that is filled."""
        return self.fixed.shape[0] + self.limits.shape[0] + self.trie_tokens.shape[0]

    @property
    def slot_limits(self) -> tuple[int | None, ...]:
        """The most tokens of each slot, in the order of `names`; None for a slot that has options."""
        f, numbers = self.fixed.shape[0], np.asarray(self.slot_of_node)
        free = {int(numbers[f + k]): int(limit) for k, limit in enumerate(self.limits)}
        return tuple(free.get(slot) for slot in range(len(self.names)))

    def filled(self, state: dict[str, Any]) -> Bool[Array, " b"]:
        """Which rows have nothing left to write."""
        return state["node"] == self.end

    @property
    def longest_run(self) -> int:
        """The most fixed tokens that follow each other."""
        after, longest, run = np.asarray(self.after_fixed), 0, 0
        for place, node in enumerate(after):
            run += 1
            longest = max(longest, run)
            if node != place + 1:
                run = 0
        return longest

    # ------------------------------------------------------------------------------------------------ in the loop

    def start(self, batch: int) -> dict[str, Any]:
        """The state of rows that have not begun."""
        return {
            "node": jnp.full(batch, self.first, jnp.int32),
            "count": jnp.zeros(batch, jnp.int32),
            "wrote": jnp.zeros(batch, bool),
        }

    def _where(self, node: Int[Array, " b"]):
        """Which rows are at a fixed token, in a free slot, in a trie; the number of the slot and of the trie's state."""
        f, k = self.fixed.shape[0], self.limits.shape[0]
        fixed, free, choice = node < f, (node >= f) & (node < f + k), (node >= f + k) & (node < self.end)
        return fixed, free, choice, jnp.clip(node - f, 0, k - 1), jnp.clip(node - f - k, 0, len(self.trie_tokens) - 1)

    def allowed(self, state: dict[str, Any], vocab: int) -> Bool[Array, "b v"]:
        """Which tokens the model may choose at each row's node; at a fixed token it is not asked."""
        _, free, choice, slot, trie = self._where(state["node"])
        opening = (self.kinds[slot] == GOES_ON) & ~self.blank[None]  # no slot is empty or blank
        possible = self.trie_tokens[trie]
        rows = jnp.arange(len(slot))[:, None]
        options = jnp.zeros((len(slot), vocab), bool)
        options = options.at[rows, jnp.where(possible < 0, vocab, possible)].set(True, mode="drop")
        return jnp.where(choice[:, None], options, jnp.where((free & ~state["wrote"])[:, None], opening, True))

    def advance(self, state: dict[str, Any], token: Int[Array, " b"], caps: Int[Array, "b k"] | None = None):
        """(the token that is written, its slot or `FIXED`, the state after it) from the token that the model chose.

        caps: the most tokens of each free slot, row by row, where that is less than its limit.
        """
        node, count = state["node"], state["count"]
        fixed, free, choice, slot, trie = self._where(node)
        limit = self.limits[slot]
        if caps is not None:
            limit = jnp.minimum(limit, jnp.take_along_axis(caps, slot[:, None], axis=1)[:, 0])
        kind = jnp.where(count >= limit, ENDS, self.kinds[slot, token])
        closes = free & (kind == ENDS)
        forced = fixed | closes  # a fixed token also stands in place of the token that ends a slot
        at = jnp.where(closes, self.closing[slot, 0], jnp.where(fixed, node, 0))
        written = jnp.where(forced, self.fixed[at], token)
        edge = self.trie_tokens[trie] == token[:, None]
        option = jnp.sum(jnp.where(edge, self.trie_following[trie], 0), axis=1)
        in_slot = jnp.where(kind == ENDS_AFTER, self.closing[slot, 1], node)
        then = jnp.where(forced, self.after_fixed[at], jnp.where(free, in_slot, jnp.where(choice, option, node)))
        same = free & (then == node)
        after = {
            "node": then,
            "count": jnp.where(same, count + 1, 0),
            "wrote": same & (state["wrote"] | ~self.blank[token]),
        }
        return written, jnp.where(forced, FIXED, self.slot_of_node[node]), after

    def certain(self, state: dict[str, Any]) -> tuple[Bool[Array, " b"], Int[Array, " b"]]:
        """Whether a row's next token is known before the model is asked, and a choice that `advance` makes this token of.

        It is a fixed one, or the only one with which the options of a slot go on.
        """
        fixed, _, choice, _, trie = self._where(state["node"])
        possible = self.trie_tokens[trie]
        return fixed | (choice & ((possible >= 0).sum(axis=1) == 1)), possible.max(axis=1)

    # ------------------------------------------------------------------------------------------------ its nodes

    def node_after(self, slot: int) -> int:
        """The node that follows a slot, by its number: where a form goes on whose slots up to this one are filled."""
        f, k = self.fixed.shape[0], self.limits.shape[0]
        own = np.flatnonzero(np.asarray(self.slot_of_node) == slot)
        if own[0] < f + k:
            return int(self.closing[own[0] - f, 0])
        following = np.asarray(self.trie_following)[own - f - k]
        written = np.asarray(self.trie_tokens)[own - f - k] >= 0
        return int(next(node for node in following[written] if node not in own))

    def words_at(self, node: int) -> tuple[list[int], int]:
        """The fixed tokens that a node begins, and the node behind them."""
        fixed, after, tokens = np.asarray(self.fixed), np.asarray(self.after_fixed), []
        while node < len(fixed):
            tokens.append(int(fixed[node]))
            node = int(after[node])
        return tokens, node

    def free_slot(self, slot: int) -> int:
        """The place of a free slot, by its number, among the free slots (an axis of `caps`)."""
        f = self.fixed.shape[0]
        return int(np.flatnonzero(np.asarray(self.slot_of_node) == slot)[0]) - f

    @staticmethod
    def beside(forms: Sequence[Form]) -> tuple[Form, tuple[int, ...], tuple[int, ...]]:
        """One form that holds several, so that rows of one batch can fill different ones.

        Returns the form, and of each of the forms the node with which it begins and the number of its first slot.
        """
        f, k, s = (
            np.cumsum([0, *(size(form) for form in forms)])
            for size in (
                lambda form: form.fixed.shape[0],
                lambda form: form.limits.shape[0],
                lambda form: form.trie_tokens.shape[0],
            )
        )
        names = np.cumsum([0, *(len(form.names) for form in forms)])
        end = int(f[-1] + k[-1] + s[-1])
        edges = max(form.trie_tokens.shape[1] for form in forms)
        slot_of_node = np.full(end + 1, FIXED)

        def moved(number: int, nodes) -> np.ndarray:
            form, nodes = forms[number], np.asarray(nodes)
            own_f, own_k = form.fixed.shape[0], form.limits.shape[0]
            fixed, free = f[number] + nodes, f[-1] + k[number] + nodes - own_f
            trie = f[-1] + k[-1] + s[number] + nodes - own_f - own_k
            inner = np.where(nodes < own_f, fixed, np.where(nodes < own_f + own_k, free, trie))
            return np.where(nodes == form.end, end, inner)

        def padded(array, value: int) -> np.ndarray:
            array = np.asarray(array)
            return np.pad(array, ((0, 0), (0, edges - array.shape[1])), constant_values=value)

        for number, form in enumerate(forms):
            own = np.asarray(form.slot_of_node)[: form.end]
            slot_of_node[moved(number, np.arange(form.end))] = np.where(own < 0, FIXED, own + names[number])
        joined = Form(
            names=tuple(name for form in forms for name in form.names),
            longest=max(form.longest for form in forms),
            first=int(moved(0, forms[0].first)),
            fixed=jnp.concatenate([form.fixed for form in forms]),
            after_fixed=jnp.asarray(
                np.concatenate([moved(n, form.after_fixed) for n, form in enumerate(forms)]), jnp.int32
            ),
            slot_of_node=jnp.asarray(slot_of_node, jnp.int32),
            limits=jnp.concatenate([form.limits for form in forms]),
            kinds=jnp.concatenate([form.kinds for form in forms]),
            blank=forms[0].blank,
            closing=jnp.asarray(np.concatenate([moved(n, form.closing) for n, form in enumerate(forms)]), jnp.int32),
            trie_tokens=jnp.asarray(np.concatenate([padded(form.trie_tokens, -1) for form in forms]), jnp.int32),
            trie_following=jnp.asarray(
                np.concatenate([padded(moved(n, form.trie_following), end) for n, form in enumerate(forms)]), jnp.int32
            ),
        )
        starts = tuple(int(moved(number, form.first)) for number, form in enumerate(forms))
        return joined, starts, tuple(int(number) for number in names[:-1])

    # ------------------------------------------------------------------------------------------------ from texts

    @classmethod
    def of(cls, tokenizer: Tokenizer, parts: Sequence[Sequence[str | Slot]]) -> Form:
        """A form from its texts.

        Args:
          tokenizer: of the core; its control tokens, and the first token of the form's last words, end any free slot.
          parts: fixed texts and slots; each part is tokenised apart, as training does.

        Raises: UserError where the tokenizer joins a fixed text with what a slot holds, so that no border parts them.
        """
        pieces: list[list[int] | tuple[Slot, list[list[int]]]] = []
        for piece in (piece for part in parts for piece in _tokens(tokenizer, part) if piece != []):
            if isinstance(piece, list) and pieces and isinstance(pieces[-1], list):
                pieces[-1] = [*pieces[-1], *piece]
            else:
                pieces.append(piece)
        for piece, behind in zip(pieces, [*pieces[1:], None]):
            if not isinstance(piece, list) and not isinstance(behind, list):
                raise ValueError(f"no fixed words stand after the slot {piece[0].name!r}")
        free = [piece[0] for piece in pieces if isinstance(piece, tuple) and isinstance(piece[0], Free)]
        if not free:
            raise ValueError("a form needs at least one free slot")
        fixed = [token for piece in pieces if isinstance(piece, list) for token in piece]
        f, k = len(fixed), len(free)
        tries, begins, places = [], [], [0, f, f + k]  # places: the next node of each kind
        for piece in pieces:
            if isinstance(piece, list):
                kind, size = 0, len(piece)
            elif isinstance(piece[0], Free):
                kind, size = 1, 1
            else:
                tries.append(_trie(piece[1]))
                kind, size = 2, len(tries[-1])
            begins.append(places[kind])
            places[kind] += size
        if not tries:
            places[2] += 1  # an array of tries that is never entered
        end = places[2]
        begins.append(end)

        texts = tokenizer.texts()
        ends = np.array([_kind(text) if "\n" in text or "\r" in text else GOES_ON for text in texts], np.int8)
        special = sorted(tokenizer.special_ids)
        after_fixed, slot_of_node = np.arange(1, f + 1), np.full(end + 1, FIXED)
        kinds, closing = np.zeros((k, len(texts)), np.int8), np.zeros((k, 2), int)
        edges = max((len(node) for trie in tries for node in trie), default=1)
        tokens, following = np.full((end - f - k, edges), -1), np.full((end - f - k, edges), end)
        names: list[str] = []
        longest, remaining, last = f, iter(tries), pieces[-1]
        for piece, here, then, after in zip(pieces, begins, begins[1:], [*pieces[1:], []]):
            if isinstance(piece, list):
                after_fixed[here + len(piece) - 1] = then
                continue
            slot, options = piece
            if isinstance(slot, Free):
                if not isinstance(after, list) or not isinstance(last, list):
                    raise ValueError(f"no fixed words stand after the slot {slot.name!r}")
                breaks = "\n" in texts[after[0]] and not texts[after[0]].strip()
                kinds[here - f] = ends
                mark = next(token for token in after if "\n" in texts[token] or texts[token].strip())
                kinds[here - f, [*special, mark, last[0]]] = ENDS
                # Some vocabularies have tokens like ".\n": then the fixed words go on behind their line break.
                closing[here - f] = then, after_fixed[then] if breaks and len(after) > 1 else then
                slot_of_node[here] = len(names)
                longest += slot.limit
            else:
                for number, node in enumerate(next(remaining)):
                    state = here - f - k + number
                    tokens[state, : len(node)] = list(node)
                    following[state, : len(node)] = [then if to < 0 else here + to for to in node.values()]
                    slot_of_node[here + number] = len(names)
                longest += max(map(len, options))
            names.append(slot.name)
        return cls(
            names=tuple(names),
            longest=longest,
            first=begins[0],
            fixed=jnp.asarray(fixed, jnp.int32),
            after_fixed=jnp.asarray(after_fixed, jnp.int32),
            slot_of_node=jnp.asarray(slot_of_node, jnp.int32),
            limits=jnp.asarray([slot.limit for slot in free], jnp.int32),
            kinds=jnp.asarray(kinds),
            blank=jnp.asarray([not text.strip() for text in texts]),
            closing=jnp.asarray(closing, jnp.int32),
            trie_tokens=jnp.asarray(tokens, jnp.int32),
            trie_following=jnp.asarray(following, jnp.int32),
        )


def _kind(text: str) -> int:
    """What a token with this text does to a free slot, which is one line."""
    before, breaks, after = text.replace("\r", "\n").partition("\n")
    if not breaks:
        return GOES_ON
    return ENDS_AFTER if before.strip() and not after.strip() else ENDS


def _trie(options: Sequence[Sequence[int]]) -> list[dict[int, int]]:
    """States of a trie: token → next state, −1 where an option is complete."""
    trie: list[dict[int, int]] = [{}]
    for option in options:
        state = 0
        for token in option[:-1]:
            if trie[state].get(token) == -1:
                raise UserError("one option of a slot begins another one; give options that can be told apart")
            if token not in trie[state]:
                trie.append({})
                trie[state][token] = len(trie) - 1
            state = trie[state][token]
        if trie[state].get(option[-1], -1) != -1:
            raise UserError("one option of a slot begins another one; give options that can be told apart")
        trie[state][option[-1]] = -1
    return trie


def _tokens(tokenizer: Tokenizer, part: Sequence[str | Slot]) -> list:
    """Fixed tokens, and (slot, tokens of each option), of a part of the form, as they stand in the text of the part."""
    texts = [(piece if isinstance(piece, str) else _example(piece), isinstance(piece, str)) for piece in part]
    whole = tokenizer.encode_parts(texts)
    found, done = [], 0
    for place, piece in enumerate(part):
        if isinstance(piece, str):
            continue
        upto = tokenizer.encode_parts(texts[: place + 1])
        before = _before(tokenizer, upto, texts[place][0])
        options = []
        for option in piece.options if isinstance(piece, Choice) else ():
            ids = tokenizer.encode_parts([*texts[:place], (option, False)])
            options.append(ids[before:])
            if ids[:before] != upto[:before] or not options[-1]:
                before = -1
                break
        if whole[: len(upto)] != upto or before < done:
            raise UserError(
                f"the tokenizer joins {texts[place][0]!r} with the words around it; set --config.decoding.form=free"
            )
        found += [whole[done:before], (piece, options)]
        done = len(upto)
    return [*found, whole[done:]]


def _example(slot: Slot) -> str:
    return slot.options[0] if isinstance(slot, Choice) else "a"


def _before(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> int:
    """How many of the ids stand before `text`, with which they end; a blank that is a token of its own stands before."""
    count = len(ids) - 1
    while count > 0 and tokenizer.decode(ids[count:]).strip() != text:
        count -= 1
    return count
