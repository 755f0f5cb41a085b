"""Prompt and target: what is learnt, what is cut, and that an answer is read back."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from data_pipeline import toy
from empatheia_jax.conversation import answer, prompt
from empatheia_jax.conversation.schema import ChainOfEmpathy, Profile, Utterance
from empatheia_jax.errors import UserError
from empatheia_jax.tokens import ADDED_TOKENS
from tests.answers import target
from tests.tokenizers_of_families import FAMILIES, tokenizer_of

CHAIN = ChainOfEmpathy("anxious", "an exam tomorrow", "too little time to study", "calm and encourage")
REPLY = "That sounds stressful: take one chapter at a time."


def text_of(history, **how):
    return "".join(text for text, _ in prompt.prompt_parts(history, **how))


class Words:
    """A tokenizer of words: enough to see where every token lands."""

    frame = ((0,), ())

    def __init__(self):
        self.words = ["<s>", *ADDED_TOKENS]

    def encode_parts(self, parts):
        special = "|".join(map(re.escape, ADDED_TOKENS))
        text = "".join(text for text, _ in parts)
        return [self.token_id(word) for word in re.findall(rf"{special}|</response>|[^\s<\[]+|\n|[<\[]", text)]

    def writes_blanks(self, token):
        return False

    def token_id(self, token):
        if token not in self.words:
            self.words.append(token)
        return self.words.index(token)

    def decode(self, ids):
        return " ".join(self.words[i] for i in ids)


def history(count):
    return [Utterance(i, ("speaker", "listener")[i % 2], f"utterance number {i} ends") for i in range(count)]


def test_the_answer_is_read_back_into_the_fields_it_was_built_from():
    found = answer.parse_reply(target(CHAIN, REPLY))
    assert found.chain == CHAIN and found.response == REPLY and found.complete
    assert found.emotion32 == "anxious"
    plain = answer.parse_reply(target(CHAIN, REPLY, steps=False))
    assert (plain.speaker_emotion, plain.response, plain.chain) == ("anxious", REPLY, None)
    unlabelled = answer.parse_reply(target(None, REPLY))
    assert (unlabelled.speaker_emotion, unlabelled.response) == (None, REPLY)


@pytest.mark.parametrize(
    ("text", "response", "emotion", "complete"),
    [
        ("Just words.", "Just words.", None, False),
        ("Step-1 event scenario: rain\nStep-2 user's emotion: <emo> sad", "", "<emo> sad", False),
        ("Step-2 user's emotion: sad\nStep-5 empathetic response: Oh no.", "Oh no.", "sad", False),
        ("", "", None, False),
        ("Step-5 empathetic response: A</response> B</response>", "A", None, True),
        (
            "Step-5 empathetic response: Slowly. Step-1: breathe. Step-5: rest.",
            "Slowly. Step-1: breathe. Step-5: rest.",
            None,
            False,
        ),
        ("<emo> sad </emo> Slowly. Step-1: breathe.</response>", "Slowly. Step-1: breathe.", "sad", True),
    ],
)
def test_a_broken_answer_is_read_as_far_as_it_goes(text, response, emotion, complete):
    found = answer.parse_reply(text)
    assert (found.response, found.speaker_emotion, found.complete) == (response, emotion, complete)


def test_only_chain_reply_and_signals_are_learnt_and_the_instruction_is_said_once():
    words = Words()
    encoded = prompt.encode(words, history(3), max_length=2000, chain=CHAIN, response=REPLY)
    learnt = words.decode(encoded.tokens[encoded.loss_mask])
    assert learnt.startswith("Step-1 event scenario:") and learnt.endswith(f"[VID14] {answer.STOP}")
    assert words.decode(encoded.tokens[encoded.reply_mask]) == REPLY
    whole = words.decode(encoded.tokens)
    assert whole.count("You are an empathetic conversational agent.") == 1
    assert not encoded.loss_mask[: encoded.prompt_length].any() and encoded.loss_mask[encoded.prompt_length :].all()
    assert encoded.tokens[0] == words.frame[0][0] and np.sum(encoded.tokens == 0) == 1


def test_each_utterance_of_the_speaker_has_one_run_of_each_modality():
    words = Words()
    encoded = prompt.encode(words, history(5), max_length=2000, slots=24)
    assert (
        np.sum(encoded.tokens == words.token_id("<Aud>")) == 3 * 24 == np.sum(encoded.tokens == words.token_id("<Vid>"))
    )
    assert encoded.speech == encoded.video == (0, 2, 4)
    some = prompt.encode(words, history(5), max_length=2000, speech=(4,), video=())
    assert np.sum(some.tokens == words.token_id("<Aud>")) == 24 and words.token_id("<Vid>") not in some.tokens
    assert (some.speech, some.video) == ((4,), ())


def test_history_is_cut_on_the_left_in_whole_exchanges_and_the_target_never():
    words = Words()
    full = prompt.encode(words, history(7), max_length=4000, chain=CHAIN, response=REPLY, instruction="short")
    target = full.tokens[full.prompt_length :]
    for length in range(len(full.tokens), 200, -7):
        encoded = prompt.encode(words, history(7), max_length=length, chain=CHAIN, response=REPLY, instruction="short")
        assert len(encoded.tokens) <= length
        assert np.array_equal(encoded.tokens[encoded.prompt_length :], target)
        assert encoded.first % 2 == 0 and encoded.speech == tuple(range(encoded.first, 7, 2))
        assert "number 6 ends" in words.decode(encoded.tokens)
    assert encoded.first > 0


def test_one_endless_utterance_loses_its_first_words_and_what_cannot_fit_is_an_error():
    words = Words()
    long = [Utterance(0, "speaker", " ".join(f"w{i}" for i in range(500)))]
    kwargs = dict(chain=CHAIN, response=REPLY, instruction="plain", speech=(), video=())
    encoded = prompt.encode(words, long, max_length=200, **kwargs)
    assert len(encoded.tokens) == 200
    assert "w499" in words.decode(encoded.tokens) and "w0 " not in words.decode(encoded.tokens)
    with pytest.raises(UserError, match="max_length 60"):
        prompt.encode(words, long, max_length=60, **kwargs)


def test_a_chat_template_gets_messages_that_alternate_and_the_profile_is_said():
    seen = []

    def template(messages):
        seen.extend(messages)
        return "\n".join(message["content"] for message in messages)

    text = text_of(history(3), listener=Profile.of(6 * 3 + 3 + 0), template=template)
    assert [message["role"] for message in seen] == ["system", "user", "assistant", "user"]
    assert "You speak as an elderly woman with an emphatic tone." in text
    default = text_of(history(3))
    assert default.endswith("### Human: <Aud><Vid> utterance number 2 ends\n### Assistant:")


def test_the_34_added_tokens_are_distinct():
    assert len(set(ADDED_TOKENS)) == 34


def test_ten_thousand_utterances_are_built_in_seconds():
    said = [Utterance(i, ("speaker", "listener")[i % 2], "I feel sad about it.") for i in range(10_001)]
    began = time.perf_counter()
    encoded = prompt.encode(tokenizer_of("llama"), said, max_length=1024, instruction="short", speech=(), video=())
    assert time.perf_counter() - began < 3
    assert len(encoded.tokens) <= 1024 < len(encoded.tokens) + 60 and encoded.first > 9_000


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_utterance_without_blanks_is_cut_inside_and_keeps_its_end(family):
    tokenizer = tokenizer_of(family)
    said = [Utterance(0, "speaker", "我今天很难过" * 700 + " 再见")]
    began = time.perf_counter()
    encoded = prompt.encode(tokenizer, said, max_length=600, instruction="short", speech=(), video=())
    assert len(encoded.tokens) <= 600 and time.perf_counter() - began < 3
    if not tokenizer.words:  # for T5's vocabulary all of it is one unknown word
        assert len(encoded.tokens) > 560
        assert "难过 再见" in tokenizer.decode(encoded.tokens)


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 8, 100])
def test_the_longest_that_fits_is_found(most):
    for limit in range(most + 3):
        asked = []

        def fits(n, limit=limit, asked=asked):
            asked.append(n)
            return n <= limit

        assert prompt._longest(fits, most) == min(limit, most)
        assert max(asked, default=0) <= max(2 * limit, 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("steps", [True, False])
def test_training_marks_the_tokens_of_the_response_that_a_reply_takes_its_states_from(family, steps):
    tokenizer = tokenizer_of(family)
    for dialogue in toy.conversations("train"):
        turn = dialogue.turns[-1]
        if "<unk>" in tokenizer.decode(tokenizer.encode_parts([(turn.response, False)]), skip_special=False):
            continue
        encoded = prompt.encode(
            tokenizer, turn.history, max_length=9000, chain=turn.chain, response=turn.response, steps=steps
        )
        written = encoded.tokens[encoded.prompt_length :].tolist()
        marked = np.flatnonzero(encoded.reply_mask[encoded.prompt_length :]).tolist()
        found = answer.parse_reply(tokenizer.decode(written))
        assert found.response == turn.response
        assert answer.reply_positions(tokenizer, written, found.response) == marked


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("response", ["I am here 💙", "我很难过", "Ça va 👋🏽, mon café?", "“Oh no…”", "é"])
def test_all_tokens_of_a_character_belong_to_the_response(family, response):
    tokenizer = tokenizer_of(family)
    if tokenizer.words:  # T5's vocabulary has no pieces for them
        return
    history = [Utterance(0, "speaker", "Hello.")]
    encoded = prompt.encode(tokenizer, history, max_length=9000, chain=CHAIN, response=response)
    written = encoded.tokens[encoded.prompt_length :].tolist()
    marked = np.flatnonzero(encoded.reply_mask[encoded.prompt_length :]).tolist()
    assert answer.reply_positions(tokenizer, written, response) == marked
    for upto in range(1, len(response)):
        kept = answer.reply_positions(tokenizer, written, response, upto)
        assert kept == marked[: len(kept)] and response[:upto] in tokenizer.decode(written[: kept[-1] + 1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("steps", [True, False])
def test_training_marks_the_tokens_that_write_the_label_of_the_emotion(family, steps):
    tokenizer = tokenizer_of(family)
    for dialogue in toy.conversations("valid"):
        turn = dialogue.turns[-1]
        encoded = prompt.encode(
            tokenizer, turn.history, max_length=9000, chain=turn.chain, response=turn.response, steps=steps
        )
        marked = encoded.tokens[encoded.emotion_mask].tolist()
        assert tokenizer.decode(marked).strip() == turn.chain.speaker_emotion
        assert encoded.loss_mask[encoded.emotion_mask].all() and not encoded.reply_mask[encoded.emotion_mask].any()


def test_where_no_chain_is_known_no_label_is_marked():
    encoded = prompt.encode(Words(), history(1), max_length=900, response=REPLY)
    assert not encoded.emotion_mask.any()


@pytest.mark.parametrize("change", [lambda text: text[:5], lambda text: text[3:], lambda text: ""])
def test_a_template_that_takes_a_text_apart_is_refused(change):
    def template(messages):
        return "".join(change(message["content"]) for message in messages)

    with pytest.raises(UserError, match="chat_template"):
        text_of(history(1), template=template)
