"""Decoding: the compiled loop says what a plain loop over whole sequences says, draws what it should, and stops when
told.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax import tiny
from empatheia_jax.core import decoding
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.decoding import Choices, DecodingSettings, bucket, generate
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.core.sampling import Kind, adjust, choose, repeated_ngrams, truncate
from empatheia_jax.core.stop_strings import StopStrings
from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.errors import UserError
from tests.core.test_llama import SOURCE

LENGTHS = [3, 7, 5]


@pytest.fixture(scope="module")
def model():
    return tiny.made_up(lambda: Llama(LlamaConfig.from_source(SOURCE), rngs=nnx.Rngs(3)), seed=3)


@pytest.fixture(scope="module")
def added(model):
    return AddedTokens.for_model(model, 4, rngs=nnx.Rngs(4))


@pytest.fixture(scope="module")
def ids():
    return jnp.asarray(np.random.default_rng(5).integers(0, 61, (3, 7)))


@pytest.fixture(scope="module")
def whole(model, added):
    """Logits and hidden states of one whole sequence, without any cache."""
    graphs, states = zip(nnx.split(model), nnx.split(added))

    @jax.jit
    def run(states, ids):
        network, rows = nnx.merge(graphs[0], states[0]), nnx.merge(graphs[1], states[1])
        hidden = network(rows.embed(network, ids)).hidden
        return rows.logits(network, hidden), hidden

    def padded(sequence):
        ids = np.zeros((1, 32), np.int32)
        ids[0, : len(sequence)] = sequence
        logits, hidden = run(states, jnp.asarray(ids))
        return np.asarray(logits[0, : len(sequence)]), np.asarray(hidden[0, : len(sequence)])

    return padded


def run(model, added, ids, **settings):
    extra = {k: settings.pop(k) for k in ("rng", "on_token", "choices", "prompt_ids") if k in settings}
    settings = DecodingSettings(**({"max_new_tokens": 9} | settings))
    return generate(model, added, model.embed(ids), LENGTHS, settings, **extra)


def plain_greedy(whole, prompt, steps):
    sequence = list(prompt)
    for _ in range(steps):
        sequence.append(int(whole(sequence)[0][-1].argmax()))
    return sequence


def test_greedy_rows_of_unequal_length_equal_a_plain_loop_and_so_do_their_states(model, added, ids, whole):
    out = run(model, added, ids)
    assert out.tokens.shape == (3, 9) and out.lengths.tolist() == [9, 9, 9]
    for row, length in enumerate(LENGTHS):
        sequence = plain_greedy(whole, ids[row, :length].tolist(), 9)
        assert out.row(row) == sequence[length:]
        np.testing.assert_allclose(out.hidden[row], whole(sequence)[1][length:], atol=1e-5)


def test_a_row_ends_after_its_stop_token_and_forced_tokens_follow_right_there(model, added, ids, whole):
    free = run(model, added, ids)
    stop = free.row(1)[2]
    forced = (61, 62, 64)
    out = run(model, added, ids, stop_ids=(stop,), forced_ids=forced)
    assert out.row(1) == free.row(1)[: free.row(1).index(stop) + 1]
    assert len(set(out.lengths.tolist())) > 1
    for row, length in enumerate(LENGTHS):
        sequence = ids[row, :length].tolist() + out.row(row) + list(forced)
        np.testing.assert_allclose(out.forced_hidden[row], whole(sequence)[1][-3:], atol=1e-5)
        np.testing.assert_allclose(out.hidden[row, : out.lengths[row]], whole(sequence)[1][length:-3], atol=1e-5)
        assert not out.hidden[row, out.lengths[row] :].any() and (out.tokens[row, out.lengths[row] :] == -1).all()


def test_one_program_is_compiled_per_bucket_whatever_the_numbers(model, ids):
    decoding._go_on.clear_cache()
    key = jax.random.key(0)
    for length, temperature in ((3, 0.7), (5, 0.9), (7, 1.3)):
        settings = DecodingSettings(max_new_tokens=length, temperature=temperature, top_p=0.5 + length / 100)
        generate(model, None, model.embed(ids), [length] * 3, settings, key)
    assert decoding._go_on._cache_size() == 1
    longer = jnp.tile(ids, (1, 10))
    generate(model, None, model.embed(longer), [70] * 3, settings, key)
    generate(model, None, model.embed(longer), [69, 3, 66], settings, key)
    assert decoding._go_on._cache_size() == 2


def test_buckets_waste_less_than_half_of_their_length():
    assert [bucket(n) for n in (1, 64, 65, 96, 97, 129, 500)] == [64, 64, 96, 96, 128, 192, 512]
    assert all(n <= bucket(n) < 1.5 * n for n in range(64, 3000))


def test_draws_follow_the_distribution():
    logits = jnp.log(jnp.asarray([0.5, 0.25, 0.15, 0.1]))
    many = jnp.broadcast_to(logits, (20000, 4))

    def frequencies(temperature=1.0, **kind):
        kind = Kind(True, **({"top_k": 0, "top_p": False, "penalty": False, "ngram": 0} | kind))
        drawn = choose(many, kind, jax.random.key(0), jnp.asarray(temperature), jnp.asarray(0.7))
        return np.bincount(drawn, minlength=4) / 20000

    np.testing.assert_allclose(frequencies(), [0.5, 0.25, 0.15, 0.1], atol=0.015)
    squared = np.square([0.5, 0.25, 0.15, 0.1])
    np.testing.assert_allclose(frequencies(0.5), squared / squared.sum(), atol=0.015)
    np.testing.assert_allclose(frequencies(top_k=3), np.asarray([0.5, 0.25, 0.15, 0]) / 0.9, atol=0.015)
    np.testing.assert_allclose(frequencies(top_p=True), np.asarray([0.5, 0.25, 0, 0]) / 0.75, atol=0.015)


def test_a_drawn_sequence_is_repeatable_and_another_key_gives_another(model, added, ids):
    one, same, other = (run(model, added, ids, temperature=1.5, rng=jax.random.key(k)).tokens for k in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-37, 1e-40])
def test_next_to_no_temperature_is_greedy(temperature):
    """Below what float32 holds, a quotient by it would be infinite for every positive logit."""
    logits, kind = jnp.asarray([[1.0, 25.0, 30.0, -3.0]]), Kind(True, 0, True, False, 0)
    drawn = choose(logits, kind, jax.random.key(0), jnp.float32(temperature), jnp.float32(0.9))
    assert drawn.tolist() == [2]


def test_top_p_keeps_the_likeliest_even_when_it_alone_is_enough():
    kind = Kind(True, 0, True, False, 0)
    kept = truncate(jnp.asarray([[3.0, 0.0, 0.0]]), kind, jnp.asarray(0.01))
    assert (kept > -1e30).tolist() == [[True, False, False]]


def test_the_repetition_penalty_divides_positive_and_multiplies_negative_logits(model, added, ids):
    kind = Kind(False, 0, False, True, 0)
    seen = jnp.asarray([[True, True, False]])
    out = adjust(jnp.asarray([[2.0, -2.0, 1.0]]), kind, penalty=jnp.asarray(4.0), seen=seen)
    np.testing.assert_allclose(out, [[0.5, -8.0, 1.0]])
    strong = run(model, added, ids, repetition_penalty=1e6, prompt_ids=ids)
    for row, length in enumerate(LENGTHS):
        used = ids[row, :length].tolist() + strong.row(row)
        assert len(set(strong.row(row))) == 9 and not set(strong.row(row)) & set(used[:length])


def test_no_ngram_occurs_twice(model, added, ids):
    history = jnp.asarray([[1, 2, 3, 1, 2, 0, 0]])
    assert np.flatnonzero(repeated_ngrams(history, jnp.asarray([5]), 3, 6)[0]).tolist() == [3]
    free, held = (run(model, added, ids, max_new_tokens=40, no_repeat_ngram=n) for n in (0, 2))

    def repeats(tokens):
        pairs = list(zip(tokens, tokens[1:]))
        return len(pairs) - len(set(pairs))

    assert sum(repeats(free.row(r)) for r in range(3)) > 0
    assert sum(repeats(held.row(r)) for r in range(3)) == 0


def test_banned_tokens_never_occur(model, added, ids):
    banned = tuple(range(61, 65)) + tuple(run(model, added, ids).tokens[:, 0].tolist())
    assert not set(run(model, added, ids, banned_ids=banned).tokens.ravel().tolist()) & set(banned)


def test_tokens_are_streamed_as_they_come_and_the_listener_ends_rows(model, added, ids):
    free = run(model, added, ids)
    heard = []

    def listen(tokens, real):
        heard.append(np.where(real, tokens, -1))
        return np.asarray([len(heard) == 2, False, False])

    out = run(model, added, ids, on_token=listen)
    assert out.lengths.tolist() == [2, 9, 9]
    np.testing.assert_array_equal(np.stack(heard, axis=1), out.tokens)
    np.testing.assert_array_equal(out.tokens[1:], free.tokens[1:])


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["one token a call", "many tokens a call"])
def test_how_many_tokens_a_call_takes_changes_nothing(model, added, ids, monkeypatch, seconds):
    """What the device did after a row had ended is taken back: states of the forced tokens included."""
    monkeypatch.setattr(decoding, "CALL_SECONDS", seconds)
    free = run(model, added, ids, max_new_tokens=20, temperature=1.3, rng=jax.random.key(2))
    stop = free.row(1)[7]
    expected = run(
        model,
        added,
        ids,
        max_new_tokens=20,
        temperature=1.3,
        rng=jax.random.key(2),
        stop_ids=(stop,),
        forced_ids=(61, 62),
    )
    assert len(set(expected.lengths.tolist())) > 1

    def listen(tokens, real):
        assert (tokens[real] >= 0).all()
        return tokens == stop

    out = run(
        model,
        added,
        ids,
        max_new_tokens=20,
        temperature=1.3,
        rng=jax.random.key(2),
        on_token=listen,
        forced_ids=(61, 62),
    )
    np.testing.assert_array_equal(out.tokens, expected.tokens)
    np.testing.assert_array_equal(out.lengths, expected.lengths)
    np.testing.assert_allclose(out.hidden, expected.hidden, atol=1e-5)
    np.testing.assert_allclose(out.forced_hidden, expected.forced_hidden, atol=1e-5)


class Letters(Tokenizer):
    """A tokenizer of one letter a token."""

    def __init__(self):
        pass

    def stream(self):
        return self

    def push(self, token):
        return chr(97 + token)


def test_stop_strings_end_a_row_and_their_text_is_not_passed_on():
    said = []
    listener = StopStrings(Letters(), 1, ["cd"], lambda row, text: said.append(text))
    ends = [bool(listener(np.asarray([ord(c) - 97]), np.asarray([True]))[0]) for c in "abccd"]
    listener.finish()
    assert ends == [False, False, False, False, True]
    assert said == ["a", "b", "c"] and listener.text(0) == "abc"


def test_text_that_only_looked_like_a_stop_string_is_passed_on_late():
    said = []
    listener = StopStrings(Letters(), 1, ["cd"], lambda row, text: said.append(text))
    for c in "ac":
        listener(np.asarray([ord(c) - 97]), np.asarray([True]))
    assert said == ["a"]
    listener.finish()
    assert said == ["a", "c"]


def test_after_the_trigger_only_options_are_possible_and_then_all_is_free_again(model, added, ids):
    free = run(model, added, ids)
    trigger = free.row(0)[1:3]
    options = [[7, 8, 9], [7, 10, 11, 12]]
    out = run(model, added, ids, choices=Choices.of([trigger], options))
    assert out.row(0)[:3] == free.row(0)[:3]
    assert any(out.row(0)[3 : 3 + len(option)] == option for option in options)
    untouched = [r for r in (1, 2) if trigger not in [free.row(r)[i : i + 2] for i in range(8)]]
    for row in untouched:
        assert out.row(row) == free.row(row)
    assert out.lengths.tolist() == [9, 9, 9]


def test_an_option_that_begins_another_is_refused():
    with pytest.raises(UserError, match="beginning"):
        Choices.of([[1]], [[2, 3], [2, 3, 4]])
    with pytest.raises(UserError, match="beginning"):
        Choices.of([[1]], [[2, 3, 4], [2, 3]])


def test_a_prompt_without_tokens_or_draws_without_a_key_are_refused(model, ids):
    with pytest.raises(UserError, match="lengths"):
        generate(model, None, model.embed(ids), [0, 3, 3], DecodingSettings(4))
    with pytest.raises(UserError, match="key"):
        generate(model, None, model.embed(ids), LENGTHS, DecodingSettings(4, temperature=1.0))
    with pytest.raises(UserError, match="top_p=1.5"):
        DecodingSettings(4, top_p=1.5)
