"""The corpus is large, varied, in one form, and split so that nothing of a test scenario is in training."""

from __future__ import annotations

import dataclasses

import pytest

from data_pipeline import corpus
from data_pipeline.corpus import __main__ as command
from data_pipeline.corpus import reader, rules
from data_pipeline.toy import media
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.answer import parse_reply
from empatheia_jax.errors import UserError
from tests.answers import target

DIALOGUE = """
== travel; lost-ticket; Ymg > Efm; test
I lost my ticket.
> It was in my other coat, and that one is at home.
: The user lost a ticket. | annoyed | The user cannot travel. | Ask where the train goes.
< In the other coat, of course! Where was that train going to take you?
"""


@pytest.fixture(scope="module")
def everything():
    return corpus.everything()


def edited(splits, split, edit):
    """The same corpus with the last dialogue of a split changed by `edit`."""
    *others, last = splits[split]
    return {**splits, split: [*others, edit(last)]}


def with_reply(conversation, reply, **chain):
    (*others, turn) = conversation.turns
    turn = dataclasses.replace(turn, response=reply, chain=dataclasses.replace(turn.chain, **chain))
    return dataclasses.replace(conversation, turns=(*others, turn))


@pytest.mark.parametrize("rule", [rules.form, rules.openings, rules.overlaps, rules.separation, rules.coverage])
def test_every_rule_is_kept(everything, rule):
    assert rule(everything) == []


def test_every_rule_finds_its_breach(everything):
    other = everything["train"][0].turns[0].response
    assert any("share" in line for line in rules.overlaps(edited(everything, "test", lambda c: with_reply(c, other))))
    stock = {**everything, "train": [with_reply(c, "That sounds really hard for you.") for c in everything["train"]]}
    assert any("'that sounds really'" in line for line in rules.openings(stock))
    for change in (
        {"event_scenario": "Something happened."},
        {"goal_to_response": "No full stop"},
        {"emotion_cause": "The user " + "is very " * 30 + "sad."},
    ):
        assert (
            len(
                rules.form(
                    edited(everything, "test", lambda c, change=change: with_reply(c, c.turns[-1].response, **change))
                )
            )
            == 1
        )
    assert len(rules.form(edited(everything, "test", lambda c: with_reply(c, "Too short.")))) == 1
    scenario = everything["train"][0].extra
    moved = edited(everything, "test", lambda c: dataclasses.replace(c, extra=scenario))
    assert any("scenario" in line for line in rules.separation(moved))
    without_sad = {
        split: [c for c in members if c.turns[0].chain.speaker_emotion != "sad"]
        for split, members in everything.items()
    }
    assert any("sad" in line for line in rules.coverage(without_sad))


def test_it_is_large_enough_to_teach(everything):
    sizes = {split: len(members) for split, members in everything.items()}
    members = rules.dialogues(everything)
    assert len(members) >= 600 and sizes["test"] == 100 and 50 <= sizes["valid"] <= 80
    assert sum(len(each.turns) for each in members) >= 1300
    assert {len(each.turns) for each in members} == {1, 2, 3, 4}
    assert len({each.conversation_id for each in members}) == len(members)


def test_every_turn_survives_target_and_parsing(everything):
    for _, turn in rules.turns(everything):
        parsed = parse_reply(target(turn.chain, turn.response))
        assert parsed.chain == turn.chain and parsed.response == turn.response
        assert turn.chain.speaker_emotion in labels.EMOTIONS_32 and turn.ends_with_speaker


def test_the_command_writes_the_same_files_twice_and_the_schema_reads_them(everything, tmp_path, capsys):
    for folder in ("a", "b"):
        assert command.main([f"--output={tmp_path / folder}"]) == 0
    assert f"test {len(everything['test'])}" in capsys.readouterr().out
    for split, members in everything.items():
        assert (tmp_path / "a" / f"{split}.json").read_bytes() == (tmp_path / "b" / f"{split}.json").read_bytes()
        assert schema.read(tmp_path / "a" / f"{split}.json") == members


def test_the_toy_command_can_speak_and_draw_the_corpus(everything):
    assert {split: len(each) for split, each in media.choose(None, "corpus").items()} == {
        split: len(each) for split, each in everything.items()
    }
    total = len(rules.dialogues(everything))
    for count in (3, 120, total - 5, total):
        assert sum(map(len, media.choose(count, "corpus").values())) == count
    with pytest.raises(UserError, match="--dialogues=novel"):
        media.choose(None, "novel")
    with pytest.raises(UserError, match="train, valid, test"):
        corpus.conversations("all")


def test_one_dialogue_is_read_as_it_is_written():
    ((split, found),) = reader.parse(DIALOGUE, "07-annoyed.txt")
    assert split == "test" and found.conversation_id == "07001" and found.extra == {"scenario": "lost-ticket"}
    assert labels.profile_words(found.speaker.profile_id) == ("young", "male", "low")
    assert labels.profile_words(found.listener.profile_id) == ("elderly", "female", "mid")
    (turn,) = found.turns
    assert turn.context == "I lost my ticket." and turn.chain.speaker_emotion == "annoyed"
    assert turn.chain.goal_to_response == "Ask where the train goes."


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("travel;", "holidays;", "line 2: topic 'holidays'"),
        ("Ymg > Efm", "Ymg", "line 2: 'Ymg'; expected two profiles"),
        ("Ymg", "Xmg", "line 2: profile 'Xmg'"),
        ("; test", "; dev", "line 2: split 'dev'"),
        ("| annoyed |", "| cross |", "line 5: emotion 'cross'"),
        (" | Ask where the train goes.", "", "line 5: 3 steps"),
        ("> It was", "It was", "line 4: .* starts with '>'"),
        ("< In the other", "# In the other", "line 2: a dialogue is"),
        ("== travel", "travel", "line 2: .* before the first dialogue"),
    ],
)
def test_a_slip_of_the_author_is_named_with_its_line(old, new, message):
    with pytest.raises(UserError, match=f"07-annoyed.txt, {message}"):
        list(reader.parse(DIALOGUE.replace(old, new, 1), "07-annoyed.txt"))
    with pytest.raises(UserError, match="expected a name like"):
        list(reader.parse(DIALOGUE, "annoyed.txt"))
