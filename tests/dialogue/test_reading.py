"""A reply that grows is read the same however it comes: its steps, its words, its sentences; and words have their times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empatheia_jax.conversation import answer
from empatheia_jax.conversation.schema import ChainOfEmpathy
from empatheia_jax.dialogue.reading import Reader, Sentences, word_times
from empatheia_jax.dialogue.request import CHAIN
from empatheia_jax.styletts2.speaker import Speech
from tests.answers import target

CHAIN_SAID = ChainOfEmpathy("sad", "A day at work. It was long.", "Nobody thanked her.", "Comfort her.")
REPLY = 'Oh no! Dr. Lee said that on May 3rd? "Really, I am so sorry." You did $5.50 of good work, e.g. today. I see'


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {len(text)})
    return [text[:place] for place in places]


@given(st.lists(st.integers(0, 400), max_size=12), st.booleans(), st.booleans())
def test_however_a_text_comes_its_steps_and_words_are_the_same(cuts, steps, closed):
    text = target(CHAIN_SAID, REPLY, steps=steps)
    text = text[: text.index(answer.END)] + (answer.END if closed else "")
    reader, found, words = Reader(steps=steps), [], ""
    grown = pieces_of(text, cuts)
    for part in grown:
        new, more = reader.read(part, ended=False)
        found, words = found + new, words + more
    new, more = reader.read(text, ended=True)
    found, words = found + new, words + more
    names = CHAIN if steps else ("speaker_emotion",)
    assert found == [(name, getattr(CHAIN_SAID, name)) for name in names]
    assert words == REPLY == reader.answer.response
    assert reader.answer.complete == closed


@pytest.mark.parametrize("steps", [True, False])
def test_a_reply_may_speak_of_steps_of_its_own(steps):
    said = "Slowly. Step-1: breathe in. Step-2: breathe out. Step-5: rest."
    text = target(CHAIN_SAID, said, steps=steps).partition(answer.END)[0] + answer.END
    reader, words = Reader(steps=steps), ""
    for place in range(len(text) + 1):
        words += reader.read(text[:place], ended=place == len(text))[1]
    assert words == reader.answer.response == said


def test_what_may_become_the_closing_tag_is_not_told():
    reader = Reader(steps=False)
    text = "<emo> sad </emo>\nI see.</res"
    assert reader.read(text, ended=False)[1] == "I see."
    assert reader.read(text + "t", ended=False)[1] == "</rest"


@given(st.lists(st.integers(0, 200), max_size=10))
def test_sentences_do_not_depend_on_how_the_text_came(cuts):
    sentences, found = Sentences(), []
    for part in pieces_of(REPLY, cuts):
        found += sentences.cut(part, ended=False)
    found += sentences.cut(REPLY, ended=True)
    assert [piece for piece, _ in found] == [
        "Oh no! Dr. Lee said that on May 3rd?",
        '"Really, I am so sorry."',
        "You did $5.50 of good work, e.g. today.",
        "I see",
    ]
    assert [REPLY[:end].rstrip().endswith(piece) for piece, end in found] == [True] * 4


def speech(phonemes: str, seed: int = 0) -> Speech:
    durations = np.random.default_rng(seed).integers(1, 9, len(phonemes) + 2)
    ids = np.zeros(len(durations), np.int32)
    return Speech(np.zeros(600 * durations.sum(), np.float32), phonemes, ids, durations, np.zeros(256, np.float32))


def heard(spoken: Speech) -> np.ndarray:
    """Seconds at which the tokens end for a listener: 50 ms before their frames do."""
    return np.maximum(np.cumsum(spoken.durations) / 40 - 0.05, 0)


def test_a_token_is_heard_before_its_frames_and_the_last_one_ends_with_the_sound():
    spoken = Speech(np.zeros(600 * 11, np.float32), "aɪ", np.zeros(4, np.int32), np.array([2, 3, 4, 2]), np.zeros(256))
    np.testing.assert_allclose(spoken.ends / 24_000, [0, 0.075, 0.175, 0.275], atol=1e-9)


def test_words_are_timed_by_their_phonemes():
    spoken = speech("aɪ æm faɪv ,ænd jʊɹ naɪn .")
    times = word_times("I am 5, and you're 9.", [spoken], 24_000)
    assert [word for word, _, _ in times] == ["I", "am", "5,", "and", "you're", "9."]
    ends = 1 + heard(spoken)
    assert times[0][1:] == pytest.approx((ends[0], ends[2])) and times[1][1:] == pytest.approx((ends[3], ends[5]))
    assert all(a < b for _, a, b in times) and all(a[2] <= b[1] for a, b in zip(times, times[1:]))


def test_a_number_of_two_spoken_words_is_one_written_word():
    spoken = speech("twɛnti faɪv jɪɹz")
    times = word_times("25 years", [spoken], 0)
    ends = heard(spoken)
    assert times[0][1:] == pytest.approx((ends[0], ends[11])) and times[1][0] == "years"


@given(st.text("ab .,—5$", min_size=1, max_size=40), st.integers(0, 5))
def test_words_never_overlap_nor_leave_the_sound(text, seed):
    spoken = [speech("aɪ æm .", seed), speech("soʊ", seed + 1)]
    times = word_times(text, spoken, 600)
    seconds = sum(each.seconds for each in spoken) + 600 / 24_000
    assert [word for word, _, _ in times] == text.split()
    for (_, begin, end), following in zip(times, [*times[1:], None]):
        assert 0 <= begin <= end <= seconds + 1e-9
        assert following is None or end <= following[1] + 1e-9


@pytest.mark.parametrize("text", ["", "   "])
def test_nothing_is_no_sentence(text):
    assert Sentences().cut(text, ended=True) == []
