"""A conversation as a value: what was said, what was heard of the replies, who answers.

A session is below every interface: terminal, Python, server. It holds no network and touches no device. It may be used from
several threads.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.schema import ROLES, Profile, Utterance
from empatheia_jax.dialogue.events import Word
from empatheia_jax.dialogue.request import CHAIN, Request
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object, replacing, write_json

FILE, MEDIA = "session.json", "media"
VERSION = 1
ROUNDING = 1e-3
"""Seconds by which a client's clock may be behind a word's end that it has played."""


@dataclass
class ReplyRecord:
    """A reply as the session keeps it.

    answer: what was written (so far). words: what was spoken, and when. played: seconds that the client has played, as it
    reported last; None = it reported nothing. finished: the reply was made to its end. spoken: it was made as sound. media:
    recordings of it, where it was read from a data set.
    """

    generation: str
    answer: Answer
    words: list[Word] = field(default_factory=list)
    played: float | None = None
    finished: bool = False
    spoken: bool = True
    media: dict[str, Path] = field(default_factory=dict)

    @property
    def heard(self) -> str:
        """Exactly the words that the user has heard (or read), without an ellipsis.

        Without a report, of a finished reply everything counts, of an unfinished one what was written where it was text
        alone, and nothing where it was sound.
        """
        if not self.spoken:
            return self.answer.response.strip()
        if self.played is None:
            return self.answer.response.strip() if self.finished else ""
        played = self.played + ROUNDING
        if self.finished and (not self.words or self.words[-1][2] <= played):
            return self.answer.response.strip()
        return " ".join(word for word, _, end in self.words if end <= played)


@dataclass
class Turn:
    """An utterance of the user with its recordings ({"speech": path, "video": path}, each optional), and the reply to it.

    Of a data set there may be turns without one of them, since it may have two utterances of one role in a row: `reply` None, or
    `said` None.
    """

    said: str | None
    media: dict[str, Path] = field(default_factory=dict)
    reply: ReplyRecord | None = None


class Session:
    """One conversation.

    Args:
        profile: who answers; None = unknown to the model, and a default voice and face.
        seed: of requests that give none.
        id: a name for it; made up by default.
    """

    def __init__(self, profile: Profile | None = None, *, seed: int = 0, id: str | None = None):
        self.id, self.profile, self.seed = id or uuid.uuid4().hex, profile, seed
        self.turns: list[Turn] = []
        self._lock = threading.RLock()
        self._replaced: dict[str, ReplyRecord | None] = {}

    @classmethod
    def of(cls, history: Sequence[str], profile: Profile | None = None, *, seed: int = 0) -> Session:
        """A session with texts said before: user, avatar, user, avatar … Raises `UserError` where the user's is the last."""
        if len(history) % 2:
            raise UserError(f"the history has {len(history)} utterances; expected an even number, the avatar's last")
        return cls.of_utterances(
            [Utterance(n, ROLES[n % 2], each) for n, each in enumerate(history)], {}, profile, seed=seed
        )

    @classmethod
    def of_utterances(
        cls,
        history: Sequence[Utterance],
        media: Mapping[int, Mapping[str, Path]],
        profile: Profile | None = None,
        *,
        seed: int = 0,
    ) -> Session:
        """A session with what was said before, and recordings by index of the utterance. `history` gives the same back."""
        session = cls(profile, seed=seed)
        for said in history:
            recordings = dict(media.get(said.index, {}))
            if said.role == "speaker":
                session.turns.append(Turn(said.text, recordings))
                continue
            if not session.turns or session.turns[-1].reply is not None:
                session.turns.append(Turn(None))
            answer = Answer(None, None, None, None, said.text, True)
            session.turns[-1].reply = ReplyRecord(
                uuid.uuid4().hex, answer, finished=True, spoken=False, media=recordings
            )
        return session

    # ------------------------------------------------------------------------------------------------ for the engine

    def begin(self, request: Request, generation: str) -> None:
        """Enters what the user says, with an empty reply. Raises `UserError` where there is nothing to answer."""
        with self._lock:
            self._replaced.clear()
            if request.again:
                if not self.turns:
                    raise UserError("nothing was said in this session yet; expected text or a recording")
                self._replaced[generation] = self.turns[-1].reply
            else:
                media = {
                    kind: Path(path)
                    for kind, path in (("speech", request.speech), ("video", request.video))
                    if path is not None
                }
                self.turns.append(Turn(request.text or "", media))
            nothing = Answer(None, None, None, None, "", False)
            self.turns[-1].reply = ReplyRecord(generation, nothing, spoken=request.speaks)

    def known_steps(self, generation: str) -> dict[str, str]:
        """The chain of the reply that `generation` replaces: step → text, as far as there is one."""
        with self._lock:
            old = self._replaced.get(generation)
            values = {} if old is None else {name: getattr(old.answer, name) for name in CHAIN}
            return {name: value for name, value in values.items() if value}

    def wrote(self, generation: str, answer: Answer, *, finished: bool = False) -> None:
        """Keeps what is written of a reply by now; `finished` where it is complete, sound included."""
        with self._lock:
            if record := self.record(generation):
                record.answer, record.finished = answer, finished
            if finished:
                self._replaced.pop(generation, None)

    def spoke(self, generation: str, words: Sequence[Word]) -> None:
        """Keeps words that were delivered as sound."""
        with self._lock:
            if record := self.record(generation):
                record.words.extend(words)

    def withdraw(self, generation: str) -> None:
        """Takes back a turn whose reply failed; where it replaced another reply, that one is there again."""
        with self._lock:
            place = next(
                (n for n, turn in enumerate(self.turns) if turn.reply and turn.reply.generation == generation), None
            )
            if place is None:
                return
            if generation in self._replaced:
                self.turns[place].reply = self._replaced.pop(generation)
            else:
                del self.turns[place]

    def record(self, generation: str) -> ReplyRecord | None:
        """The reply with this id, None where the session has none (any more)."""
        with self._lock:
            found = (turn.reply for turn in reversed(self.turns) if turn.reply is not None)
            return next((reply for reply in found if reply.generation == generation), None)

    # ------------------------------------------------------------------------------------------------ for interfaces

    def heard(self, generation: str, seconds: float) -> str:
        """The client has played so many seconds of a reply; may be said again as playing goes on, the last one counts.

        Returns the words of the reply that count as heard by then. A generation that the session does not have is ignored.
        """
        with self._lock:
            record = self.record(generation)
            if record is None:
                return ""
            record.played = max(0.0, float(seconds))
            return record.heard

    def history(self, before: str | None = None) -> tuple[list[Utterance], dict[int, dict[str, Path]]]:
        """What was said, as a prompt takes it, and the recordings by index of the utterance. `before`: a generation; then
        without its reply and what came after it.

        Replies stand as they were heard. Where nothing was heard of a reply, what the user said before and after it is one
        utterance, with the latest recording of each kind.
        """
        with self._lock:
            said: list[tuple[str, str]] = []
            media: dict[int, dict[str, Path]] = {}
            for before_it, turn in zip([None, *self.turns], self.turns):
                replied = before_it is not None and before_it.reply is not None
                if replied and said and said[-1][0] == "speaker" and turn.said is not None:  # nothing of it was heard
                    said[-1] = ("speaker", f"{said[-1][1]} {turn.said}".strip())
                elif turn.said is not None:
                    said.append(("speaker", turn.said))
                if turn.media:
                    media.setdefault(len(said) - 1, {}).update(turn.media)
                if turn.reply is not None and turn.reply.generation == before:
                    break
                if turn.reply is not None and (heard := turn.reply.heard):
                    said.append(("listener", heard))
                    if turn.reply.media:
                        media[len(said) - 1] = dict(turn.reply.media)
            return [Utterance(index, role, text) for index, (role, text) in enumerate(said)], media

    # ------------------------------------------------------------------------------------------------ on disk

    def save(self, folder: str | os.PathLike) -> Path:
        """Writes the session into `folder`: `session.json`, and the recordings below `media`. Returns the folder.

        A stop at any moment leaves the last complete state: recordings are written first, under names of their content, and
        `session.json` is replaced in one step.
        """
        place = Path(folder)
        with self._lock:
            turns, kept = [], set()
            for turn in self.turns:
                names = {kind: _store(path, place / MEDIA) for kind, path in turn.media.items()}
                kept |= set(names.values())
                reply = None if turn.reply is None else _plain(turn.reply)
                if turn.reply is not None and reply is not None:
                    reply["media"] = {kind: _store(path, place / MEDIA) for kind, path in turn.reply.media.items()}
                    kept |= set(reply["media"].values())
                turns.append({"said": turn.said, "media": names, "reply": reply})
            value = {
                "version": VERSION,
                "id": self.id,
                "seed": self.seed,
                "profile": None if self.profile is None else _profile_words(self.profile),
                "turns": turns,
            }
            write_json(place / FILE, value, durable=True)
            for path in (place / MEDIA).glob("*"):
                if path.name not in kept and not path.name.startswith("."):
                    path.unlink(missing_ok=True)
        return place

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Session:
        """The session that `save` wrote. Raises `UserError` where the folder holds none, or one that is damaged."""
        place = Path(folder)
        value = read_json_object(place / FILE, "a saved session")
        try:
            if value["version"] != VERSION:
                raise UserError(f"{place / FILE} has version {value['version']!r}; expected {VERSION}")
            profile = value["profile"]
            session = cls(None if profile is None else Profile(**profile), seed=int(value["seed"]), id=str(value["id"]))
            if session.profile is not None:
                _ = session.profile.profile_id  # words of no vocabulary are refused here
            for turn in value["turns"]:
                media = _media(turn["media"], place)
                words = None if turn["said"] is None else str(turn["said"])
                session.turns.append(Turn(words, media, _record(turn["reply"], place)))
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{place / FILE} is damaged ({type(error).__name__}: {error}); expected a saved session"
            ) from None
        return session


def _store(path: Path, folder: Path) -> str:
    """Copies a recording to its place in a session's folder; the name that it has there."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        name = f"{digest.hexdigest()}{path.suffix.lower()}"
        if not (folder / name).is_file():
            with replacing(folder / name) as temporary:
                shutil.copyfile(path, temporary)
    except FileNotFoundError:
        raise UserError(f"the recording {path} is gone; the session cannot be saved with it") from None
    return name


def _plain_name(name: Any) -> str:
    if not isinstance(name, str) or Path(name).name != name or name.startswith("."):
        raise ValueError(f"{name!r} is no name of a recording")
    return name


def _profile_words(profile: Profile) -> dict[str, Any]:
    return {"age": profile.age, "gender": profile.gender, "timbre": profile.timbre, "avatar": profile.avatar}


def _plain(record: ReplyRecord) -> dict[str, Any]:
    return dataclasses.asdict(record) | {"words": [list(word) for word in record.words]}


def _media(names: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    return {str(kind): folder / MEDIA / _plain_name(name) for kind, name in names.items()}


def _record(value: Mapping[str, Any] | None, folder: Path) -> ReplyRecord | None:
    if value is None:
        return None
    answer = Answer(**value["answer"])
    words: list[Word] = [(str(word), float(begin), float(end)) for word, begin, end in value["words"]]
    played = None if value["played"] is None else float(value["played"])
    media = _media(value["media"], folder)
    finished, spoken = bool(value["finished"]), bool(value["spoken"])
    return ReplyRecord(str(value["generation"]), answer, words, played, finished, spoken, media)
