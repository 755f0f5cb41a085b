"""Everything wrong with a data set is found, named, counted, and stops a run above the limit."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from data_pipeline import check
from data_pipeline.layout import Tree
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.recordings import media_name, parse_name
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import write_wav
from tests.data_pipeline.trees import change, small_tree


@pytest.fixture
def tree(tmp_path):
    return small_tree(tmp_path / "set")


def entries(root, **options):
    quarantine = Quarantine(0.0)
    check.check_tree(root, quarantine, **options)
    return {(entry.kind, entry.id) for entry in quarantine.entries}, quarantine


def first(root, kind):
    return sorted((root / f"{kind}_v5_0").iterdir())[0]


def clip_id(path):
    conversation, index, _ = parse_name(path.name)
    return f"{conversation:05d}/{index}"


def test_a_sound_set_has_nothing_set_aside(tree, capsys):
    found, quarantine = entries(tree)
    assert not found and quarantine.bad == 0
    assert check.main([str(tree)]) == 0
    assert "train: 4 conversations, 8 turns, 16 utterances" in capsys.readouterr().out


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def silent(path):
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("kind", "damage", "expected"),
    [
        ("audio", lambda path: path.write_bytes(b""), "empty file"),
        ("audio", cut, "truncated file"),
        ("audio", silent, "no audio track"),
        ("audio", lambda path: path.unlink(), "missing file"),
        ("audio", lambda path: write_wav(path, np.zeros(4000), 8000), "wrong rate"),
        ("audio", lambda path: path.write_bytes(b"RIFF" + bytes(range(200))), "corrupt file"),
        ("video", lambda path: path.write_bytes(b""), "empty file"),
        ("video", cut, "truncated file"),
        ("audio", lambda path: (path.unlink(), os.mkfifo(path)), "not a file"),
        ("video", lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "not a file"),
        ("audio", lambda path: (path.unlink(), path.mkdir()), "not a file"),
        ("video", lambda path: (path.unlink(), path.symlink_to("gone.mp4")), "not a file"),
        ("video", lambda path: path.unlink(), "missing file"),
    ],
)
def test_damaged_recordings_are_listed_with_their_reason(tree, kind, damage, expected):
    path = first(tree, kind)
    damage(path)
    found, quarantine = entries(tree)
    assert {(expected, f"{clip_id(path)} {kind}")} == {each for each in found if each[0] != "lengths differ"}
    assert quarantine.bad == 1
    assert all(entry.reason for entry in quarantine.entries)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda value: value.append(value[0]), "duplicate id"),
        (
            lambda value: value.append({**value[0], "conversation_id": value[0]["conversation_id"].lstrip("0")}),
            "duplicate id",
        ),
        (lambda value: value[1]["turns"][0].pop("dialogue_history"), "malformed"),
        (lambda value: value[1]["speaker_profile"].update(age="ancient"), "malformed"),
        (lambda value: value[1]["turns"][0]["chain_of_empathy"].update(speaker_emotion="zorblatt"), "unknown label"),
        (lambda value: value[1]["turns"][1]["dialogue_history"][0].update(utterance="Other words."), "contradiction"),
    ],
)
def test_bad_entries_are_listed_and_the_rest_is_used(tree, edit, expected):
    change(tree / "train.json", edit)
    found, quarantine = entries(tree)
    assert expected in {kind for kind, _ in found} and quarantine.bad == 1


def test_conversations_without_turns_are_listed_by_id_but_are_no_fault(tree):
    change(tree / "train.json", lambda value: value[2].update(turns=[]))
    found, quarantine = entries(tree)
    emptied = json.loads((tree / "train.json").read_text())[2]["conversation_id"]
    assert ("no turns", emptied) in found and quarantine.bad == 0
    assert len([kind for kind, _ in found if kind == "unclaimed file"]) == 8


def test_json_cut_in_half_does_not_hide_the_other_splits(tree):
    cut(tree / "train.json")
    quarantine = Quarantine(0.5)
    counts = check.check_tree(tree, quarantine)
    assert set(counts) == {"valid", "test"} and quarantine.counts["unreadable file"] == 1


def test_the_same_dialogue_in_two_splits_is_found(tree):
    (tree / "valid.json").write_text((tree / "test.json").read_text())
    assert ("duplicate id") in {kind for kind, _ in entries(tree)[0]}


def test_above_the_limit_the_exit_code_is_one_and_the_report_is_whole(tree, tmp_path, capsys):
    for path in sorted((tree / "audio_v5_0").iterdir())[:3]:
        path.write_bytes(b"")
    report = tmp_path / "report.json"
    assert check.main([str(tree), "--limit=0.2", f"--report={report}"]) == 0
    assert check.main([str(tree), "--limit=0.01", f"--report={report}"]) == 1
    written = json.loads(report.read_text())
    assert written["bad"] == 3 and written["counts"]["empty file"] == 3 and len(written["entries"]) == 3
    assert "3 × empty file" in capsys.readouterr().out


def test_a_folder_that_is_no_set_is_one_line(tmp_path, capsys):
    assert check.main([str(tmp_path / "absent")]) == 2
    assert check.main([str(tmp_path)]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())


def test_every_name_in_use_is_understood(tmp_path, tree):
    assert parse_name("dia07170utt0_9.wav") == (7170, 0, 9) == parse_name("dia7170utt0_9.mp4")
    assert parse_name("dia7170utt1.mp4") == (7170, 0, None)  # the baseline counts from 1
    assert parse_name("dia7170utt0.mp4") is None and parse_name("readme.txt") is None
    for renamed in (lambda n, u, a: f"dia{n}utt{u}_{a}.wav", lambda n, u, a: f"dia{n}utt{u + 1}.wav"):
        for path in sorted((tree / "audio_v5_0").iterdir()):
            path.rename(path.with_name(renamed(*parse_name(path.name)) if "_" in path.name else path.name))
        found = Tree(tree)
        for conversation in schema.read(found.split_file("train")):
            assert all(clip.audio is not None for clip in found.clips(conversation))


def test_a_recording_of_another_person_is_not_taken_for_this_one(tree):
    found = Tree(tree)
    conversation = schema.read(found.split_file("train"))[0]
    path = tree / "audio_v5_0" / media_name(conversation.conversation_id, 0, conversation.speaker.media_id, "audio")
    path.rename(path.with_name(media_name(conversation.conversation_id, 0, 99, "audio")))
    assert Tree(tree).media("audio", conversation, 0, "speaker") is None


def test_the_limit_is_a_fraction_and_enforced_in_one_line():
    with pytest.raises(UserError, match="no fraction"):
        Quarantine(5)
    quarantine = Quarantine(0.1)
    quarantine.saw(20)
    for n in range(2):
        quarantine.add(f"clip {n}", "empty file", "is empty")
        quarantine.add(f"clip {n}", "lengths differ", "twice the same item counts once")
    quarantine.enforce()
    quarantine.add("clip 2", "empty file", "is empty")
    with pytest.raises(UserError, match="3 of 20 items") as caught:
        quarantine.enforce()
    assert "\n" not in str(caught.value)


def test_replies_without_face_coefficients_count_where_a_stage_needs_them(tree, capsys):
    for given, expected in (([], 0), (["--stages=coe,content"], 0), (["--stages=coe,content,joint"], 1)):
        assert check.main([str(tree), *given]) == expected
        out = capsys.readouterr().out
        assert "has no face coefficients" in out or "no utterance has face coefficients" in out
        assert "which the stages style and joint need" in out and ("12 no motion" in out) == expected
    assert check.main([str(tree), "--stages=coe,stile"]) == 2
