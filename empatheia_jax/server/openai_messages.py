"""OpenAI's messages as a session and a request.

Text, `input_audio`, and `audio_url`, `video_url`, `image_url` parts (data URLs, or ids of uploads) are read. System messages are
not: the model has no place for them, and the answer says that they were left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue.session import Session
from empatheia_jax.server.fields import Fields
from empatheia_jax.server.refusals import Refusal
from empatheia_jax.server.uploads import Upload, Uploads, base64_bytes

MESSAGES = 400
PARTS = 16
_URLS = ("audio_url", "video_url", "image_url")
VOICES = {
    "alloy": ("young", "female", "mild"),
    "ash": ("young", "male", "mild"),
    "ballad": ("young", "male", "gentle"),
    "coral": ("young", "female", "emphatic"),
    "echo": ("middle-aged", "male", "mild"),
    "fable": ("middle-aged", "male", "emphatic"),
    "nova": ("young", "female", "emphatic"),
    "onyx": ("middle-aged", "male", "gentle"),
    "sage": ("middle-aged", "female", "mild"),
    "shimmer": ("middle-aged", "female", "gentle"),
    "verse": ("young", "male", "emphatic"),
}
"""OpenAI's names and who of ours answers to them; every other voice is a profile in words, as "elderly-male-gentle"."""


@dataclasses.dataclass
class Said:
    """Messages as a session with what was said before, and what is to be answered."""

    session: Session
    text: str
    uploads: list[Upload]
    ignored: list[str]


def profile_of(voice: str) -> Profile:
    """Who speaks with a voice. Raises `Refusal` for an unknown one."""
    words = VOICES.get(voice) or tuple(voice.replace("middle-aged", "middle_aged").split("-"))
    words = tuple(word.replace("middle_aged", "middle-aged") for word in words)
    vocabularies = (labels.AGES, labels.GENDERS, labels.TONES)
    if len(words) != 3 or any(word not in vocabulary for word, vocabulary in zip(words, vocabularies)):
        expected = f"expected one of {', '.join(VOICES)}, or age-gender-tone, for example elderly-male-gentle"
        raise Refusal(400, f"there is no voice {voice[:40]!r}; {expected}", param="voice")
    return Profile(*words)


def read(messages: list[Any], uploads: Uploads, characters: int, transcript: Callable[[str], str | None]) -> Said:
    """Reads the messages.

    Args:
        messages: of a request.
        uploads: where recordings are kept.
        characters: most of one message.
        transcript: what was said in an earlier answer, by the id of its sound; None where it is not kept any more.

    Raises:
        Refusal: there is nothing to answer, or a part is wrong.
    """
    said: list[tuple[str, str, list[Upload]]] = []
    ignored = []
    for number, value in enumerate(messages):
        message = Fields(value, f"messages[{number}]")
        role = message.choice("role", ("system", "developer", "user", "assistant"))
        if role is None:
            raise message.wrong("role", "user or assistant")
        if role in ("system", "developer"):
            ignored.append(f"messages[{number}] ({role})")
            continue
        text, media = _content(message, uploads, characters)
        if role == "assistant" and not text and "audio" in message.value:
            id = message.object("audio").text("id", 100) or ""
            text = transcript(id) or ""
            if not text:
                raise Refusal(
                    404, f"the sound {id[:40]!r} is not kept any more; send its transcript as content", param="messages"
                )
        if said and said[-1][0] == role:
            said[-1] = (role, f"{said[-1][1]} {text}".strip(), [*said[-1][2], *media])
        else:
            said.append((role, text, media))
    if not said or said[-1][0] != "user":
        raise Refusal(400, "there is nothing to answer; expected a message of the user at the end", param="messages")
    if said[0][0] == "assistant":
        said.insert(0, ("user", "", []))
    *before, (_, text, media) = said
    if not text.strip() and not media:
        raise Refusal(400, "the last message holds no words and no recording", param="messages")
    session = Session.of([each[1] for each in before])
    for turn, (_, _, recorded) in zip(session.turns, before[::2]):
        turn.media = of_uploads(recorded)
    return Said(session, text, media, ignored)


def of_uploads(uploads: list[Upload]) -> dict[str, Path]:
    """Recordings as a session keeps them: the last of each kind."""
    found = {}
    for upload in uploads:
        for kind, path in (("speech", upload.speech), ("video", upload.video)):
            if path is not None:
                found[kind] = path
    return found


def _content(message: Fields, uploads: Uploads, characters: int) -> tuple[str, list[Upload]]:
    if not isinstance(message.value.get("content"), list):
        return message.text("content", characters, "") or "", []
    texts, media = [], []
    for number, value in enumerate(message.list("content", PARTS)):
        part = Fields(value, f"{message.name('content')}[{number}]")
        kind = part.value.get("type")
        if kind == "text":
            texts.append(part.text("text", characters, "") or "")
        elif kind == "refusal":
            texts.append(part.text("refusal", characters, "") or "")
        elif kind == "input_audio":
            sound = part.object("input_audio")
            media.append(uploads.of_bytes(base64_bytes(sound.text("data", 1 << 26, "") or "")))
        elif kind in _URLS:
            given = part.value.get(kind)
            url = given if isinstance(given, str) else part.object(str(kind)).text("url", 1 << 26)
            media.append(uploads.of_url(url or ""))
        elif kind == "file":
            media.append(uploads.of_url(part.object("file").text("file_id", 100) or ""))
        else:
            raise part.wrong("type", f"text, input_audio, {', '.join(_URLS)} or file")
    return " ".join(text for text in texts if text), media
