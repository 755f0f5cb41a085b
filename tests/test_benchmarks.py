"""What the benchmarks read."""

from __future__ import annotations

import json

import pytest

from benchmarks import heard, real_dialogues
from empatheia_jax.errors import UserError
from tests.dialogue.test_reply import DIALOGUE, SAID


def test_real_dialogues_are_read_in_the_released_layout_and_as_plain_utterances(tmp_path):
    path = tmp_path / "dialogues.json"
    for content in ([DIALOGUE], [{"emotion": "sad", "utts": [SAID, "I am sorry to hear that.", "Thanks."]}]):
        path.write_text(json.dumps(content))
        ((history, reply),) = real_dialogues.examples(path, 5)
        assert [(each.role, each.text) for each in history] == [
            ("speaker", SAID)
        ] and reply == "I am sorry to hear that."
    for content, message in (([{"x": 1}], "neither 'turns'"), ([{"utts": ["alone"]}], "no dialogue with a reply")):
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            real_dialogues.examples(path, 5)


def test_the_test_half_of_avamerg_is_read(shared):
    found = real_dialogues.examples(shared / "dialogues" / "avamerg_test_half.json", 3)
    assert len(found) == 3 and all(history[0].role == "speaker" and reply for history, reply in found)


def test_what_recordings_change_is_counted_by_pairs_of_feelings():
    answers = {"": "proud", "happy": "joyful", "sad": "sad", "angry": "sad"}
    found = heard.counted([{"own": "happy", "named": answers}, {"own": "fear", "named": dict.fromkeys(answers, "sad")}])
    hits = {name: (each["hits"], each["of"]) for name, each in found.items()}
    assert hits == {
        "sentences_with_more_than_one_emotion": (1, 2),
        "pairs_with_another_of_32": (2, 6),
        "pairs_with_another_of_7": (2, 6),
        "emotion_of_7_is_the_one_shown": (3, 6),
        "own_emotion_of_7_without_recordings": (1, 1),  # fear is not among the feelings that are shown
        "own_emotion_of_7_where_it_is_shown": (1, 1),
    }
