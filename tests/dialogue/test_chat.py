"""`--mode=chat`: what steers a terminal is shown, and one invalid byte ends nothing."""

from __future__ import annotations

import io
import sys

import pytest

from empatheia_jax.dialogue import commands
from empatheia_jax.errors import UserError, main_guard
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
    found = list(commands._lines())
    assert found == ["hello", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} sad", "bye"]
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
