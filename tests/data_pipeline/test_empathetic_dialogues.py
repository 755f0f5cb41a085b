"""EmpatheticDialogues in the released layout: no scenario in two splits, marks joined, and faults in one line."""

from __future__ import annotations

import json

import pytest

from data_pipeline import empathetic_dialogues as dialogues
from data_pipeline.empathetic_dialogues import main
from empatheia_jax.baselines.encoding import Said, turns
from empatheia_jax.conversation import labels, schema

SAID = (
    "I found {} on the street .",
    "Oh , you did n't !",
    "I 'm so happy , it 's mine now !",
    "Good for you .",
    "Thanks !",
)


def listed(count=60, case=str):
    """Dialogues of three kinds of length, as many repositories keep the set."""
    return [
        {
            "emotion": labels.EMOTIONS_32[number % 32],
            "utts": [case(each.format(f"coin {number}")) for each in SAID[: 3 + number % 3]],
        }
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The same dialogues in two files, one of them lower-cased."""
    folder = tmp_path_factory.mktemp("ed")
    (folder / "one.json").write_text(json.dumps(listed()))
    (folder / "two.json").write_text(json.dumps(listed(70, str.lower)))
    files = [str(folder / "one.json"), str(folder / "two.json")]
    assert main([*files, f"--output={folder / 'set'}"]) == 0
    return folder / "set"


def test_every_scenario_is_in_one_split_and_once(written):
    found = [schema.read(written / f"{split}.json") for split in dialogues.SHARES]
    first = [each.turns[0].history[0].text.lower() for split in found for each in split]
    assert len(first) == len(set(first)) == 70
    assert len(found[0]) > 40 and all(found)
    numbers = [each.conversation_id for split in found for each in split]
    assert len(set(numbers)) == 70


def test_a_turn_has_its_reply_its_emotion_and_marks_in_their_place(written):
    turn = next(each for each in turns(written / "train.json") if len(each[1].history) == 3)
    assert turn[1].response == "Good for you."
    assert [each.text for each in turn[1].history[1:]] == ["Oh, you didn't!", "I'm so happy, it's mine now!"]
    assert turn[1].history[0].text.startswith("I found coin")
    number = int(turn[1].history[0].text.split()[3])
    assert Said.of(*turn).emotion == number % 32


def test_a_last_utterance_that_nobody_answers_is_no_turn(written):
    every = [each for split in dialogues.SHARES for each in schema.read(written / f"{split}.json")]
    for each in every:
        number = int(each.turns[0].history[0].text.split()[3].rstrip("."))
        assert len(each.turns) == (3 + number % 3) // 2


def test_the_released_form_is_read_with_its_commas(tmp_path):
    lines = ["conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags"]
    lines.append("hit:1_conv:2,2,proud,I won,2,Well done_comma_ you!,5|5|5_5|5|5,")
    lines.append('hit:1_conv:2,1,proud,I won,1,I won "it"_comma_ today.,5|5|5_5|5|5,')
    (tmp_path / "test.csv").write_text("\n".join(lines) + "\n")
    assert dialogues.read([tmp_path / "test.csv"]) == [
        dialogues.Dialogue("proud", ('I won "it", today.', "Well done, you!"))
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '[{"emotion": "happy-ish", "utts": ["a", "b"]}]', "expected one of the 32"),
        ("a.json", '[{"emotion": "proud", "utts": ["a", " "]}]', "without words"),
        ("a.json", '[{"emotion": "proud"}]', "no list 'utts'"),
        ("a.json", '{"emotion": "proud"}', "is no list"),
        ("a.csv", "conv_id,context\nx,proud\n", "no column 'utterance_idx'"),
        ("a.csv", "conv_id,utterance_idx,context,utterance\nx,1,proud\n", "line 2 is cut off"),
        ("a.csv", "conv_id,utterance_idx,context,utterance\nx,1,proud,\udce9\n", "no table in UTF-8"),
        ("a.json", '[{"emotion": "proud", "utts": ["a", "b"]}]', "no dialogue is left for"),
    ],
)
def test_what_is_no_such_set_is_one_line(name, text, message, tmp_path, capsys):
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    assert main([str(tmp_path / name), f"--output={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "train.json").exists()
