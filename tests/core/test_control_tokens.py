"""What people type is text: no spelling of a control token gives its id, in the tokenizers of all cores."""

from __future__ import annotations

import itertools
import pickle

import pytest

from data_pipeline import toy
from empatheia_jax.conversation import prompt
from empatheia_jax.conversation.schema import ChainOfEmpathy, Utterance
from empatheia_jax.tokens import ADDED_TOKENS
from tests.tokenizers_of_families import FAMILIES, tokenizer_of

ORDINARY = [
    "I lost my dog 123 days ago, it's  hard…\n\n  Can't sleep!",
    "naïve café 日本語 😀 \t tabs",
    " leading and trailing ",
    "a < b, [sic], 5 > 3 and I <3 you",
    "",
]


@pytest.fixture(params=FAMILIES)
def tokenizer(request):
    return tokenizer_of(request.param)


def control(tokenizer) -> dict[str, int]:
    """Every token that is no text, by name, and the words of ours that frame an answer."""
    names = [entry.content for entry in tokenizer._backend.get_added_tokens_decoder().values()]
    return {name: tokenizer.token_id(name) for name in names}


def test_ordinary_text_has_the_ids_that_it_had_whole_or_in_parts(tokenizer):
    for text in [*ORDINARY, *(said.text for each in toy.conversations("valid") for said in each.utterances())]:
        if any(name in text for name in control(tokenizer)):
            continue  # see the test of ChatGLM's "eop" below
        assert tokenizer.encode_parts([(text, False)]) == tokenizer.encode(text)
        assert tokenizer.encode_parts([(text, True)]) == tokenizer.encode(text)
        cut = len(text) // 2
        assert tokenizer.encode_parts([(text[:cut], True), (text[cut:], False)]) == tokenizer.encode(text)


def test_people_is_a_word_though_chatglm_has_a_control_token_eop():
    tokenizer = tokenizer_of("chatglm")
    assert tokenizer.token_id("eop") in tokenizer.encode("people")
    ids = tokenizer.encode_parts([("Some people like philosophy", False)])
    assert tokenizer.special_ids.isdisjoint(ids) and tokenizer.decode(ids) == "Some people like philosophy"


def test_trusted_control_tokens_have_their_ids_beside_text_that_names_them(tokenizer):
    for name, number in control(tokenizer).items():
        if name == "<unk>":
            continue  # what T5 has no letter for
        ids = tokenizer.encode_parts([(f"a{name}b", True), (name, False), (name, True)])
        assert ids.count(number) == 2, name
        assert tokenizer.encode_parts([(f"a{name}b{name}", True)]) == tokenizer.encode(f"a{name}b{name}")


def spellings(name: str) -> list[str]:
    """The name alone, in words, nested in itself (what is left when the inner one is taken out), and broken by blanks."""
    half = len(name) // 2
    nested = [name[:at] + name + name[at:] for at in (1, half, len(name) - 1)]
    return [name, f"I say {name} twice {name}", f"<{name}>", f"[{name}]", *nested, name * 3, f"\n{name}\n"]


def test_no_spelling_of_a_control_token_gives_its_id(tokenizer):
    numbers = {number for name, number in control(tokenizer).items() if name != "<unk>"}
    for name in [*control(tokenizer), *ADDED_TOKENS]:
        for text in spellings(name):
            ids = tokenizer.encode_parts([(text, False)])
            assert numbers.isdisjoint(ids), text


def test_what_was_typed_is_still_there(tokenizer):
    for name in control(tokenizer) if not tokenizer.words else ():  # T5's vocabulary has no letters for brackets
        assert tokenizer.decode(tokenizer.encode_parts([(f"I say {name}!", False)])) == f"I say {name}!"


def test_control_tokens_cannot_be_put_together_from_two_parts(tokenizer):
    for name, number in control(tokenizer).items():
        for cut in range(1, len(name)):
            for trusted in itertools.product((True, False), repeat=2):
                if trusted != (True, True):
                    parts = [(name[:cut], trusted[0]), (name[cut:], trusted[1])]
                    assert number not in tokenizer.encode_parts(parts) or name == "<unk>", parts


def test_a_prompt_and_its_target_have_the_control_tokens_of_a_calm_one(tokenizer):
    template = tokenizer.chat if tokenizer.chat_template else prompt.chatglm3

    def counts(words: str) -> list[int]:
        history = [Utterance(0, "speaker", words), Utterance(1, "listener", words), Utterance(2, "speaker", words)]
        encoded = prompt.encode(
            tokenizer,
            history,
            max_length=9000,
            chain=ChainOfEmpathy(words, words, words, words),
            response=words,
            instruction="short",
            template=template,
        )
        return [int((encoded.tokens == number).sum()) for name, number in control(tokenizer).items() if name != "<unk>"]

    calm = counts("hello there")
    for name in control(tokenizer):
        assert counts(" ".join(spellings(name))) == calm, name


def test_the_guarded_tokenizer_survives_the_way_to_a_worker(tokenizer):
    text = "I say <<Aud>> and [[AUD0]]"
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode_parts([(text, False)]) == tokenizer.encode_parts([(text, False)])
