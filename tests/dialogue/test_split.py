"""`--mode=reply --input=test`: a folder for each turn, a manifest at the end, and a stopped command goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest

import launch
from configs import debug
from data_pipeline import toy
from empatheia_jax.conversation import schema
from empatheia_jax.dialogue import commands, split
from empatheia_jax.errors import UserError
from empatheia_jax.settings import resolve
from evaluation import questions, systems
from tests.runs import folders


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return folders.untrained(resolve(debug.get_config()), tmp_path_factory.mktemp("run")).folder


@pytest.fixture
def source(tmp_path):
    (tmp_path / "data").mkdir()
    schema.write(tmp_path / "data" / "test.json", toy.conversations("test", 2))
    return tmp_path / "data" / "test.json"


def files(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json":
            values = json.loads(path.read_text())
            values.pop("timings", None)
            found[path.relative_to(folder)] = values
        elif path.is_file() and path.suffix != ".npz":
            found[path.relative_to(folder)] = path.read_bytes()
    return found


def test_a_split_becomes_a_system_and_a_stopped_command_goes_on(run, source, tmp_path, monkeypatch, capsys):
    config, output = str(debug.__file__), tmp_path / "out"
    command = ["launch.py", f"--config={config}", "--mode=reply", "--input=test", f"--workdir={run}", "--limit=3"]
    command += [
        f"--config.data.path={source.parent}",
        "--config.decoding.response_tokens=6",
        "--config.decoding.step_tokens=2",
    ]
    assert launch.main([*command, f"--output={output}"]) == 0
    asked = questions.read(source)
    system = systems.read(output)
    assert list(system.replies) == list(asked)[:3] and not system.left_out
    assert system.manifest.seed == 13 and system.manifest.config and system.manifest.hardware.startswith("1 × ")
    for name, reply in system.replies.items():
        assert reply.values["asked"] == asked[name].asked and reply.speech and reply.film
        with np.load(reply.features) as found:
            assert found["emotion"].shape == found["profile"].shape and found["r_speech"].ndim == 1

    whole, second = files(output), list(asked)[1]
    for path in (output / second).iterdir():
        path.unlink()
    (output / "manifest.json").unlink()
    kept = (output / list(asked)[0] / "reply.json").stat().st_mtime_ns
    assert launch.main([*command, f"--output={output}"]) == 0
    assert files(output) == whole
    assert (output / list(asked)[0] / "reply.json").stat().st_mtime_ns == kept

    # Nothing is left to do: no network is loaded. Other settings belong into another folder.
    monkeypatch.setattr(commands, "responder", lambda *_, **__: pytest.fail("loaded"))
    assert launch.main([*command, f"--output={output}"]) == 0
    assert launch.main([*command, f"--output={output}", "--config.decoding.top_k=3"]) == 2
    assert "another decoding" in capsys.readouterr().err


def test_a_turn_without_a_reply_is_said_and_the_others_stand(run, source, tmp_path, monkeypatch):
    answered = []

    def answer(responder, conversation, turn, media, folder):
        if not answered:
            answered.append(folder)
            raise UserError("the model wrote no reply")
        folder.mkdir(parents=True)
        (folder / "reply.json").write_text("{}")

    monkeypatch.setattr(commands, "responder", lambda *_, **__: None)
    monkeypatch.setattr(split, "_answer", answer)
    with pytest.raises(UserError, match="1 of 4 turns have no reply"):
        split.run(resolve(debug.get_config()), run, source, tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "manifest.json").read_text())["ids"]) == 3
