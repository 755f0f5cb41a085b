"""What a reply's folder is marked with, and what the command that reads marks says of it."""

from __future__ import annotations

import numpy as np
import pytest

from empatheia_jax.conversation.answer import Answer
from empatheia_jax.dialogue import commands, verify
from empatheia_jax.dialogue.responder import DEFAULT_LISTENER, Reply
from empatheia_jax.media.audio import read_audio
from empatheia_jax.provenance import manifest
from empatheia_jax.provenance.marks import Marks
from tests.provenance.test_watermark import voice

RATE = 24_000


@pytest.fixture
def weights(watermark_folder, monkeypatch):
    """The current folder is one with weights/perth."""
    monkeypatch.chdir(watermark_folder.parent.parent)


def reply():
    frames = np.zeros((75, 32, 32, 3), np.uint8)
    return Reply(
        answer=Answer(None, "sad", None, None, "I hear you.", True), text="", emotion={"of_32": "sad"},
        shown=("neutral", 1.0), profile=DEFAULT_LISTENER, heard=(), speech=voice(), rate=RATE, frames=iter([frames]),
        frame_count=75, size=(32, 32), timings={},
    )  # fmt: skip


def test_both_marks_are_found_in_what_a_reply_writes(weights, tmp_path, capsys):
    marks = Marks()
    assert marks.notice == ""
    folder = commands.write_reply(reply(), tmp_path / "out", {"asked": "Hello."}, marks)
    for name in ("reply.wav", "reply.mp4"):
        assert verify.main([str(folder / name)]) == 0
        told = capsys.readouterr().out
        assert "watermark: found" in told and "every byte is as it was signed" in told
        assert manifest.read(folder / name).facts == {"watermark": True}  # and not what was said


def test_without_marks_a_reply_is_written_as_it_is(weights, tmp_path, capsys):
    sound = read_audio(commands.write_reply(reply(), tmp_path / "out", {}, Marks.none()) / "reply.wav", RATE)
    np.testing.assert_allclose(sound, voice(), atol=1e-4)
    assert verify.main([str(tmp_path / "out" / "reply.mp4")]) == 0
    told = capsys.readouterr().out
    assert "watermark: not found" in told and "signed statement: none" in told


def test_what_is_not_installed_is_one_line_and_the_reply_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no weights here
    assert "the sound has no watermark" in Marks().notice and "files" not in Marks().notice
    monkeypatch.setattr(manifest, "available", lambda: False)
    marks = Marks()
    assert "no marks of origin" in marks.notice and "empatheia-jax[marks]" in marks.notice and "\n" not in marks.notice
    folder = commands.write_reply(reply(), tmp_path / "out", {}, marks)
    assert sorted(path.name for path in folder.iterdir()) == ["reply.json", "reply.mp4", "reply.wav"]
    assert Marks.none().notice == ""
