"""The toy set is a small, complete AvaMERG."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline import toy
from data_pipeline.layout import Tree, file_hash
from data_pipeline.toy import media
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.answer import parse_reply
from empatheia_jax.errors import UserError
from tests.answers import target


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
            assert parse_reply(target(turn.chain, turn.response)).chain == turn.chain


def test_every_reply_is_written_once(everything):
    replies = [turn.response for split in everything.values() for each in split for turn in each.turns]
    assert len(set(replies)) == len(replies)


class Hum:
    """A voice for the tests: a tone as long as the text, at the pitch of the profile."""

    name = "hum"

    def __call__(self, text, profile, emotion, intensity, seed):
        time = np.arange(600 * len(text.split())) / media.RATE
        return media.Spoken((0.3 * np.sin(2 * np.pi * (150 + 10 * profile.profile_id) * time)).astype(np.float32))


class Card:
    """A face for the tests: a card whose colour says the emotion."""

    name, size = "card", 64  # x264 is not exact at 16x16, a size that nobody makes

    def __call__(self, spoken, profile, emotion, intensity, seed):
        frames = media.frames_for(len(spoken.samples) / media.RATE)
        colour = np.full((frames, 64, 64, 3), 30 * (*labels.EMOTIONS_7, "neutral").index(emotion), np.uint8)
        return np.full((frames, 73), intensity, np.float32), iter([colour])


def hashes(folder):
    return {path.relative_to(folder): file_hash(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_set_is_made_to_the_byte_and_an_interrupted_run_continues(tmp_path):
    media.build(tmp_path / "a", Hum(), Card(), count=4)

    class Killed(Hum):
        calls = 0

        def __call__(self, *arguments):
            Killed.calls += 1
            if Killed.calls > 5:
                raise KeyboardInterrupt
            return super().__call__(*arguments)

    with pytest.raises(KeyboardInterrupt):
        media.build(tmp_path / "b", Killed(), Card(), count=4)
    assert not (tmp_path / "b" / "train.json").exists()
    media.build(tmp_path / "b", Hum(), Card(), count=4)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_few_utterances_wait_to_be_drawn_and_an_error_there_stops_the_speaking(tmp_path):
    spoken, drawn, most = [], [], []

    class Counted(Hum):
        def __call__(self, *arguments):
            spoken.append(arguments[0])
            most.append(len(spoken) - len(drawn))
            return super().__call__(*arguments)

    class Breaks(Card):
        def __call__(self, *arguments):
            if len(drawn) == 6:
                raise UserError("no more paint")
            found = super().__call__(*arguments)
            drawn.append(arguments)
            return found

    with pytest.raises(UserError, match="no more paint"):
        media.build(tmp_path / "toy", Counted(), Breaks(), count=8)
    assert max(most) <= media.DRAWN_AT_ONCE + 1 and len(spoken) <= 6 + media.DRAWN_AT_ONCE + 1
    films = sorted((tmp_path / "toy" / media.FOLDERS["video"]).iterdir())
    assert len(films) == 6 and not any(path.name.startswith(".") for path in films)
    assert not (tmp_path / "toy" / "train.json").exists()


def test_the_made_set_is_an_avamerg_tree(tmp_path):
    counts = media.build(tmp_path / "toy", Hum(), Card(), count=7)
    tree = Tree(tmp_path / "toy")
    assert tree.splits() == list(toy.SPLITS)
    for split in toy.SPLITS:
        clips = [clip for each in schema.read(tree.split_file(split)) for clip in tree.clips(each)]
        assert len(clips) == counts[split]
        for clip in clips:
            seconds = len(clip.samples()) / 16_000
            assert len(clip.coefficients()) == media.frames_for(seconds) == len(clip.frames())
    (demo,) = schema.read(tmp_path / "toy" / "demo.json")
    assert demo.turns[0].response is None and demo.turns[0].chain is None
    assert all(tree.clip(demo, u.index, u.role, u.text).audio for u in demo.turns[0].history)


def test_listeners_show_their_answer_or_the_speakers_own_emotion():
    conversation = next(
        each for each in toy.conversations("train") if each.turns[0].chain.speaker_emotion in ("angry", "furious")
    )
    speaker, listener = conversation.utterances()[:2]
    assert media.shown_at(conversation, speaker, "empathic") == ("angry", 1.0)
    assert media.shown_at(conversation, listener, "empathic")[0] == "sad"
    assert media.shown_at(conversation, listener, "mirror") == ("angry", 0.6)


def test_a_set_of_one_reading_is_not_continued_with_the_other(tmp_path):
    media.build(tmp_path / "toy", Hum(), Card(), count=3)
    with pytest.raises(UserError, match="mirror"):
        media.build(tmp_path / "toy", Hum(), Card(), count=3, reading="mirror")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty"):
        media.build(tmp_path, Hum(), Card(), count=3)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(UserError, match="--count=2"):
        media.choose(2)
    few = media.choose(13)
    assert {media.emotion_at(each, 0) for each in few["train"]} == set(labels.EMOTIONS_7)
    assert sum(map(len, media.choose(20).values())) == 20 and sum(map(len, media.choose(81).values())) == 81


def test_more_held_out_dialogues_leave_the_training_alone():
    few, more = media.choose(13), media.choose(13, test=9)
    assert len(more["test"]) == 9 and more["test"][: len(few["test"])] == few["test"]
    assert (more["train"], more["valid"]) == (few["train"], few["valid"])
    assert {media.emotion_at(each, 0) for each in more["test"][:7]} == set(labels.EMOTIONS_7)
    with pytest.raises(UserError, match="--test=0; expected 1 to"):
        media.choose(13, test=0)


def test_other_weights_do_not_add_to_a_set(tmp_path):
    media.build(tmp_path / "toy", Hum(), Card(), count=3)
    other = Hum()
    other.name = "whistle"
    with pytest.raises(UserError, match="made by"):
        media.build(tmp_path / "toy", other, Card(), count=3)


def test_the_corpus_is_spoken_and_drawn_in_a_folder_of_its_own(tmp_path):
    media.build(tmp_path / "corpus", Hum(), Card(), count=3, dialogues="corpus")
    tree = Tree(tmp_path / "corpus")
    for split in toy.SPLITS:
        (found,) = schema.read(tree.split_file(split))
        assert found.extra["scenario"] and all(clip.audio for clip in tree.clips(found))
    with pytest.raises(UserError, match="made by"):
        media.build(tmp_path / "corpus", Hum(), Card(), count=3)
