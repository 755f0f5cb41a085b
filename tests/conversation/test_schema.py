"""The released layout is read, typed, and written back without loss."""

from __future__ import annotations

import json

import pytest

from empatheia_jax.conversation import schema
from empatheia_jax.errors import UserError


def entry(**changes):
    value = {
        "conversation_id": "01118",
        "speaker_profile": {"age": "young", "gender": "female", "timbre": "mid", "ID": 47},
        "listener_profile": {"age": "elderly", "gender": "male", "timbre": "gentle", "ID": 3, "race": "Asian"},
        "topic": "work",
        "turns": [
            {
                "turn_id": "0",
                "context": "My boss was disappointed.",
                "dialogue_history": [{"index": 0, "role": "speaker", "utterance": "It went badly."}],
                "response": "Do you want to tell me about it?",
                "chain_of_empathy": {
                    "speaker_emotion": "disappointed",
                    "event_scenario": "a talk with the boss",
                    "emotion_cause": "criticism",
                    "goal_to_response": "comfort",
                },
            }
        ],
    }
    return value | changes


def test_a_conversation_survives_the_round_trip_with_keys_that_nobody_knows():
    value = entry(emotion="sad", annotators=[1, 2, 3])
    value["turns"][0]["dialogue_history"][0]["note"] = None
    conversation = schema.conversation_from_json(value)
    assert schema.conversation_to_json(conversation) == value
    assert conversation.speaker.media_id == 47
    assert conversation.listener.profile_id == 3 * 6 + 0 * 3 + 2
    assert conversation.turns[0].response_index == 1
    assert [each.text for each in conversation.utterances()] == ["It went badly.", "Do you want to tell me about it?"]


def test_a_test_file_without_profiles_responses_or_turns_is_read():
    value = {"conversation_id": "00075", "turns": []}
    conversation = schema.conversation_from_json(value)
    assert conversation.turns == () and conversation.speaker is None and conversation.utterances() == ()
    assert schema.conversation_to_json(conversation) == value


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda v: v.pop("turns"), "no 'turns'"),
        (lambda v: v.update(turns="none"), "'turns' is a string; expected a list"),
        (lambda v: v.update(conversation_id="abc"), "expected digits"),
        (lambda v: v["speaker_profile"].update(age="ancient"), "speaker_profile: age 'ancient' is outside"),
        (lambda v: v["speaker_profile"].update(ID="x"), "'ID' is 'x'"),
        (lambda v: v["turns"][0].update(dialogue_history=[]), "'dialogue_history' is empty"),
        (lambda v: v["turns"][0]["dialogue_history"][0].update(role="doctor"), "role 'doctor'"),
        (lambda v: v["turns"][0]["dialogue_history"][0].update(index=1), "index 1; expected 0"),
        (lambda v: v["turns"][0]["dialogue_history"][0].update(utterance=" "), "'utterance' is empty"),
        (lambda v: v["turns"][0]["chain_of_empathy"].pop("emotion_cause"), "no 'emotion_cause'"),
    ],
)
def test_a_malformed_conversation_is_one_line_that_names_the_place(damage, message):
    value = entry()
    damage(value)
    with pytest.raises(UserError) as caught:
        schema.conversation_from_json(value, "train.json, conversation 7")
    assert message in str(caught.value) and "train.json, conversation 7" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_bad_entry_does_not_hide_the_others(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([entry(), {"conversation_id": "2"}, entry(conversation_id="00003")]))
    found = [each for _, each in schema.iterate(path)]
    assert isinstance(found[1], UserError)
    assert [each.conversation_id for each in (found[0], found[2])] == ["01118", "00003"]
    with pytest.raises(UserError, match="conversation 1"):
        schema.read(path)


def test_json_cut_in_half_and_other_files_are_one_line(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([entry()])[:100])
    with pytest.raises(UserError, match="not valid JSON"):
        schema.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        schema.read(path)
    with pytest.raises(UserError, match="does not exist"):
        schema.read(tmp_path / "absent.json")


def test_writing_and_reading_gives_the_same_bytes(tmp_path):
    conversations = [schema.conversation_from_json(entry())]
    schema.write(tmp_path / "a.json", conversations)
    schema.write(tmp_path / "b.json", schema.read(tmp_path / "a.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_the_real_half_of_the_test_split_is_read_whole(shared):
    path = shared / "dialogues" / "avamerg_test_half.json"
    conversations = schema.read(path)
    assert len(conversations) == 1990
    assert sum(not each.turns for each in conversations) == 414
    turns = [turn for each in conversations for turn in each.turns]
    assert [turn.ends_with_speaker for turn in turns].count(False) == 1  # a real slip of the release
    assert [schema.conversation_to_json(each) for each in conversations] == json.loads(path.read_text())


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DEEP, "nested too deeply"),
        ('[{"conversation_id": ' + "1" * 5_000 + "}]", "cannot be read"),
        ('[{"conversation_id": "' + "1" * 5_000 + '", "turns": []}]', "digits, at most 18"),
        ('[{"conversation_id": "1", "turns": [], "topic": "\\ud800"}]', "lone surrogate"),
        ('[{"conversation_id": "1", "turns": [], "\\udfff": 1}]', "lone surrogate"),
        ('[{"conversation_id": "1", "turns": [], "x": ' + "[" * 900 + "]" * 900 + "}]", None),
        ("[1e999, NaN]", "expected an object"),
        ('\ufeff[{"conversation_id": "1", "turns": []}]', None),  # as some editors of Windows save
        ('[{"conversation_id": "1", "turns": [], "turns": []}]', "the name 'turns' occurs twice"),
        ('[{"conversation_id": "\uff11\uff12", "turns": []}]', "expected digits"),
    ],
)
def test_json_that_breaks_readers_is_one_line(content, message, tmp_path):
    path = tmp_path / "d.json"
    path.write_text(content, encoding="utf-8")
    if message is None:
        assert len(schema.read(path)) == 1
        return
    with pytest.raises(UserError, match=message) as caught:
        schema.read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("number", [-1, 10**18, "9" * 5_000, "-3", True, 1.5])
def test_an_avatars_number_that_names_no_file_is_one_line(number):
    profile = {"age": "young", "gender": "male", "timbre": "mid", "ID": number}
    with pytest.raises(UserError, match="'ID'"):
        schema.conversation_from_json({"conversation_id": "1", "speaker_profile": profile, "turns": []})


def test_one_bad_conversation_is_named_and_the_rest_is_read(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(
        '[{"conversation_id": "1", "turns": []}, {"conversation_id": "2\\ud800"}, {"conversation_id": "3", "turns": []}]'
    )
    found = [each for _, each in schema.iterate(path)]
    assert [type(each).__name__ for each in found] == ["Conversation", "UserError", "Conversation"]
