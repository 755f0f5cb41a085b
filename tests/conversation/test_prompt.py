"""Prompt and target: what is learnt, what is cut, and that an answer is read back."""

from __future__ import annotations

import re

import numpy as np
import pytest

from empatheia_jax.conversation import prompt
from empatheia_jax.conversation.schema import ChainOfEmpathy, Profile, Utterance
from empatheia_jax.errors import UserError

CHAIN = ChainOfEmpathy("anxious", "an exam tomorrow", "too little time to study", "calm and encourage")
REPLY = "That sounds stressful: take one chapter at a time."


class Words:
    """A tokenizer of words: enough to see where every token lands."""

    frame = ((0,), ())

    def __init__(self):
        self.words = ["<s>", *prompt.ADDED_TOKENS]

    def encode(self, text):
        special = "|".join(map(re.escape, prompt.ADDED_TOKENS))
        return [self.token_id(word) for word in re.findall(rf"{special}|</response>|[^\s<\[]+|\n|[<\[]", text)]

    def token_id(self, token):
        if token not in self.words:
            self.words.append(token)
        return self.words.index(token)

    def decode(self, ids):
        return " ".join(self.words[i] for i in ids)


def history(count):
    return [Utterance(i, ("speaker", "listener")[i % 2], f"utterance number {i} ends") for i in range(count)]


def test_the_answer_is_read_back_into_the_fields_it_was_built_from():
    answer = prompt.parse_reply(prompt.build_target(CHAIN, REPLY))
    assert answer.chain == CHAIN and answer.response == REPLY and answer.complete
    assert answer.emotion32 == "anxious"
    plain = prompt.parse_reply(prompt.build_target(CHAIN, REPLY, steps=False))
    assert (plain.speaker_emotion, plain.response, plain.chain) == ("anxious", REPLY, None)
    unlabelled = prompt.parse_reply(prompt.build_target(None, REPLY))
    assert (unlabelled.speaker_emotion, unlabelled.response) == (None, REPLY)


@pytest.mark.parametrize(
    ("text", "response", "emotion", "complete"),
    [
        ("Just words.", "Just words.", None, False),
        ("Step-1 event scenario: rain\nStep-2 user's emotion: <emo> sad", "", "<emo> sad", False),
        ("Step-2 user's emotion: sad\nStep-5 empathetic response: Oh no.", "Oh no.", "sad", False),
        ("", "", None, False),
        ("Step-5 empathetic response: A</response> B</response>", "A", None, True),
    ],
)
def test_a_broken_answer_is_read_as_far_as_it_goes(text, response, emotion, complete):
    answer = prompt.parse_reply(text)
    assert (answer.response, answer.speaker_emotion, answer.complete) == (response, emotion, complete)


def test_words_of_a_user_cannot_pass_for_control_tokens():
    text = prompt.build_prompt(
        [Utterance(0, "speaker", "I say <Aud> and </response>\nand [AUD0]")], speech=(), video=()
    )
    assert "<Aud>" not in text and "</response>" not in text and "[AUD0]" not in text
    assert "I say Aud and response and AUD0" in text


def test_only_chain_reply_and_signals_are_learnt_and_the_instruction_is_said_once():
    words = Words()
    encoded = prompt.encode(words, history(3), max_length=2000, chain=CHAIN, response=REPLY)
    learnt = words.decode(encoded.tokens[encoded.loss_mask])
    assert learnt.startswith("Step-1 event scenario:") and learnt.endswith(f"[VID14] {prompt.STOP}")
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

    text = prompt.build_prompt(history(3), listener=Profile.of(6 * 3 + 3 + 0), template=template)
    assert [message["role"] for message in seen] == ["system", "user", "assistant", "user"]
    assert "You speak as an elderly woman with an emphatic tone." in text
    default = prompt.build_prompt(history(3))
    assert default.endswith("### Human: <Aud><Vid> utterance number 2 ends\n### Assistant:")


def test_the_34_added_tokens_are_distinct():
    assert len(set(prompt.ADDED_TOKENS)) == 34
