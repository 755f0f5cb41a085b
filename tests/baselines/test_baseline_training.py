"""Training and replies of the baselines by their commands."""

from __future__ import annotations

import json

import pytest

import launch
from empatheia_jax.baselines.settings import KINDS
from empatheia_jax.conversation.reply_folder import Manifest
from evaluation import run as evaluation
from evaluation import text
from evaluation.judges import Judges
from tests.baselines.conftest import config_for


def flags(kind, data, workdir, **changes):
    """The command line of a training at test size."""
    values = config_for(kind, data, **changes).to_dict()
    flat = {
        f"{key}.{name}" if name else key: each
        for key, value in values.items()
        for name, each in (value.items() if isinstance(value, dict) else [("", value)])
    }
    overrides = [f"--config.{key}={value}" for key, value in flat.items() if key not in ("name", "trains")]
    return ["launch.py", f"--config=configs/baselines.py:{kind}", *overrides, f"--workdir={workdir}"]


@pytest.fixture(scope="module", params=KINDS)
def trained(request, data, known, tmp_path_factory):
    """(kind, run) of a training on four dialogues: CEM and KEMP with knowledge, CASE without."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    knowledge = "" if kind == "case" else str(known)
    assert launch.main(flags(kind, data, folder, knowledge=knowledge)) == 0
    return kind, folder


def test_the_loss_falls_and_the_emotion_is_learnt(trained):
    kind, folder = trained
    lines = [json.loads(line) for line in (folder / "metrics" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["reply"] for line in lines if line["stage"] == kind and "reply" in line]
    assert losses[-1] < 0.5 * losses[0]
    assert lines[-1]["eval/emotion_accuracy"] == 1  # the validation split holds the same dialogues


def test_a_trained_baseline_writes_a_folder_that_the_evaluation_reads(trained, data, tmp_path):
    kind, folder = trained
    output = tmp_path / "replies"
    # Nothing of the training is said again: the run's own config decides.
    command = ["launch.py", f"--config=configs/baselines.py:{kind}", f"--workdir={folder}", "--mode=reply"]
    assert launch.main([*command, "--input=test", f"--output={output}"]) == 0
    manifest = Manifest.read(output)
    assert manifest.row == kind and len(manifest.ids) == 5
    found = evaluation.evaluate([(None, output)], data / "test.json", tmp_path / "cache", judges=Judges(chosen=()))
    replies = found.systems[0].replies
    assert {name: each.emotion for name, each in replies.items()} == {
        name: each.emotion for name, each in found.questions.items()
    }
    # It has learnt what was said.
    right = [
        text.normalise(replies[name].response) == text.normalise(each.reference)
        for name, each in found.questions.items()
    ]
    assert sum(right) >= 3
    reduced = kind == "case"
    assert ("without external knowledge" in manifest.extra["note"]) == reduced
    assert manifest.extra["note"].endswith("; 40 steps of 4 on 5 turns")


def test_a_run_is_asked_with_the_knowledge_that_it_was_trained_with(trained, known, tmp_path, capsys):
    kind, folder = trained
    other = known if kind == "case" else ""
    command = ["launch.py", f"--config=configs/baselines.py:{kind}", f"--workdir={folder}", "--mode=reply"]
    assert launch.main([*command, "--input=test", f"--output={tmp_path}", f"--config.knowledge={other}"]) == 2
    assert "was trained with" in capsys.readouterr().err
