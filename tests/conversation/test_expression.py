"""A listener answers an emotion with an expression of its own; the mirror shows the speaker's."""

from __future__ import annotations

import pytest

from empatheia_jax.conversation import expression, labels
from empatheia_jax.conversation.expression import LISTENER, MIRRORED, NEUTRAL, listener_emotion, shown
from empatheia_jax.errors import UserError


def test_all_32_emotions_are_answered_with_an_expression_and_a_reason():
    assert set(LISTENER) == set(labels.EMOTIONS_32)
    for label, (emotion, intensity, why) in LISTENER.items():
        assert emotion in (*labels.EMOTIONS_7, NEUTRAL) and 0.6 <= intensity <= 1.0 and why
        assert listener_emotion(label) == (emotion, intensity)


@pytest.mark.parametrize("label", ["angry", "furious", "annoyed", "terrified", "disgusted", "jealous"])
def test_anger_fear_disgust_and_contempt_are_never_given_back(label):
    assert listener_emotion(label)[0] not in ("angry", "fear", "disgusted", "contempt")


def test_an_angry_speaker_meets_concern_and_a_proud_one_a_smile():
    assert listener_emotion("angry")[0] == "sad" and listener_emotion("proud")[0] == "happy"
    assert listener_emotion("furious")[1] > listener_emotion("annoyed")[1]


def test_the_mirror_shows_the_speakers_emotion_weaker():
    for label in labels.EMOTIONS_32:
        assert shown(label, None, "mirror") == (labels.emotion7(label), MIRRORED)
    assert shown("nostalgic", None, "mirror", "e3rg_face") == (NEUTRAL, 1.0)


def test_an_emotion_that_was_only_heard_is_answered_too():
    assert shown(None, "angry", "empathic") == listener_emotion("angry")
    assert shown(None, "angry", "mirror") == ("angry", MIRRORED)
    assert {shown(None, seven, "empathic")[0] for seven in labels.EMOTIONS_7} <= {"happy", "surprised", "sad", NEUTRAL}


@pytest.mark.parametrize("reading", ["empathic", "mirror"])
def test_an_unknown_emotion_leaves_the_face_at_rest(reading):
    assert shown(None, None, reading) == (NEUTRAL, 1.0)


def test_a_word_that_is_no_label_is_refused():
    with pytest.raises(UserError, match="32 emotion labels"):
        expression.listener_emotion("angst")
