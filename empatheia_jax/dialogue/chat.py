"""`--mode=chat`: a conversation in the terminal, every answer also spoken and filmed (`dialogue.commands`)."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from empatheia_jax.care.texts import NOTICE_EVERY
from empatheia_jax.dialogue import asking, commands, look
from empatheia_jax.dialogue.asking import Ask
from empatheia_jax.dialogue.engine import Engine
from empatheia_jax.dialogue.safeguards import Safeguards
from empatheia_jax.errors import UserError
from empatheia_jax.settings import Experiment
from empatheia_jax.settings.flags import ASKED
from empatheia_jax.terminal import visible

COMMANDS = (*ASKED, "help", "quit")
INTRODUCTION = """Say something. An empty line sends a recording without words. Commands:
{commands}
  :help, :quit
What :profile, :voice, :portrait and :emotion say stays until it is changed; without a value they forget it.
:speech and :video go with the next line."""


def chat(
    config: Experiment, workdir: Path, output: Path, ask: Ask | None = None, safeguards: Safeguards | None = None
) -> int:
    """A conversation in the terminal; every answer is also spoken and filmed into `output`.

    What is typed is said; a line that begins with a colon and a word is a command (`INTRODUCTION`). `ask`: what the flags say of
    the listener and of what was said before. `safeguards`: what is checked, told and marked.
    """
    safeguards = safeguards or Safeguards()
    with contextlib.closing(commands.engine(config, workdir, safeguards)) as own:
        talk = Chat(own, output, ask or Ask(), safeguards)
        print(_introduction())
        if talk.ask.text:
            talk.answer()
        for line in _lines():
            if not talk.take(line):
                break
    return 0


def _introduction() -> str:
    commands = "\n".join(f"  :{name:<9} {what}" for name, what in ASKED.items())
    return INTRODUCTION.format(commands=commands)


class Chat:
    """A conversation in the terminal: what was said, and what the next line brings with it.

    A line is kept until it has its answer: where a recording or a command is wrong, nothing has to be typed again. Before the
    first answer, and then every three hours, it says that this is a program; before the first recording, what is read from it.
    """

    def __init__(self, own: Engine, output: Path, ask: Ask, safeguards: Safeguards):
        self.engine, self.model, self.output, self.ask = own, own.responder, output, ask
        self.marks, self.notices = safeguards.marks, safeguards.care.notices()
        self._told_ai: float | None = None
        self._told_read = False
        self.recordings: dict[int, dict[str, Path]] = {}
        self.count = 0

    def take(self, line: str) -> bool:
        """Does what a line asks; False where it ends the conversation."""
        self._notify()
        try:
            found = asking.command(line, COMMANDS)
            if found is None:
                if line or self.ask.text or self.ask.speech or self.ask.video:
                    self.ask = self.ask.with_field("text", asking.said(line) if line else self.ask.text)
                    self.answer()
                return True
            name, argument = found
            if name == "help":
                print(_introduction())
            elif name != "quit":
                self._set(name, argument)
        except UserError as error:
            print(f"\n{visible(str(error))}")
            if self.ask.text:
                print("your line is kept: an empty line says it again")
            return True
        return name != "quit"

    def _notify(self) -> None:
        """That this is a program: at the start, and every three hours."""
        now = time.monotonic()
        if self._told_ai is None or now - self._told_ai >= NOTICE_EVERY:
            self._told_ai = now
            print(f"\n[{self.notices['ai']}]")

    def _set(self, name: str, argument: str) -> None:
        if name in ("speech", "video") and argument and not self._told_read:
            self._told_read = True
            print(f"\n[{self.notices['read']}]")
        self.ask = self.ask.with_field(name, argument)
        if name == "history":
            self.recordings = {}
        if name == "text" and argument:
            self.answer()
        elif name not in ("text", "speech", "video"):
            look.chosen(self.model, self.ask)  # what these weights cannot do is said now

    def answer(self) -> None:
        """Answers the line at hand. Raises `UserError` where that fails; the line stays."""
        ask = self.ask.with_words()
        model, folder = commands.with_look(self.model, ask), self.output / f"{self.count:03d}"
        media = {**self.recordings, **ask.media()}
        said = ask.utterances()
        result = commands.answer(self.engine, model, said, media, ask.profile, folder, ask.facts(), self.marks)
        self.recordings, self.count = media, self.count + 1
        history = (*ask.history, ask.text, result.answer.response)
        self.ask = dataclasses.replace(ask, text="", speech=None, video=None, transcribed=False, history=history)


def _lines() -> Iterator[str]:
    """What is typed, line by line, empty lines too; bytes that are no UTF-8 become question marks."""
    _tolerate(sys.stdin, "replace")
    _tolerate(sys.stdout, "backslashreplace")
    while True:
        try:
            line = input("\nyou> ").strip()
        except EOFError:
            return
        yield line


def _tolerate(stream: Any, errors: str) -> None:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=errors)
