"""`--mode=chat`: what steers a terminal is shown, and one invalid byte ends nothing."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from empatheia_jax.conversation.answer import parse_reply
from empatheia_jax.dialogue import chat, commands
from empatheia_jax.dialogue.asking import Ask
from empatheia_jax.dialogue.events import Instead
from empatheia_jax.dialogue.safeguards import Safeguards
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.audio import write_wav
from empatheia_jax.terminal import visible

HOSTILE = {
    "\x1b[31mred": "\\x1b[31mred",
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "\x9b31m": "\\x9b31m",
    "a\rb\x08c\x7f": "a\\x0db\\x08c\\x7f",
    "abc\u202edef": "abc\\u202edef",
    "\ud800": "\\ud800",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_steers_a_terminal_is_spelled(text):
    assert visible(text) == HOSTILE[text]


def test_ordinary_text_stays():
    for text in ("two\nlines\tand a tab", "naïve café 日本語 😀👩‍👩‍👧", "שלום and مرحبا"):
        assert visible(text) == text


def test_streamed_pieces_and_errors_are_shown_too(capsys):
    for piece in ("\x1b", "[2J", "hello"):  # a sequence in two pieces
        commands._show(piece)
    assert capsys.readouterr().out == "\\x1b[2Jhello"

    @main_guard
    def main():
        raise UserError("the file says \x1b]0;title\x07")

    assert main() == 2
    assert "\x1b" not in capsys.readouterr().err


def test_one_invalid_byte_does_not_end_a_chat(monkeypatch):
    typed = io.TextIOWrapper(io.BytesIO(b"hello\n\xff\xfe sad\n\nbye\n"), encoding="utf-8")
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdin", typed)
    monkeypatch.setattr(sys, "stdout", printed)
    found = list(chat._lines())
    assert found == ["hello", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} sad", "", "bye"]
    print("日本語")  # a terminal of another encoding


def test_a_free_answer_without_its_form_is_warned_about(capsys):
    class Model:
        class policy:
            chain_of_empathy = True

    class Result:
        from empatheia_jax.conversation.answer import parse_reply

        answer = parse_reply("Just words.")

    commands._warn(Model, Result)
    error = capsys.readouterr().err
    assert "speaker_emotion" in error and "decoding.form=fixed" in error


class Scripted:
    """An engine and its responder that keeps what it is asked; it fails while `broken`."""

    def __init__(self):
        self.asked, self.broken, self.voices, self.speaker, self.seed = [], False, None, None, 0
        self.responder = self

    def reply(self, session, request, on_event, responder):
        assert request.again and responder is self
        if self.broken:
            raise UserError("the recording is odd")
        history, media = session.history()
        self.asked.append(([each.text for each in history], media, session.profile))
        return SimpleNamespace(answer=parse_reply("Step-5: fine"), heard=("speech",))


@pytest.fixture
def talk(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "write_reply", lambda *_: None)
    monkeypatch.setattr(commands, "_warn", lambda *_: None)
    return chat.Chat(Scripted(), tmp_path, Ask(), Safeguards())


def test_an_unknown_command_is_refused_and_never_said(talk, capsys):
    for line in (":poertrait x.png", ":D", ":speech=a.wav", ":emotion,happy", ":quit.", ":höre a.wav"):
        assert talk.take(line)
        assert "there is no command" in capsys.readouterr().out
    assert not talk.model.asked
    talk.take("::D and :-)")
    talk.take(":) hello")
    assert [history[-1] for history, *_ in talk.model.asked] == [":D and :-)", ":) hello"]


def test_what_is_set_stays_and_a_recording_goes_with_one_line(talk, tmp_path):
    sound = tmp_path / 'my voice\'s "first" take.wav'
    write_wav(sound, np.full(1600, 0.1, np.float32), 16_000)
    talk.take(":profile elderly, male gentle")
    talk.take(f":speech '{sound}'")
    talk.take("one")
    talk.take("two")
    (_, media, listener), (history, later, _) = talk.model.asked
    assert media == {0: {"speech": sound}} and later == media and listener.age == "elderly"
    assert history == ["one", "fine", "two"]
    talk.take(":profile")
    assert talk.ask.profile is None and talk.take(":help") and not talk.take(":quit")


def test_a_faulty_recording_is_said_at_once_and_the_line_is_kept(talk, tmp_path, capsys):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF not a sound at all")
    talk.take(f":speech {broken}")
    assert "broken.wav" in capsys.readouterr().out and talk.ask.speech is None
    talk.model.broken = True
    talk.take("a long line")
    assert "your line is kept" in capsys.readouterr().out
    talk.model.broken = False
    talk.take("")
    talk.take("")  # nothing is left to say
    assert [history for history, *_ in talk.model.asked] == [["a long line"]]


def test_the_terminal_says_that_it_is_a_program_and_what_a_recording_is_read_for(talk, tmp_path, capsys, monkeypatch):
    told = Safeguards().care.notices()
    clock = [0.0]
    monkeypatch.setattr(commands.time, "monotonic", lambda: clock[0])
    sound = tmp_path / "a.wav"
    write_wav(sound, np.full(1600, 0.1, np.float32), 16_000)
    found = []
    for seconds, line in ((0, "one"), (60, f":speech {sound}"), (120, f":speech {sound}"), (3 * 3600, "two")):
        clock[0] = seconds
        talk.take(line)
        output = capsys.readouterr().out
        found.append((told["ai"] in output, told["read"] in output))
    assert found == [(True, False), (False, True), (False, False), (True, False)]


def test_the_terminal_says_why_a_fixed_text_follows(capsys):
    commands._show_event(Instead(generation="", kind="self-harm", notice="This is a fixed text."))
    assert "[This is a fixed text.]" in capsys.readouterr().out
