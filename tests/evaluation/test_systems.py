"""Folders of replies: read whole, compared on the same turns, and refused in one line where something is wrong."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from empatheia_jax.conversation.reply_folder import Manifest
from empatheia_jax.errors import UserError
from evaluation import ground_truth, questions, results, run, systems
from evaluation.judges import Judges
from evaluation.store import Store
from tests.conftest import ROOT


@pytest.fixture
def folder(truth, tmp_path):
    """A system of one's own: a copy of the ground truth under another name."""
    shutil.copytree(truth, tmp_path / "mine")
    change(tmp_path / "mine", system="Mine", row="mine")
    return tmp_path / "mine"


def change(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture(scope="module")
def asked(data):
    return questions.read(data / "test.json")


def match(folders, asked, **options):
    return systems.matched([systems.read(each) for each in folders], asked, **options)


def test_the_recordings_of_a_split_are_a_system(truth, asked):
    found = match([truth], asked)
    assert list(found.questions) == list(asked) and len(asked) == 4 and not found.left_out
    (system,) = found.systems
    assert (system.row, system.name) == ("ground-truth", "Ground-Truth")
    for name, question in asked.items():
        reply = system.replies[name]
        assert reply.response == question.reference and reply.speech.is_file() and reply.film.is_file()
        assert question.emotion is not None and question.speaker is not None and question.listener is not None


def test_last_turns_are_one_for_each_dialogue(asked):
    last = ground_truth.last_turns(asked)
    assert sorted(last) == sorted(name for name in asked if name.endswith("_1"))


def test_files_beside_each_other_and_lines_are_read_as_well(truth, asked, tmp_path):
    flat, lines = tmp_path / "flat", tmp_path / "lines"
    flat.mkdir(), lines.mkdir()
    for name in asked:
        for path in (truth / name).iterdir():
            shutil.copyfile(path, flat / f"{name}{path.suffix}")
    shutil.copyfile(truth / "manifest.json", flat / "manifest.json")
    (lines / "replies.jsonl").write_text("\n".join(json.dumps({"id": name, "response": "Yes."}) for name in asked))
    Manifest("Lines", tuple(asked)).write(lines)
    found = match([flat, lines], asked)
    assert [each.row for each in found.systems] == ["ground-truth", "lines"]
    assert {reply.response for reply in found.systems[1].replies.values()} == {"Yes."}


FAULTS = {
    "another version": (lambda folder, name: change(folder, version=2), "version 2; this program reads version 1"),
    "another format": (lambda folder, name: change(folder, format="other"), "no manifest of replies"),
    "no ids": (lambda folder, name: change(folder, ids=[]), "a list of the turns"),
    "an id twice": (lambda folder, name: change(folder, ids=[name, name]), "twice"),
    "an id that leaves the folder": (lambda folder, name: change(folder, ids=["../1_0"]), "no id of a reply"),
    "no manifest": (lambda folder, name: (folder / "manifest.json").unlink(), "no manifest.json"),
    "a manifest that is no JSON": (lambda folder, name: (folder / "manifest.json").write_text("{"), "not valid JSON"),
    "other ids": (lambda folder, name: change(folder, ids=["99999_0"]), "does not exist"),
    "fewer ids": (lambda folder, name: change(folder, ids=[name]), "manifest does not name"),
    "no text": (lambda folder, name: (folder / name / "reply.json").unlink(), "does not exist"),
    "empty words": (
        lambda folder, name: (folder / name / "reply.json").write_text('{"response": " "}'),
        "expected words",
    ),
    "another turn": (
        lambda folder, name: (folder / name / "reply.json").write_text('{"response": "Yes.", "turn_id": "7"}'),
        "says that it answers turn_id",
    ),
    "no film": (lambda folder, name: (folder / name / "reply.mp4").unlink(), "promises video"),
    "an empty sound": (lambda folder, name: (folder / name / "reply.wav").write_bytes(b""), "promises speech"),
}


LINES = {
    "nested too deeply": b"[" * 100_000,
    "an id that is a list": b'{"id": ["1_0"], "response": "Yes."}\n{"id": ["1_0"], "response": "Yes."}',
    "no UTF-8": b'{"id": "\xff", "response": "Yes."}',
    "a number of 5,000 digits": b'{"id": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("fault", LINES)
def test_lines_that_break_readers_of_json_are_one_line(fault, asked, tmp_path):
    Manifest("Lines", tuple(asked)).write(tmp_path)
    (tmp_path / "replies.jsonl").write_bytes(LINES[fault])
    with pytest.raises(UserError, match=r"replies\.jsonl, line \d: "):
        match([tmp_path], asked)


def test_damaged_lines_of_what_was_measured_are_passed_over(tmp_path):
    Store(tmp_path).put("a", {"value": 1.0})
    with (tmp_path / "values-0.jsonl").open("ab") as file:
        file.write(
            b"[" * 100_000 + b'\n{"key": "b", "value": 5}\n\xff\0\n{"key": ["c"], "value": {}}\n{"key": "d", "va'
        )
    found = Store(tmp_path)
    assert found.get("a") == {"value": 1.0} and found.get("b") is None
    found.put("e", {"value": 2.0})
    assert Store(tmp_path).get("e") == {"value": 2.0}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_in_its_own_words(fault, folder, truth, asked):
    break_it, message = FAULTS[fault]
    break_it(folder, next(iter(asked)))
    with pytest.raises(UserError, match=message):
        match([truth, folder], asked)


def test_with_common_the_turns_that_all_answered_are_kept_and_the_others_said(folder, truth, asked):
    first, second = list(asked)[:2]
    (folder / first / "reply.mp4").unlink()
    shutil.rmtree(folder / second)
    change(folder, ids=[name for name in asked if name != second])
    with pytest.raises(UserError, match="answered by Ground-Truth and not by Mine"):
        match([truth, folder], asked)
    found = match([truth, folder], asked, common=True)
    assert list(found.questions) == list(asked)[2:]
    assert all(list(each.replies) == list(asked)[2:] for each in found.systems)
    assert set(found.left_out) == {first, second} and "promises video" in found.left_out[first]


def test_replies_to_another_file_and_two_claims_of_a_row_are_refused(folder, truth, asked):
    with pytest.raises(UserError, match="claimed by"):
        match([truth, truth], asked)
    with pytest.raises(UserError, match="does not ask"):
        match([folder], dict(list(asked.items())[1:]))


def test_the_ten_lines_of_the_documentation_make_a_system_with_a_row(data, truth, asked, tmp_path, capsys):
    page = (ROOT / "docs" / "evaluation.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in lines.splitlines() if line.strip()]) <= 12 and "empatheia_jax" not in lines
    exec(lines.replace("DATA", str(data)).replace("FOLDER", str(tmp_path / "mine")), {})
    found = match([truth, tmp_path / "mine"], asked)
    assert found.systems[1].row == "listener" and found.systems[1].replies.keys() == asked.keys()
    values = {name: {} for name in asked}
    made = run.Evaluation(
        found.systems, asked, {}, 0, {s.row: values for s in found.systems}, Judges(chosen=()), Store(tmp_path / "c")
    )
    table = results.paper_tables(made)[0]
    row = next(each for each in table.rows if each.key == "listener")
    assert row.title == "Listener" and row.cells["distinct1"].n == 4 and row.cells["accuracy"].value is not None
