"""The toy set is a small, complete AvaMERG."""

from __future__ import annotations

import pytest

from data_pipeline import toy
from empatheia_jax.dialogue import labels
from empatheia_jax.dialogue.prompt import build_target, parse_reply


@pytest.fixture(scope="module")
def everything():
    return {split: toy.conversations(split) for split in toy.SPLITS}


def test_all_emotions_profiles_and_topics_are_there(everything):
    whole = [each for split in everything.values() for each in split]
    chains = [turn.chain for each in whole for turn in each.turns]
    assert {labels.emotion7(chain.speaker_emotion) for chain in chains} == set(labels.EMOTIONS_7)
    assert {chain.speaker_emotion for chain in chains} == set(labels.EMOTIONS_32)
    assert {each.speaker.profile_id for each in whole} == set(range(24))
    assert len({each.topic for each in whole}) >= 10
    assert len({each.conversation_id for each in whole}) == len(whole)


def test_every_turn_is_labelled_and_its_history_is_the_dialogue_so_far(everything):
    for conversation in (each for split in everything.values() for each in split):
        said = conversation.utterances()
        assert [each.role for each in said] == ["speaker", "listener"] * (len(said) // 2)
        for turn in conversation.turns:
            assert turn.history == said[: turn.response_index] and turn.response == said[turn.response_index].text
            assert parse_reply(build_target(turn.chain, turn.response)).chain == turn.chain


def test_every_reply_is_written_once(everything):
    replies = [turn.response for split in everything.values() for each in split for turn in each.turns]
    assert len(set(replies)) == len(replies)
