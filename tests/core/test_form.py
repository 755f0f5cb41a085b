"""A form is filled by any network, however untrained: fixed words by force, options from their list, slots within bounds."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx

from empatheia_jax import assemble, tiny
from empatheia_jax.conversation import answer, labels
from empatheia_jax.core.decoding import DecodingSettings, generate
from empatheia_jax.core.form import ENDS, FIXED, Choice, Form, Free
from empatheia_jax.core.stop_strings import StopStrings
from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.errors import UserError
from tests.tokenizers_of_families import FAMILIES, tokenizer_of

LIMIT = 5
KINDS = {kind: sizes for kind, sizes in tiny.CORES.values()}


def form_of(tokenizer, steps=True) -> Form:
    def slot(piece):
        if isinstance(piece, str):
            return piece
        return Choice(piece.key, labels.EMOTIONS_32) if piece.key == answer.EMOTION else Free(piece.key, LIMIT)

    return Form.of(tokenizer, [[slot(piece) for piece in part] for part in answer.form(steps=steps)])


@pytest.fixture(scope="module", params=list(KINDS))
def core(request):
    kind, sizes = request.param, KINDS[request.param]
    network, _, words = assemble.CORES[kind]
    return tiny.made_up(lambda: network(sizes, rngs=nnx.Rngs(0))), tiny.tokenizer(words)


def decode(core, batch=3, on_token=None, **settings):
    """A form filled by an untrained core of bytes, with rows for the added tokens."""
    from empatheia_jax.core.added_tokens import AddedTokens

    model, tokenizer = core
    added = AddedTokens.for_model(model, len(tokenizer) - tiny.BYTES, rngs=nnx.Rngs(1))
    ids = np.random.default_rng(0).integers(0, 200, (batch, 7))
    embeds = added.embed(model, jax.numpy.asarray(ids))
    lengths = [7 - row % 3 for row in range(batch)]
    return generate(
        model,
        added,
        embeds,
        lengths,
        DecodingSettings(1, **{"temperature": 1.0} | settings),
        jax.random.key(3),
        on_token,
        form=form_of(tokenizer),
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_every_answer_of_an_untrained_core_is_complete_and_can_be_read(core, temperature):
    _, tokenizer = core
    names = form_of(tokenizer).names
    found = decode(core, temperature=temperature)
    for row in range(3):
        text = tokenizer.decode(found.row(row))
        read = answer.parse_reply(text)
        assert read.complete and not read.lacks() and read.speaker_emotion in labels.EMOTIONS_32, text
        slots = found.slots[row, : found.lengths[row]]
        assert sorted(set(slots)) == [FIXED, 0, 1, 2, 3, 4]
        for number, name in enumerate(names):
            ids = [token for token, slot in zip(found.row(row), slots) if slot == number]
            assert tokenizer.decode(ids).strip() == getattr(read, name)
            assert name == answer.EMOTION or 1 <= len(ids) <= LIMIT
    assert np.isfinite(found.hidden).all() and np.abs(found.hidden[0, : found.lengths[0]]).min(axis=-1).max() > 0


def test_each_row_is_filled_as_if_it_were_alone_and_streaming_changes_nothing(core):
    _, tokenizer = core
    pieces = {}
    listen = StopStrings(tokenizer, 3, (answer.END,), lambda row, text: pieces.setdefault(row, []).append(text))
    together, streamed = decode(core, temperature=0.0), decode(core, temperature=0.0, on_token=listen)
    listen.finish()
    np.testing.assert_array_equal(together.tokens, streamed.tokens)
    alone = decode(core, batch=1, temperature=0.0)
    assert alone.row(0) == together.row(0)
    for row in range(3):
        assert "".join(pieces[row]) + answer.END == tokenizer.decode(together.row(row))


def test_the_states_are_those_at_the_tokens_that_were_written(core):
    """Forced and chosen tokens alike: reading the filled form again gives the same states."""
    model, _ = core
    found = decode(core, batch=1, temperature=0.0, forced_ids=(tiny.BYTES + 2, tiny.BYTES + 3))
    assert found.forced_hidden.shape[1] == 2 and found.hidden.shape[1] == found.lengths[0]
    assert (np.abs(found.hidden[0]).max(axis=-1) > 0).all()


def test_penalty_and_ngram_ban_count_the_slots_alone(core):
    """The titles repeat each other's letters; a ban over them would change the slots."""
    free = decode(core, temperature=0.0)
    banned = decode(core, temperature=0.0, no_repeat_ngram=2, repetition_penalty=1.3)
    for row in range(3):
        fixed = free.slots[row, : free.lengths[row]] == FIXED
        assert [t for t, f in zip(free.row(row), fixed) if f] == [
            t for t, s in zip(banned.row(row), banned.slots[row]) if s == FIXED
        ]
        for slot in (0, 2, 3, 4):  # options are a constraint, which wins over a ban
            pairs = []
            for number in (0, 2, 3, 4):
                ids = [t for t, s in zip(banned.row(row), banned.slots[row]) if s == number]
                pairs += list(zip(ids, ids[1:]))
            assert len(pairs) == len(set(pairs)), slot


@pytest.mark.parametrize("steps", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_fixed_tokens_are_those_of_training(family, steps):
    """A form filled with a chain and a reply has the tokens of the target that is learnt."""
    tokenizer = tokenizer_of(family)
    form = form_of(tokenizer, steps)
    fixed, kinds = np.asarray(form.fixed), np.asarray(form.kinds)
    chain = answer.ChainOfEmpathy("sad", "a day", "a loss", "a word")
    target = [
        token for part in answer.target_parts(chain, "a hug", steps=steps) for token in tokenizer.encode_parts(part)
    ]
    node, at = form.first, 0
    while node != form.end:  # walk along the form: what is fixed must be there, slots go on to what closes them
        if node < len(fixed):
            assert target[at] == fixed[node], (tokenizer.decode(target[:at]), family)
            node, at = int(form.after_fixed[node]), at + 1
        elif node < len(fixed) + len(kinds):
            row = node - len(fixed)
            first = at
            while kinds[row, target[at]] != ENDS:
                at += 1
            assert at > first
            if tokenizer.writes_blanks(target[at - 1]):
                at -= 1  # a lone blank belongs to the words that follow
            node = int(form.closing[row, 0])
        else:
            state = node - len(fixed) - len(kinds)
            options = dict(
                zip(np.asarray(form.trie_tokens[state]).tolist(), np.asarray(form.trie_following[state]).tolist())
            )
            node, at = options[target[at]], at + 1
    assert tokenizer.decode(target[at:]).strip() == ""  # the signal tokens are left


def test_a_line_break_inside_the_last_token_of_a_slot_is_not_written_twice():
    class Letters(Tokenizer):
        """Bytes, and one token that is a full stop with its line break."""

        special_ids = frozenset()

        def __init__(self):
            pass

        def __len__(self):
            return 257

        def encode_parts(self, parts):
            return list("".join(text for text, _ in parts).encode())

        def texts(self):
            return [self.decode([token]) for token in range(len(self))]

        def decode(self, ids):
            return "".join(".\n" if i == 256 else chr(i) for i in ids)

    form = Form.of(Letters(), [["x:", Free("x", 3), "\ny:", Free("y", 3), "!"]])
    written, state = [], form.start(1)
    chosen = iter([0, 0, ord("a"), 256, 0, 0, ord("b"), ord("!"), 0])
    while not bool(form.filled(state)[0]):
        token, _, state = form.advance(state, np.asarray([next(chosen)]))
        written.append(int(token[0]))
    assert Letters().decode(written) == "x:a.\ny:b!"


def test_options_that_cannot_be_told_apart_are_refused():
    with pytest.raises(UserError, match="begins another"):
        Form.of(tiny.tokenizer(), [["x", Choice("c", ("sad", "sadness")), ".", Free("f", 2), "!"]])
