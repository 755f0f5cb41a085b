"""Emotion words reach the 7 in two hops; profiles are numbered as released."""

from __future__ import annotations

import collections

import pytest

from empatheia_jax.conversation import labels
from empatheia_jax.errors import UserError


def test_every_label_and_every_free_word_reaches_one_of_the_seven():
    assert len(set(labels.EMOTIONS_32)) == 32
    for word in labels.WORDS_TO_32:
        id32, id7 = labels.emotion_ids(word, strict=True)
        assert 0 <= id32 < 32 and 0 <= id7 < 7
    assert {labels.EMOTIONS_7[labels.emotion_ids(label)[1]] for label in labels.EMOTIONS_32} == set(labels.EMOTIONS_7)


@pytest.mark.parametrize("table", labels.MAPS_TO_7)
def test_each_second_hop_covers_the_32_labels(table):
    assert set(labels.MAPS_TO_7[table]) == set(labels.EMOTIONS_32)


def test_the_three_tables_differ_where_their_sources_do():
    def sevens(label):
        return tuple(labels.emotion7(label, table) for table in ("paper", "e3rg_recognition", "e3rg_face"))

    assert sevens("anxious") == ("sad", "sad", "fear")
    assert sevens("embarrassed") == ("sad", "disgusted", "disgusted")
    assert sevens("disappointed") == ("sad", "sad", "contempt")
    assert sevens("devastated") == ("surprised", "sad", "surprised")
    assert labels.emotion_ids("nostalgic", table="e3rg_face") == (labels.EMOTIONS_32.index("nostalgic"), labels.UNKNOWN)


def test_the_holes_of_the_baseline_are_filled_and_its_words_kept():
    assert labels.emotion32("fear") == "afraid" and labels.emotion7("afraid") == "fear"
    for word in ("tired", "weary", "fatigue", "exhaustion", "exhausted", "tiredness"):
        assert labels.emotion7(labels.emotion32(word)) == "sad"
    assert labels.emotion32("frustrated") == "sad" and labels.emotion32("frustration") == "annoyed"
    assert labels.emotion32(" Heavy-hearted. ") == "sad"
    assert labels.emotion7(labels.emotion32("happy")) == "happy"
    assert labels.emotion7(labels.emotion32("contempt")) == "contempt"


def test_an_unknown_word_is_unknown_or_an_error_when_strict():
    assert labels.emotion_ids("zorblatt") == (labels.UNKNOWN, labels.UNKNOWN)
    with pytest.raises(UserError, match="zorblatt"):
        labels.emotion_ids("zorblatt", strict=True)
    with pytest.raises(UserError, match="first hop"):
        labels.emotion7("worried")


def test_profiles_are_numbered_as_released_in_both_tone_vocabularies():
    numbers = [
        labels.profile_id(age, gender, tone)
        for age in labels.AGES
        for gender in labels.GENDERS
        for tone in labels.TIMBRES
    ]
    assert numbers == list(range(24))
    assert labels.profile_id("Middle aged", "female", "gentle") == labels.profile_id("middle-aged", "female", "low")
    assert collections.Counter(labels.profile_words(n) for n in range(24)).most_common(1)[0][1] == 1
    for n in range(24):
        assert labels.profile_id(*labels.profile_words(n)) == n
    with pytest.raises(UserError, match="outside the vocabulary"):
        labels.tone_id("loud")
    with pytest.raises(UserError, match="0 to 23"):
        labels.profile_words(24)
