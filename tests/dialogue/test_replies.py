"""`--mode=reply --modalities=text`: one line for each turn, whatever the file leaves out, and a stopped command goes on."""

from __future__ import annotations

import json

import pytest

import launch
from configs import debug
from empatheia_jax.conversation import labels
from empatheia_jax.dialogue import replies
from empatheia_jax.errors import UserError
from empatheia_jax.settings import resolve
from tests.runs import folders

ASKED = ["I lost my keys.", "My cat came back!", "I failed the exam, and nobody knows."]


@pytest.fixture(scope="module")
def config():
    values = debug.get_config()
    values.decoding.update({"step_tokens": 2, "response_tokens": 4})
    return resolve(values)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return folders.untrained(config, tmp_path_factory.mktemp("run")).folder


def bare(count: int) -> list[dict]:
    """Dialogues as the released test files have them: no profiles, no chains, no responses."""
    return [
        {
            "conversation_id": f"{n:05d}",
            "turns": [
                {
                    "turn_id": str(k),
                    "dialogue_history": [
                        {"index": i, "role": ("speaker", "listener")[i % 2], "utterance": ASKED[(n + i) % 3]}
                        for i in range(2 * k + 1)
                    ],
                }
                for k in range(2)
            ],
        }
        for n in range(count)
    ]


@pytest.fixture
def source(tmp_path):
    entries = [*bare(3), {"conversation_id": "7", "turns": [{"turn_id": "0", "dialogue_history": []}]}, *bare(10)[3:]]
    entries.append({"conversation_id": "00099", "turns": []})
    path = tmp_path / "dialogues.json"
    path.write_text(json.dumps(entries))
    return path


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / replies.FILE).read_text().splitlines()]


def untimed(found: list[dict]) -> list[dict]:
    return [{key: value for key, value in each.items() if key != "timings"} for each in found]


def test_every_turn_gets_a_line_and_a_stopped_command_goes_on(config, run, source, tmp_path, capsys, monkeypatch):
    whole = tmp_path / "whole"
    assert replies.run(config, run, source, whole) == 0
    found = lines(whole)
    assert "left out: dialogues.json, conversation 3" in capsys.readouterr().err
    expected = [(entry["conversation_id"], turn["turn_id"]) for entry in bare(10) for turn in entry["turns"]]
    assert [(each["conversation_id"], each["turn_id"]) for each in found] == expected
    for each in found:
        assert each["complete"] and each["response"] and each["speaker_emotion"] in labels.EMOTIONS_32
        assert {"event_scenario", "emotion_cause", "goal_to_response", "emotion", "profile", "timings", "asked"} <= set(
            each
        )
        assert each["profile"] is None and each["heard"] == []

    # Stopped in the middle of a line of the second batch; a new start cuts it off and writes the same.
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / replies.MARK).write_bytes((whole / replies.MARK).read_bytes())
    content = (whole / replies.FILE).read_bytes()
    (stopped / replies.FILE).write_bytes(content[: content.rindex(b"\n", 0, -40) + 30])
    before = (stopped / replies.FILE).read_bytes().splitlines()[: replies.BATCH]
    assert replies.run(config, run, source, stopped) == 0
    assert untimed(lines(stopped)) == untimed(found)
    assert (stopped / replies.FILE).read_bytes().splitlines()[: replies.BATCH] == before  # not written again

    # Nothing is left to do: no network is loaded.
    monkeypatch.setattr(replies, "answering", lambda *_: pytest.fail("loaded"))
    assert replies.run(config, run, source, whole) == 0
    assert untimed(lines(whole)) == untimed(found)


def test_a_folder_with_replies_to_something_else_is_refused(config, run, source, tmp_path):
    output = tmp_path / "out"
    assert replies.run(config, run, source, output, limit=2) == 0
    assert len(lines(output)) == 2
    source.write_text(json.dumps(bare(4)))
    with pytest.raises(UserError, match="another input"):
        replies.run(config, run, source, output)
    (output / replies.MARK).unlink()
    with pytest.raises(UserError, match="unknown origin"):
        replies.run(config, run, source, output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input=none.json", "--modalities=text"], "none.json"),
        (["--input=none.json", "--limit=3"], "--modalities=text"),
        (["--input=none.json", "--modalities=text", "--limit=0"], "limit"),
        (["--input=none.json", "--modalities=smell"], "modalities"),
    ],
)
def test_wrong_flags_are_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = str(debug.__file__)
    command = ["launch.py", f"--config={config}", "--mode=reply", f"--output={tmp_path / 'out'}", *arguments]
    assert launch.main(command) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not (tmp_path / "out" / replies.FILE).exists()
