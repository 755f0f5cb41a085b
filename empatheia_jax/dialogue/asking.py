"""What a person asks, by flags (`--text=…`) or by commands in a chat (`:speech FILE`): read, judged at once, and typed.

Both ways have the same names (`settings.flags.ASKED`). Nothing of the model is loaded here.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.conversation.schema import Profile, Utterance
from empatheia_jax.errors import UserError

LONGEST = 60.0
"""Seconds of a recording; the longest utterances of AvaMERG are under 30."""
_COMMAND = re.compile(r":([^\W\d_]\S*)(?:\s+(.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Ask:
    """One utterance and how it is to be answered. What is empty or None was not asked for.

    history: texts, the user's first, the avatar's last. transcribed: `text` was heard in `speech`.
    """

    text: str = ""
    speech: Path | None = None
    video: Path | None = None
    profile: Profile | None = None
    voice: str | Path = ""
    portrait: Path | None = None
    emotion: str = ""
    history: tuple[str, ...] = ()
    transcribed: bool = False

    def with_field(self, name: str, value: str) -> Ask:
        """This, with a field read from what was typed; an empty value takes it back.

        Raises:
          UserError: the value cannot be used: no such file, a damaged recording, a word of no vocabulary …
        """
        found = READERS[name](value.strip()) if value.strip() else getattr(Ask(), name)
        return dataclasses.replace(self, **{name: found})

    def with_words(self) -> Ask:
        """This, with the words of its recording where it has none of its own.

        Raises:
          UserError: there is nothing to answer, no recogniser is installed, or nobody speaks in the recording.
        """
        if self.text:
            return self
        recording = self.speech or self.video
        if recording is None:
            raise UserError('there is nothing to answer; expected words (--text="…") or a recording (--speech=FILE)')
        from empatheia_jax.media import transcription
        from empatheia_jax.media.audio import read_audio

        if not transcription.is_installed():
            raise UserError(
                f"there are no words beside {recording}, and no speech recogniser is installed; write what is said, or run: "
                f"{transcription.INSTALL}"
            )
        heard = transcription.words(read_audio(recording, transcription.RATE, max_seconds=LONGEST))
        if not heard:
            raise UserError(f"no words were heard in {recording}; write what is said")
        return dataclasses.replace(self, text=heard, transcribed=True)

    def utterances(self) -> list[Utterance]:
        """The whole conversation, this utterance last."""
        said = (*self.history, self.text)
        return [Utterance(index, schema.ROLES[index % 2], each) for index, each in enumerate(said)]

    def media(self) -> dict[int, dict[str, Path]]:
        """The recordings by index of the utterance, as a prompt takes them."""
        found = {kind: path for kind, path in (("speech", self.speech), ("video", self.video)) if path is not None}
        return {len(self.history): found} if found else {}

    def facts(self) -> dict[str, Any]:
        """What `reply.json` keeps of the question."""
        found: dict[str, Any] = {"asked": self.text}
        found |= {"transcribed": True} if self.transcribed else {}
        wishes = {name: getattr(self, name) for name in ("voice", "portrait", "emotion")}
        return found | {f"asked_{name}": str(value) for name, value in wishes.items() if value}


# ---------------------------------------------------------------- one field


def path_of(text: str, what: str = "a file") -> Path:
    """The file that a person means: as it is written, with ~ for the home folder, in quotes, or as a shell would read it.

    Raises:
      UserError: there is no such file.
    """
    for each in _spellings(text):
        try:
            path = Path(each).expanduser()
            if path.is_file():
                return path
        except (RuntimeError, ValueError, OSError):  # an unknown ~user, a NUL, a name that is too long
            continue
    raise UserError(f"there is no file {text[:300]!r}; expected the path of {what}")


def _spellings(text: str) -> list[str]:
    found = [text]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        found.append(text[1:-1])
    if text.startswith("file://"):
        from urllib.parse import unquote

        found.append(unquote(text.removeprefix("file://")))
    try:
        words = shlex.split(text)
    except ValueError:  # a quotation mark that is part of the name
        words = []
    return found + words if len(words) == 1 else found


def _speech(text: str) -> Path:
    from empatheia_jax.media.audio import read_audio

    path = path_of(text, "a sound file")
    read_audio(path, 16_000, max_seconds=LONGEST)  # to the end: damage is said now, not when the reply is made
    return path


def _video(text: str) -> Path:
    from empatheia_jax.media.video import read_frames

    path = path_of(text, "a film")
    read_frames(path, count=24, max_seconds=LONGEST, reduce=lambda frame: frame[:1, :1])
    return path


def _portrait(text: str) -> Path:
    from empatheia_jax.dreamtalk import photo
    from empatheia_jax.media.image import read_portrait

    path = path_of(text, "a picture")
    photo.judged(read_portrait(path), str(path))
    return path


def _voice(text: str) -> str | Path:
    from empatheia_jax.styletts2.voices import Voice

    try:
        path = path_of(text)
    except UserError:
        if re.search(r"[/\\~\"']|\.\w{2,4}$", text):
            raise
        Voice.parse(text)
        return text
    _speech(str(path))
    return path


def _emotion(text: str) -> str:
    word = labels.normalise(text)
    if word in (*labels.EMOTIONS_7, NEUTRAL):
        return word
    label = labels.emotion32(word)
    if label is None:
        raise UserError(f"emotion {text!r} cannot be shown; expected one of {', '.join((*labels.EMOTIONS_7, NEUTRAL))}")
    return labels.emotion7(label)


def _history(text: str) -> tuple[str, ...]:
    """What was said before: of a text file, of `reply.json`, or of a dialogue in the released layout."""
    path = path_of(text, "a text file, or a dialogue in JSON")
    if path.suffix.lower() == ".json":
        said = _said_in(path)
    else:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, OSError):
            raise UserError(
                f"{path} is not a text file in UTF-8; expected an utterance in each line, yours first"
            ) from None
        said = [line.strip() for line in lines if line.strip()]
    if len(said) % 2:
        raise UserError(
            f"{path} holds {len(said)} utterances; expected an even number: yours first, the avatar's last; what you say now is "
            "--text"
        )
    return tuple(said)


def _said_in(path: Path) -> list[str]:
    content = schema.load_json(path)
    if isinstance(content, dict) and isinstance(content.get("asked"), str) and isinstance(content.get("response"), str):
        return [content["asked"], content["response"]]  # a reply of ours
    if isinstance(content, list) and all(isinstance(each, str) for each in content):
        return [str(each) for each in content]
    conversations = schema.read(path)
    if len(conversations) != 1:
        raise UserError(f"{path} holds {len(conversations)} conversations; expected one")
    return [each.text for each in conversations[0].utterances()]


READERS: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "speech": _speech,
    "video": _video,
    "profile": Profile.parse,
    "voice": _voice,
    "portrait": _portrait,
    "emotion": _emotion,
    "history": _history,
}


# ---------------------------------------------------------------- flags, commands


def of_flags(values: Mapping[str, str | None], *, complete: bool = True) -> Ask | None:
    """What the flags ask; None where none of them was given. `complete`: there must be something to answer.

    Raises:
      UserError: with a line for each flag whose value cannot be used.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        return None
    ask, lines = Ask(), []
    for name, value in given.items():
        try:
            ask = ask.with_field(name, value)
        except UserError as error:
            lines.append(f"--{name}: {error}")
    if lines:
        raise UserError.of(lines)
    return ask.with_words() if complete else ask


def command(line: str, known: Sequence[str]) -> tuple[str, str] | None:
    """(name, argument) of a line that is a command, `:speech FILE` say; None for a line that is said.

    A line is said, too, where no letter follows its colon (":-)"), and where it begins with two colons, one of which is taken off
    by `said`.

    Raises:
      UserError: the command is unknown. It is never said to the model.
    """
    match = _COMMAND.fullmatch(line)
    if match is None:
        return None
    name, argument = match[1].lower(), (match[2] or "").strip()
    if name not in known:
        expected = ", ".join(f":{each}" for each in known)
        raise UserError(
            f"there is no command :{match[1][:40]}; expected {expected}, and its value after a blank; to say this line, write it "
            "with two colons"
        )
    return name, argument


def said(line: str) -> str:
    """The words of a line that is no command."""
    return line[1:] if line.startswith("::") else line
