"""Continuous batching: several answers are decoded together, and a row whose answer ends takes the next prompt at once.

A batch has a fixed number of rows over one fixed cache. Decoding runs in *chunks* of a few tokens; between two of them the host
reads what was written, lets rows go and fills them again. Every row writes to the cache right behind its own tokens, so that
nothing lies between them, and nothing has to be moved when a row is filled again. Tokens with which many prompts begin are
read once (`read_prefix`); `admit` reads what follows them.
Every number of a row (key of the draws, temperature, …) is its own, so that what a row says depends neither on its neighbours
nor on when it came, up to the roundings of matrix products of another height.

The fixed words of a form are known before the model is asked, and are read in one pass with the token that the model chose
before them; the first ones with the prompt, where its padding has room. Several rows are seldom at such a place together. So
their pass has room for a few more tokens than rows, which go to those that have certain words next; what does not fit waits
for the next pass.

One program is compiled per number of rows and chunk, one per length of prompts, and one for each of the rest. Which settings
requests have compiles nothing. For networks that keep a `KVCache` (`CausalLM` and its families).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from empatheia_jax.core import slot_programs
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.causal import CausalLM
from empatheia_jax.core.form import FIXED, Form
from empatheia_jax.core.outputs import KVCache
from empatheia_jax.core.sampling import DecodingSettings, Kind
from empatheia_jax.core.slot_programs import Rows
from empatheia_jax.nn.platform import separate_layers
from empatheia_jax.nn.programs import Program
from empatheia_jax.nn.stack import unstack_in_place

SMALLEST_PROMPT = 40
AHEAD = 4
"""The most tokens of a row in a pass over several rows."""
UNLIMITED = 2**30


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
      model, added: the core and the rows of the added tokens, as in `decoding.generate`.
      settings: what rows are decoded with unless `admit` says otherwise. `no_repeat_ngram` and the sets of ids are the same for
        all rows. `max_new_tokens` bounds an answer where there is no form.
      form: as in `decoding.generate`; a row may begin at any of its nodes.
      longest_prompt: tokens, those of a prefix not counted.
      longest_prefix: tokens that `read_prefix` may be given.
      forced: the most tokens that `probe` is given.
      places: rows. chunk: the most tokens of a chunk.
      budget: the most tokens of a pass over several rows, of all of them together; at least one for each is taken.
      short: slots of each row in the cache of several rows, as long as none of them needs more.
    """

    def __init__(
        self,
        model: CausalLM,
        added: AddedTokens | None,
        settings: DecodingSettings,
        *,
        form: Form | None,
        longest_prompt: int,
        longest_prefix: int = 0,
        forced: int,
        places: int = 8,
        chunk: int = 8,
        budget: int = 16,
        short: int = 256,
    ):
        self.places, self.chunk, self.form, self.settings = places, chunk, form, settings
        self.prompt_sizes = prompt_sizes(longest_prompt)
        self.prefix_size = longest_prefix
        longest = settings.max_new_tokens if form is None else form.longest
        # Of one pass: tokens of a row, and of all rows; by the number of rows that a program is for.
        alone, together = (1, 1) if form is None else (1 + form.longest_run, min(AHEAD, 1 + form.longest_run))
        self._passes = {1: (alone, alone)}
        if places > 1:
            self._passes[places] = together, min(max(budget, places), places * together)
        self._needs = chunk + alone  # the most slots that a row fills, or overwrites, in a chunk
        self.slots = longest_prefix + self.prompt_sizes[-1] + longest + max(self._needs, forced)
        self._short = min(short, self.slots)
        self.vocab = model.config.vocab_size + (added.count if added is not None else 0)
        graph, state = nnx.split(model)
        added_graph, added_state = nnx.split(added) if added is not None else (None, None)
        self._states = (state, added_state)
        self._separate = separate_layers()
        self._place, layers = _place(state), model.config.num_layers
        self._weights = unstack_in_place(model.layers, layers, self._place) if self._separate else None
        # One answer alone has a program of its own, which does not compute the other rows; each program takes long to compile.
        self.sizes = tuple(self._passes)
        banned = np.zeros(self.vocab, bool)
        banned[list(settings.banned_ids)] = True
        self._stops = jnp.asarray(settings.stop_ids, jnp.int32)
        self._banned = jnp.asarray(banned) if banned.any() else None
        graphs, kind = (graph, added_graph), replace(Kind.of(settings), draws=True, penalty=True)
        self._admit = Program(slot_programs.admit, graphs, self._separate, self.slots, donate=(2,))
        self._read_prefix = Program(slot_programs.read_prefix, graph, self._separate)
        self._chunk = Program(
            slot_programs.chunk, graphs, kind, chunk, static=("size", "ahead", "budget"), donate=(2, 3)
        )
        self._probe = Program(slot_programs.probe, graphs)
        self._row_of = Program(slot_programs.row_of, static=("slots",))
        self._with_row = Program(slot_programs.with_row, donate=(0,))
        self._resized = Program(slot_programs.resized, static=("slots",))
        self._longest_ngram = longest + chunk + alone + kind.ngram
        self._sizes_of = model.config, model.dtype
        self._made_empty = jax.jit(self._empty, out_shardings=self._place)  # one program instead of one for every array
        self._no_prefix = jax.jit(self._empty_prefix, out_shardings=self._place)()
        self.reset()

    def reset(self) -> None:
        """Lets all rows go and makes them anew, after a step that failed in the middle."""
        self._rows, self._cache = self._made_empty()
        # the first row's part of the cache while it decodes alone, newer than `_cache`
        self._single: KVCache | None = None
        self._lengths = [0] * self.places  # tokens of each row
        # the form's words that were read with a row's prompt and are not told yet, and the states at them
        self._read: dict[int, tuple[list[int], Array]] = {}
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
        cache = KVCache.empty(c.num_layers, b, self._short, c.num_kv_heads, c.head_dim, dtype)
        cache = replace(cache, index=zeros())
        return rows, slot_programs.by_layers(cache) if self._separate else cache

    def _empty_prefix(self) -> KVCache:
        c, dtype = self._sizes_of
        empty = KVCache.empty(c.num_layers, 1, self.prefix_size, c.num_kv_heads, c.head_dim, dtype)
        return slot_programs.by_layers(empty) if self._separate else empty

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
        own = (
            self._admit,
            self._read_prefix,
            self._chunk,
            self._probe,
            self._row_of,
            self._with_row,
            self._resized,
        )
        return sum(each.compilations for each in own)

    def prompt_size(self, length: int) -> int:
        """To how many tokens a prompt is padded. Raises `ValueError` where it is too long."""
        fitting = [size for size in self.prompt_sizes if size >= length]
        if not fitting:
            raise ValueError(f"a prompt of {length} tokens; expected at most {self.prompt_sizes[-1]}")
        return fitting[0]

    def read_prefix(self, embeds: Float[Array, "1 t d"], length: int) -> KVCache:
        """Reads tokens with which many prompts begin, for `admit`.

        Args:
          embeds: the tokens, embedded and padded to `prefix_size`.
          length: how many they are.
        """
        found = self._read_prefix(self._states[0], embeds, np.int32(length))
        return found if self._place is None else jax.device_put(found, self._place)  # bound as the one of no tokens is

    def admit(
        self,
        embeds: Float[Array, "1 t d"],
        length: int,
        *,
        prefix: KVCache | None = None,
        seed: int = 0,
        node: int | None = None,
        settings: DecodingSettings | None = None,
        caps: Int[np.ndarray, " k"] | None = None,
    ) -> int:
        """Fills a free row with a prompt; the number of the row.

        Args:
          embeds: the prompt, embedded and padded to a size of `prompt_sizes`.
          length: its tokens.
          prefix: what stands before them, from `read_prefix`; None = nothing.
          seed: of its draws: those of `decoding.generate` with `rng=jax.random.key(seed)` and this prompt alone.
          node: of the form, where it begins; None = at its beginning.
          settings: numbers of the choice of tokens; what is the same for all rows is not looked at.
          caps: the most tokens of each free slot of the form; None = as the form says.
        """
        row = self._free.pop(0)  # the lowest: few rows are the first ones
        words: list[int] = []
        if self.form is not None:
            node = self.form.first if node is None else node
            found, behind = self.form.words_at(node)
            if length + len(found) <= embeds.shape[1]:
                words, node = found, behind
        padded = np.zeros(self._passes[1][0] - 1, np.int32)  # the form's longest run of words
        padded[: len(words)] = words
        chosen = settings or self.settings
        k = self._rows.caps.shape[1]
        numbers: dict[str, Any] = {
            "real": True,
            "count": len(words),
            "limit": UNLIMITED if self.form is not None else min(chosen.max_new_tokens, self.settings.max_new_tokens),
            "caps": np.full(k, UNLIMITED, np.int32) if caps is None else np.asarray(caps, np.int32),
            "temperature": chosen.temperature,
            "top_k": chosen.top_k,
            "top_p": chosen.top_p,
            "penalty": chosen.repetition_penalty,
            "ngram": bool(chosen.no_repeat_ngram),
        }
        if self.form is not None:
            numbers["node"] = node
        numbers = {name: np.asarray(value, _DTYPES.get(name)) for name, value in numbers.items()}
        self._rows, own, read = self._admit(
            self._states,
            self._weights if self.prefix_size else None,
            self._rows,
            self._no_prefix if prefix is None else prefix,
            embeds,
            np.int32(length),
            padded,
            np.int32(row),
            jax.random.key(seed),
            numbers,
        )
        self._lengths[row] = length + len(words) + (0 if prefix is None else int(prefix.index))
        self._read[row] = words, read
        if self.active == 1:  # then it is the first row
            self._single = own
        else:
            self._together()
            self._make_room()
            self._cache = self._with_row(self._cache, own, np.int32(row))
        return row

    def drop(self, row: int) -> None:
        """Lets a row go: it is free, and what it would still write is not."""
        if row not in self._free:
            self._free = sorted([*self._free, row])

    def step(self, steps: int) -> list[Wrote]:
        """Writes about `steps` tokens (at most a chunk) in every row that holds an answer: more where the form's fixed words
        stand behind them, fewer where another row has more of these.
        """
        taken = [row for row in range(self.places) if row not in self._free]
        if not taken:
            return []
        size = next(size for size in self.sizes if size > taken[-1])
        alive = np.asarray([row in taken for row in range(self.places)])
        if size > 1:
            self._together()
            self._make_room()
        elif self._single is None:
            self._single = self._row_of(self._cache, np.int32(0), slots=self.slots)
        ahead, budget = self._passes[size]
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
            ahead=ahead,
            budget=budget,
        )
        if self._single is None:
            self._cache = cache
        else:
            self._single = cache
        tokens, slots, hidden, real = jax.device_get(out)
        found = []
        for row in taken:
            there = tokens[row] >= 0
            self._lengths[row] += int(there.sum())
            words, states = self._read.pop(row, ([], hidden[row, :0]))
            found.append(
                Wrote(
                    row,
                    np.concatenate([np.asarray(words, np.int32), tokens[row, there]]),
                    np.concatenate([np.full(len(words), FIXED, np.int8), slots[row, there]]),
                    np.concatenate([states[: len(words)], hidden[row, there]]).astype(np.float32),
                    not real[row],
                )
            )
        return found

    def _together(self) -> None:
        """Puts the first row's part back into the cache of all rows. While it decodes alone, its part is an array of its own, so
        that no chunk has to take it out and put it back.
        """
        if self._single is not None:
            self._make_room()
            self._cache, self._single = self._with_row(self._cache, self._single, np.int32(0)), None

    def _make_room(self) -> None:
        """Gives the cache of all rows few slots where they hold what a chunk writes behind the longest row, else all.

        Attention reads every slot: of many slots and several rows it takes half as long as the layers' weights.
        """
        longest = max((length for row, length in enumerate(self._lengths) if row not in self._free), default=0)
        slots = self._short if longest + self._needs <= self._short else self.slots
        if slots != self._cache.slots:
            self._cache = self._resized(self._cache, slots=slots)

    def probe(self, row: int, keep: int, ids: Sequence[int]) -> Float[np.ndarray, "n d"]:
        """Final-norm states of further tokens behind the first `keep` ones of a row (prompt and answer together), as though
        nothing came after these. The row stays as it is.
        """
        own = self._single
        if own is None or row > 0:
            own = self._row_of(self._cache, np.int32(row), slots=self.slots)
        hidden = self._probe(self._states, self._weights, own, np.asarray(ids, np.int32), np.int32(keep))
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
