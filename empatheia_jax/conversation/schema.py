"""A dialogue as the released AvaMERG files write it: typed, read with errors of one line, written back without loss.

One file is a JSON list of conversations::

    [{"conversation_id": "01118",
      "speaker_profile": {"age", "gender", "timbre", "ID"}, "listener_profile": {…}, "topic": str,
      "turns": [{"turn_id": "0", "context": str,
                 "dialogue_history": [{"index": 0, "role": "speaker" | "listener", "utterance": str}, …],
                 "response": str,
                 "chain_of_empathy": {"speaker_emotion", "event_scenario", "emotion_cause", "goal_to_response"}}]}]

One turn is one reply of the listener: its history starts with the speaker, ends with the speaker, and the utterance's
index counts both roles from 0, so the reply's own index is `len(history)`. Test files leave profiles, responses and
the chain of empathy out; some conversations have no turns at all. Both are read, as `None` and as an empty tuple.
A few released turns end with the listener: they are read too, and `Turn.ends_with_speaker` tells them apart.
Keys that this module does not know are kept in `extra` and written back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from empatheia_jax.conversation import labels
from empatheia_jax.errors import UserError
from empatheia_jax.files import parse_json, require_regular, write_text

ROLES = ("speaker", "listener")
LONGEST_NUMBER = 18
"""Digits of a conversation's or an avatar's number."""
CHAIN_KEYS = ("speaker_emotion", "event_scenario", "emotion_cause", "goal_to_response")


@dataclass(frozen=True)
class Profile:
    """Who speaks: one of 4 ages, 2 genders and 3 tones, and the number that the media files carry.

    `avatar` is the released field `ID`. In the released files it numbers the recorded person (65 of them), in ours the
    combination `profile_id`; it is only ever used to find media files. `timbre` is kept as written, in either
    vocabulary (`high mid low` or the paper's `emphatic mild gentle`).
    """

    age: str
    gender: str
    timbre: str
    avatar: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def profile_id(self) -> int:
        """Age · 6 + gender · 3 + tone, 0 to 23."""
        return labels.profile_id(self.age, self.gender, self.timbre)

    @property
    def ids(self) -> tuple[int, int, int]:
        """Class numbers (age, gender, tone)."""
        return labels.age_id(self.age), labels.gender_id(self.gender), labels.tone_id(self.timbre)

    @property
    def media_id(self) -> int:
        """The number in the names of this person's recordings: `avatar`, or `profile_id` where that is absent."""
        return self.profile_id if self.avatar is None else self.avatar

    @classmethod
    def parse(cls, text: str) -> Profile:
        """A profile in words, in any order, with blanks or commas between them: "elderly male gentle".

        Raises:
            UserError: a word is missing, is said twice, or is in no vocabulary.
        """
        words = text.replace(",", " ").lower().split()
        vocabularies = (labels.AGES, labels.GENDERS, (*labels.TONES, *labels.TIMBRES))
        found = [[word for word in words if word in vocabulary] for vocabulary in vocabularies]
        if len(words) != 3 or any(len(each) != 1 for each in found):
            choices = "; ".join(", ".join(vocabulary) for vocabulary in (labels.AGES, labels.GENDERS, labels.TONES))
            raise UserError(f"profile {text!r}; expected an age, a gender and a tone, one of each: {choices}")
        return cls(found[0][0], found[1][0], found[2][0])

    @classmethod
    def of(cls, profile_id: int) -> Profile:
        """The combination with this number, under its own number as avatar. Raises `UserError` outside 0–23."""
        age, gender, timbre = labels.profile_words(profile_id)
        return cls(age, gender, timbre, profile_id)


@dataclass(frozen=True)
class Utterance:
    """One thing said. `index` counts the utterances of both roles from 0."""

    index: int
    role: str
    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChainOfEmpathy:
    """The first four steps of the chain (paper §4.2); the fifth is the reply itself. Free text, the emotion too."""

    speaker_emotion: str
    event_scenario: str
    emotion_cause: str
    goal_to_response: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """One reply with everything said before it. `response` and `chain` are None in files made for prediction."""

    turn_id: str
    history: tuple[Utterance, ...]
    context: str | None = None
    response: str | None = None
    chain: ChainOfEmpathy | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def response_index(self) -> int:
        """Index of the reply among all utterances, as in the names of its media files."""
        return len(self.history)

    @property
    def ends_with_speaker(self) -> bool:
        """Whether there is something of the speaker's to reply to."""
        return self.history[-1].role == "speaker"


@dataclass(frozen=True)
class Conversation:
    """A dialogue between a speaker, whose feelings it is about, and a listener, who replies."""

    conversation_id: str
    turns: tuple[Turn, ...]
    speaker: Profile | None = None
    listener: Profile | None = None
    topic: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def profile(self, role: str) -> Profile | None:
        """The profile of `speaker` or `listener`."""
        return self.speaker if role == "speaker" else self.listener

    def utterances(self) -> tuple[Utterance, ...]:
        """Everything said: the longest turn's history and its reply."""
        if not self.turns:
            return ()
        last = max(self.turns, key=lambda turn: len(turn.history))
        reply = () if last.response is None else (Utterance(last.response_index, "listener", last.response),)
        return last.history + reply


class _Reader:
    """Takes values out of one JSON object, saying in one line what is wrong and where."""

    def __init__(self, value: Any, where: str):
        if not isinstance(value, dict):
            raise UserError(f"{where} is {_kind(value)}; expected an object")
        self.value, self.where = value, where
        self.known: set[str] = set()

    def get(self, key: str, kind: type | tuple[type, ...], required: bool = True) -> Any:
        self.known.add(key)
        found = self.value.get(key)
        if found is None and not required:
            return None
        if key not in self.value:
            raise UserError(f"{self.where} has no {key!r}; expected {_kind_name(kind)}")
        if not isinstance(found, kind) or isinstance(found, bool):
            raise UserError(f"{self.where}: {key!r} is {_kind(found)}; expected {_kind_name(kind)}")
        return found

    def text(self, key: str) -> str:
        found = self.get(key, str)
        if not found.strip():
            raise UserError(f"{self.where}: {key!r} is empty; expected words")
        return found

    def optional_text(self, key: str) -> str | None:
        return self.get(key, str, required=False)

    def extra(self) -> dict[str, Any]:
        # A known key that holds null is remembered too, so that writing gives back what was read.
        return {k: v for k, v in self.value.items() if k not in self.known or v is None}


def _kind(value: Any) -> str:
    return "null" if value is None else _kind_name(type(value))


def _kind_name(kind: type | tuple[type, ...]) -> str:
    if isinstance(kind, tuple):
        return " or ".join(_kind_name(each) for each in kind)
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        int: "a whole number",
        float: "a number",
        bool: "a bool",
    }
    return names.get(kind, kind.__name__)


def _profile(value: Any, where: str) -> Profile:
    read = _Reader(value, where)
    age, gender, timbre = read.text("age"), read.text("gender"), read.text("timbre")
    avatar = read.get("ID", (int, str), required=False)
    if isinstance(avatar, str):
        if not (avatar.isascii() and avatar.isdecimal()) or len(avatar) > LONGEST_NUMBER:
            raise UserError(f"{where}: 'ID' is {avatar[:40]!r}; expected a whole number")
        avatar = int(avatar)
    if avatar is not None and not 0 <= avatar < 10**LONGEST_NUMBER:
        raise UserError(f"{where}: 'ID' is negative or has more than {LONGEST_NUMBER} digits; expected a whole number")
    try:
        labels.profile_id(age, gender, timbre)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return Profile(age, gender, timbre, avatar, read.extra())


def _utterance(value: Any, where: str, position: int) -> Utterance:
    read = _Reader(value, where)
    index, role, text = read.get("index", int), read.text("role"), read.text("utterance")
    if role not in ROLES:
        raise UserError(f"{where}: role {role!r}; expected 'speaker' or 'listener'")
    if index != position:
        raise UserError(f"{where}: index {index}; expected {position}, counting both roles from 0")
    return Utterance(index, role, text, read.extra())


def _turn(value: Any, where: str) -> Turn:
    read = _Reader(value, where)
    turn_id = read.get("turn_id", (str, int))
    history = tuple(
        _utterance(each, f"{where}, dialogue_history[{position}]", position)
        for position, each in enumerate(read.get("dialogue_history", list))
    )
    if not history:
        raise UserError(f"{where}: 'dialogue_history' is empty; expected at least what the speaker said")
    chain = read.get("chain_of_empathy", dict, required=False)
    if chain is not None:
        step = _Reader(chain, f"{where}, chain_of_empathy")
        emotion, scenario, cause, goal = (step.text(key) for key in CHAIN_KEYS)
        chain = ChainOfEmpathy(emotion, scenario, cause, goal, step.extra())
    response = read.optional_text("response")
    if response is not None and not response.strip():
        raise UserError(f"{where}: 'response' is empty; expected the listener's words (or leave the key out)")
    return Turn(str(turn_id), history, read.optional_text("context"), response, chain, read.extra())


def conversation_from_json(value: Any, where: str = "conversation") -> Conversation:
    """Types one conversation.

    Args:
        value: the decoded JSON object.
        where: what to call it in errors, for instance "train.json, conversation 12".

    Raises:
        UserError: something is missing, of the wrong type, or outside its vocabulary; the message says where.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where} holds a lone surrogate ({error.object[error.start]!r}), which is no character"
        ) from None
    except RecursionError:
        raise UserError(f"{where} is nested too deeply") from None
    read = _Reader(value, where)
    conversation_id = read.get("conversation_id", (str, int))
    conversation_id = f"{conversation_id:05d}" if isinstance(conversation_id, int) else conversation_id
    if not (conversation_id.isascii() and conversation_id.isdecimal()) or len(conversation_id) > LONGEST_NUMBER:
        raise UserError(
            f"{where}: conversation_id {conversation_id[:40]!r}; expected digits, at most {LONGEST_NUMBER}, say '01118'"
        )
    where = f"{where} (id {conversation_id})"
    profiles = {}
    for role in ROLES:
        found = read.get(f"{role}_profile", dict, required=False)
        profiles[role] = None if found is None else _profile(found, f"{where}, {role}_profile")
    topic = read.get("topic", str, required=False)
    turns = tuple(_turn(each, f"{where}, turns[{n}]") for n, each in enumerate(read.get("turns", list)))
    return Conversation(conversation_id, turns, topic=topic, extra=read.extra(), **profiles)


def conversation_to_json(conversation: Conversation) -> dict[str, Any]:
    """The released JSON object; the inverse of `conversation_from_json` up to the order of keys."""
    value: dict[str, Any] = {"conversation_id": conversation.conversation_id}
    for role in ROLES:
        profile = conversation.profile(role)
        if profile is not None:
            words = {"age": profile.age, "gender": profile.gender, "timbre": profile.timbre}
            number = {} if profile.avatar is None else {"ID": profile.avatar}
            value[f"{role}_profile"] = {**words, **number, **profile.extra}
    if conversation.topic is not None:
        value["topic"] = conversation.topic
    value["turns"] = [_turn_to_json(turn) for turn in conversation.turns]
    return {**value, **conversation.extra}


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    value: dict[str, Any] = {"turn_id": turn.turn_id}
    if turn.context is not None:
        value["context"] = turn.context
    value["dialogue_history"] = [
        {"index": each.index, "role": each.role, "utterance": each.text, **each.extra} for each in turn.history
    ]
    if turn.response is not None:
        value["response"] = turn.response
    if turn.chain is not None:
        value["chain_of_empathy"] = {key: getattr(turn.chain, key) for key in CHAIN_KEYS} | dict(turn.chain.extra)
    return {**value, **turn.extra}


def load_json(path: str | os.PathLike) -> Any:
    """Decodes a JSON file. Raises `UserError` in one line where it is missing, no regular file, not UTF-8, cut, nested too
    deeply, or holds a number of thousands of digits or a name twice in one object.
    """
    require_regular(path, "a JSON file of conversations")
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply; expected a JSON file of conversations") from None
    except ValueError as error:  # a name twice, or a whole number of more digits than Python reads
        raise UserError(f"{path} cannot be read as JSON: {str(error).split(';')[0]}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def iterate(path: str | os.PathLike) -> Iterator[tuple[int, Conversation | UserError]]:
    """Yields (position, conversation) for each entry of a file, or (position, error) where an entry is malformed.

    A file holds a list of conversations, or one conversation. Raises `UserError` where the file itself is unreadable.
    """
    found = load_json(path)
    entries = [found] if isinstance(found, dict) else found
    if not isinstance(entries, list):
        raise UserError(f"{path} holds {_kind(found)}; expected a list of conversations")
    for position, value in enumerate(entries):
        try:
            yield position, conversation_from_json(value, f"{Path(path).name}, conversation {position}")
        except UserError as error:
            yield position, error


def read(path: str | os.PathLike) -> list[Conversation]:
    """All conversations of a file. Raises `UserError` at the first malformed one."""
    conversations = []
    for _, each in iterate(path):
        if isinstance(each, UserError):
            raise each
        conversations.append(each)
    return conversations


def write(path: str | os.PathLike, conversations: Iterable[Conversation]) -> None:
    """Writes a released-layout file, whole or not at all: UTF-8, indented, the same bytes for the same dialogues."""
    text = json.dumps([conversation_to_json(each) for each in conversations], indent=1, ensure_ascii=False)
    write_text(path, text + "\n")
