"""Continuous batching says in any company what `generate` says alone, and compiles nothing for the next request."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from empatheia_jax import tiny
from empatheia_jax.conversation import answer, labels
from empatheia_jax.core import slot_programs, slots
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.chatglm import ChatGLM
from empatheia_jax.core.decoding import DecodingSettings, generate
from empatheia_jax.core.form import Choice, Form, Free
from empatheia_jax.core.llama import Llama
from empatheia_jax.core.slots import SlotDecoder

FORCED = (258, 259, 260)
LONGEST_PROMPT = 64


def form_of(tokenizer, *, steps: bool) -> Form:
    """The form of an answer with short slots."""

    def piece(each):
        if isinstance(each, str):
            return each
        return Choice(each.key, labels.EMOTIONS_32) if each.key == answer.EMOTION else Free(each.key, 6)

    return Form.of(tokenizer, [[piece(each) for each in part] for part in answer.form(steps=steps)])


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


@pytest.fixture(scope="module")
def model():
    return tiny.llm()


@pytest.fixture(scope="module")
def added(model):
    return AddedTokens.for_model(model, 34, rngs=nnx.Rngs(4))


@pytest.fixture(scope="module")
def form(tokenizer):
    return form_of(tokenizer, steps=True)


CHOICE = DecodingSettings(
    max_new_tokens=32, temperature=0.9, top_k=40, top_p=0.95, repetition_penalty=1.2, no_repeat_ngram=3,
    banned_ids=(256, 257, *FORCED), forced_ids=FORCED,
)  # fmt: skip


@pytest.fixture(scope="module")
def decoder(model, added, form):
    return SlotDecoder(
        model, added, CHOICE, form=form, longest_prompt=LONGEST_PROMPT, forced=len(FORCED), places=4, chunk=5,
        budget=6, short=128,
    )  # fmt: skip


def prompt(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, random.integers(1, LONGEST_PROMPT))


def embedded(model, ids) -> jax.Array:
    padded = np.zeros((1, LONGEST_PROMPT), np.int32)
    padded[0, : len(ids)] = ids
    return model.embed(jnp.asarray(padded))


@pytest.fixture(scope="module")
def alone(model, added, form):
    """What `generate` writes for a prompt by itself: (tokens, slots, states, states of the forced tokens)."""
    known = {}

    def said(seed: int):
        if seed not in known:
            ids = prompt(seed)
            out = generate(
                model, added, embedded(model, ids), [len(ids)], CHOICE, jax.random.key(seed), form=form,
                prompt_ids=np.full((1, LONGEST_PROMPT), -1),
            )  # fmt: skip
            count = out.lengths[0]
            known[seed] = out.row(0), out.slots[0, :count].tolist(), out.hidden[0, :count], out.forced_hidden[0]
        return known[seed]

    return said


class Written:
    """Collects what a row writes."""

    def __init__(self, seed: int, row: int):
        self.seed, self.row, self.tokens, self.slots, self.hidden = seed, row, [], [], []

    def take(self, wrote) -> bool:
        self.tokens += wrote.tokens.tolist()
        self.slots += wrote.slots.tolist()
        self.hidden += list(wrote.hidden)
        return wrote.ended


def begin(decoder, model, seed: int) -> Written:
    ids = prompt(seed)
    return Written(seed, decoder.admit(embedded(model, ids), len(ids), seed=seed))


def check(decoder, written: Written, alone) -> None:
    tokens, places, hidden, forced = alone(written.seed)
    assert (written.tokens, written.slots) == (tokens, places)
    np.testing.assert_allclose(np.stack(written.hidden), hidden, atol=1e-4)
    keep = len(prompt(written.seed)) + len(tokens)
    np.testing.assert_allclose(decoder.probe(written.row, keep, FORCED), forced, atol=1e-4)


# The seeds repeat, so that few answers are decoded alone; when each begins, and beside whom, is what varies.
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), min_size=1, max_size=9), st.integers(1, 5)
)
def test_an_answer_depends_neither_on_its_neighbours_nor_on_when_it_came(decoder, model, alone, arrivals, steps):
    """arrivals: (prompt, chunks to wait before it comes, whether it is cancelled half-way)."""
    waiting, running, finished = list(arrivals), [], 0
    pause = waiting[0][1]
    while waiting or running:
        while waiting and decoder.free and pause <= 0:
            seed, _, cancelled = waiting.pop(0)
            running.append((begin(decoder, model, seed), cancelled))
            pause = waiting[0][1] if waiting else 0
        pause -= 1
        found = {wrote.row: wrote for wrote in decoder.step(steps)}
        for written, cancelled in list(running):
            ended = written.take(found[written.row])
            if ended:
                check(decoder, written, alone)
            if ended or (cancelled and len(written.tokens) > 20):
                decoder.drop(written.row)
                running.remove((written, cancelled))
                finished += 1
    assert finished == len(arrivals) and decoder.free == decoder.places


def test_what_one_request_compiled_serves_all_others(decoder, model):
    for seed, temperature in ((7, 0.9), (8, 0.0), (9, 1.4)):
        ids = prompt(seed)
        chosen = DecodingSettings(max_new_tokens=9, temperature=temperature, top_p=0.5, top_k=seed)
        if seed == 8:
            before = decoder.compilations
        row = decoder.admit(embedded(model, ids), len(ids), seed=seed, settings=chosen)
        while not decoder.step(5)[0].ended:
            pass
        decoder.probe(row, len(ids), FORCED)
        decoder.drop(row)
    assert decoder.compilations == before


@pytest.mark.parametrize("place", ["device", "mesh"])
def test_the_second_answer_of_weights_that_are_bound_to_a_device_compiles_nothing(model, place):
    device = jax.devices()[0]
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=[device])
    bound = jax.device_put(nnx.state(model), device if place == "device" else NamedSharding(mesh, PartitionSpec()))
    model = nnx.merge(nnx.graphdef(model), bound)
    decoder = SlotDecoder(
        model, None, DecodingSettings(4), form=None, longest_prompt=LONGEST_PROMPT, forced=2, places=1, chunk=2
    )

    def answer(seed: int) -> int:
        row = decoder.admit(embedded(model, prompt(seed)), len(prompt(seed)), seed=seed)
        while not decoder.step(2)[0].ended:
            pass
        decoder.probe(row, 3, [1, 2])
        decoder.drop(row)
        return decoder.compilations

    first = answer(1)
    assert answer(2) == first
    decoder.reset()  # as after a step that failed
    assert answer(3) == first


def test_rows_stay_what_they_are_while_the_cache_becomes_larger_and_smaller(decoder, model, alone):
    """The short cache holds three prompts and the beginnings of their answers, which grow out of it; then come three others."""
    running, begun, sizes = [], 0, []
    while begun < 6 or running:
        while begun < 6 and (begun % 3 or not running):
            running.append(begin(decoder, model, begun))
            begun += 1
        found = {wrote.row: wrote for wrote in decoder.step(5)}
        if not sizes or sizes[-1] != decoder._cache.slots:
            sizes.append(decoder._cache.slots)
        for written in list(running):
            if written.take(found[written.row]):
                check(decoder, written, alone)
                decoder.drop(written.row)
                running.remove(written)
    assert sizes == [128, decoder.slots] * 2


def test_rows_together_share_the_places_of_a_pass_and_lose_nothing(decoder, model, alone, tokenizer, monkeypatch):
    """All four are at the form's first words, and a pass has two places more than rows."""
    monkeypatch.setattr(Form, "words_at", lambda form, node: ([], node))  # which are then not read with the prompts
    rows = [begin(decoder, model, seed) for seed in (5, 1, 2, 4)]
    first = decoder.step(1)
    assert [len(wrote.tokens) for wrote in first] == [2, 2, 1, 1]
    assert {tokenizer.decode(wrote.tokens) for wrote in first} == {"St", "S"}
    passes, ended = 1, [written.take(wrote) for written, wrote in zip(rows, first)]
    while not all(ended):
        passes += 1
        found = {wrote.row: wrote for wrote in decoder.step(1)}
        for number, written in enumerate(rows):
            if not ended[number]:
                ended[number] = written.take(found[written.row])
    for written in rows:
        check(decoder, written, alone)
        decoder.drop(written.row)
    tokens = [len(written.tokens) for written in rows]
    assert sum(tokens) / 6 <= passes < max(tokens)


def test_a_prompt_behind_a_prefix_is_the_whole_prompt_and_a_long_one_finds_room(model, added, form, alone):
    """The second prompt is longer than all that stands before the slot which the first one writes to by then."""
    decoder = SlotDecoder(
        model, added, CHOICE, form=form, longest_prompt=128, longest_prefix=7, forced=len(FORCED), places=2, chunk=3
    )
    first, second = 1, 4
    ids = prompt(first)
    assert len(ids) > 6
    prefix = decoder.read_prefix(embedded(model, ids[:6])[:, :7], 6)  # shorter than the longest
    row = decoder.admit(embedded(model, ids[6:]), len(ids) - 6, prefix=prefix, seed=first)
    running = [Written(first, row)]
    assert not running[0].take(decoder.step(3)[0])
    whole = jnp.pad(embedded(model, prompt(second)), ((0, 0), (0, 64), (0, 0)))
    running.append(Written(second, decoder.admit(whole, len(prompt(second)), seed=second)))
    while running:
        found = {wrote.row: wrote for wrote in decoder.step(3)}
        for written in [each for each in running if each.take(found[each.row])]:
            check(decoder, written, alone)
            decoder.drop(written.row)
            running.remove(written)


@pytest.mark.parametrize("network", ["stacked", "window", "ChatGLM"])
def test_rows_of_other_networks_say_what_each_says_alone(network, form, monkeypatch):
    """Layers in one array, as on a GPU; tokens that see only the latest ones; the other family."""
    if network == "stacked":
        monkeypatch.setattr(slots, "separate_layers", lambda: False)
    networks = {
        "stacked": lambda: Llama(tiny.LLM, rngs=nnx.Rngs(0)),
        "window": lambda: Llama(replace(tiny.LLM, sliding_window=9), rngs=nnx.Rngs(0)),
        "ChatGLM": lambda: ChatGLM(tiny.CHATGLM, rngs=nnx.Rngs(0)),
    }
    other = tiny.made_up(networks[network])
    added = AddedTokens.for_model(other, 34, rngs=nnx.Rngs(4))
    decoder = SlotDecoder(
        other, added, CHOICE, form=form, longest_prompt=LONGEST_PROMPT, forced=len(FORCED), places=2, chunk=5, budget=3,
        short=128,
    )  # fmt: skip
    rows = [begin(decoder, other, seed) for seed in (1, 3)]
    running = list(rows)
    while running:
        found = {wrote.row: wrote for wrote in decoder.step(5)}
        running = [each for each in running if not each.take(found[each.row])]
    for written in rows:
        ids = prompt(written.seed)
        out = generate(
            other, added, embedded(other, ids), [len(ids)], CHOICE, jax.random.key(written.seed), form=form,
            prompt_ids=np.full((1, LONGEST_PROMPT), -1),
        )  # fmt: skip
        assert written.tokens == out.row(0)
        np.testing.assert_allclose(np.stack(written.hidden), out.hidden[0, : out.lengths[0]], atol=1e-4)


def test_the_likeliest_is_the_first_of_the_highest():
    logits = jnp.asarray([[0.0, 2.0, 2.0], [1.0, 1.0, 1.0], [-1.0, -3.0, 0.0], [-jnp.inf] * 3])
    np.testing.assert_array_equal(slot_programs._likeliest(logits), jnp.argmax(logits, axis=-1))
    assert int(slot_programs._likeliest(jnp.asarray([[jnp.nan, 0.0]]))[0]) in (0, 1)  # a token, whatever was computed


def test_a_row_may_begin_within_the_form_and_have_a_shorter_reply(decoder, model, form, tokenizer):
    edited = form.names.index("emotion_cause")
    cap = np.full(form.limits.shape[0], slots.UNLIMITED)
    cap[form.free_slot(form.names.index("response"))] = 2
    row = decoder.admit(embedded(model, prompt(3)), 5, node=form.node_after(edited), caps=cap)
    written = Written(3, row)
    while not written.take(decoder.step(5)[0]):
        pass
    decoder.drop(row)
    assert tokenizer.decode(written.tokens).startswith("\nStep-4 goal to response:")
    assert set(written.slots) == {-1, form.names.index("goal_to_response"), form.names.index("response")}
    assert written.slots.count(form.names.index("response")) == 2


def test_a_row_that_ends_ends_the_chunk(decoder, model, form):
    """So that the next prompt need not wait for what the other rows still write in it."""
    cap = np.full(form.limits.shape[0], slots.UNLIMITED)
    cap[form.free_slot(form.names.index("response"))] = 1
    node = form.node_after(form.names.index("goal_to_response"))
    decoder.admit(embedded(model, prompt(3)), 5, node=node, caps=cap)
    other = begin(decoder, model, 1)
    decoder.step(5)
    decoder.step(1)
    wrote = decoder.step(5)  # of which one pass is enough for the first row
    assert wrote[0].ended and not wrote[1].ended
    assert len(wrote[1].tokens) == 1
    for row in (0, other.row):
        decoder.drop(row)


@pytest.mark.parametrize(("seed", "chosen"), [(1, 1), (2, 0)], ids=["with the prompt", "behind a long prompt"])
def test_a_row_alone_reads_the_forms_words_in_one_pass(decoder, model, form, tokenizer, alone, seed, chosen):
    written = begin(decoder, model, seed)
    passes, first = 1, decoder.step(1)[0]
    beginning = len("Step-1 event scenario: ")
    assert tokenizer.decode(first.tokens[:beginning]) == "Step-1 event scenario: "
    assert len(first.tokens) == beginning + chosen
    ended = written.take(first)
    while not ended:
        passes += 1
        ended = written.take(decoder.step(1)[0])
    check(decoder, written, alone)
    decoder.drop(written.row)
    # Of the fixed tokens, the ones behind each slot are read with the token before them.
    assert passes < len(written.tokens) - form.fixed.shape[0] + 6


def test_what_is_certain_is_fixed_or_the_only_option_left(tokenizer):
    form = Form.of(tokenizer, [["a:", Choice("choice", ("xyz", "xw")), " then ", Free("free", 3), "."]])
    assert form.longest_run == len(tokenizer.encode_parts([(" then ", True)]))
    certain_at, state = [], form.start(1)
    for wish in "a:xyz":
        certain, choice = form.certain(state)
        certain_at.append(bool(certain[0]))
        token = tokenizer.encode_parts([(wish, False)])[0]
        # what is certain is written whatever was wished for
        written, _, state = form.advance(state, choice if certain[0] else jnp.asarray([token]))
        assert written[0] == token
    assert certain_at == [True, True, True, False, True]  # behind x stands y or w


def test_forms_beside_each_other_are_filled_as_each_by_itself(tokenizer, form):
    plain = form_of(tokenizer, steps=False)
    both, starts, first_slots = Form.beside([form, plain])
    wishes = np.random.default_rng(0).integers(0, 256, (form.longest, 4))

    def walk(whole: Form, start: int):
        """What is allowed, written and filled when these tokens are wished for, one after the other."""

        @jax.jit
        def step(state, wish):
            allowed = whole.allowed(state, 290)
            token = jnp.where(allowed[jnp.arange(4), wish], wish, jnp.argmax(allowed, axis=1))
            written, slot, state = whole.advance(state, token)
            return state, (allowed, written, slot, whole.filled(state))

        return jax.lax.scan(step, {**whole.start(4), "node": jnp.full(4, start, jnp.int32)}, jnp.asarray(wishes))[1]

    for own, start, first in zip((form, plain), starts, first_slots):
        alone, beside = walk(own, own.first), walk(both, start)
        slot = alone[2]
        for mine, same in zip((*alone[:2], jnp.where(slot < 0, slot, slot + first), alone[3]), beside):
            np.testing.assert_array_equal(mine, same)
        assert alone[3][-1].all()
