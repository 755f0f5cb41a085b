"""Reads the notation in which the corpus is written into dialogues of the released layout.

A file holds about twenty dialogues. Its name starts with its number: `07-grateful.txt`. A dialogue is written so::

    == travel; wallet-handed-in; Ymg > Efm; test
    I lost my wallet on a bus and a stranger handed it in.
    > The driver held it up as I walked in. Nothing was missing. I nearly hugged the man.
    : The user got a lost wallet back. | grateful | The user met honesty from a stranger. | Share the relief and ask who found it.
    < Every coin still there! …

The first line names the topic, the scenario, the profiles of speaker and listener, and the split (`train` where it is
left out). A profile is three letters: age (C, Y, M, E), gender (m, f), tone (e, m, g for emphatic, mild, gentle). The
second line is the situation. Then come one to four exchanges: what the user says, the four steps of the chain (event,
emotion, cause, goal), what the listener answers. Empty lines and lines that start with `#` are skipped.

The number of a dialogue is its file's number and its place in the file: the third one of `07-grateful.txt` is 07003.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import ChainOfEmpathy, Conversation, Profile, Turn, Utterance
from empatheia_jax.errors import UserError

SPLITS = ("train", "valid", "test")
TOPICS = ("work", "school", "family", "friends", "health", "animals", "money", "travel", "home", "hobbies")
"""The ten topics. The paper counts ten and does not name them; these are ours."""

STEPS = ("event", "emotion", "cause", "goal")
SCENARIO = "scenario"
"""Key of `Conversation.extra` that names what a dialogue is about; dialogues of one scenario stay in one split."""

_PROFILE = re.compile("([CYME])([mf])([emg])")


@dataclass(frozen=True)
class _Lines:
    """The lines of one dialogue with their places in the file."""

    number: str
    where: str
    lines: tuple[tuple[int, str], ...]

    def error(self, line: int, message: str) -> UserError:
        return UserError(f"{self.where}, line {line}: {message}")


def read(folder: Path) -> dict[str, list[Conversation]]:
    """All dialogues of a folder of text files, by split, in the order of their numbers.

    Raises:
        UserError: a line is none of the notation; the message names file and line.
    """
    splits: dict[str, list[Conversation]] = {split: [] for split in SPLITS}
    for path in sorted(folder.glob("*.txt")):
        for split, conversation in parse(path.read_text(encoding="utf-8"), path.name):
            splits[split].append(conversation)
    return splits


def parse(text: str, name: str) -> Iterator[tuple[str, Conversation]]:
    """(split, dialogue) for each dialogue of one file's text; `name` is the file's name, which gives the numbers."""
    number = re.match(r"(\d\d)-", name)
    if number is None:
        raise UserError(f"{name} has no number; expected a name like 07-grateful.txt")
    dialogues: list[list[tuple[int, str]]] = []
    for place, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("=="):
            dialogues.append([])
        if not dialogues:
            raise UserError(f"{name}, line {place}: {line!r} stands before the first dialogue; expected `== topic; …`")
        dialogues[-1].append((place, line))
    for position, lines in enumerate(dialogues, start=1):
        yield _dialogue(_Lines(f"{number[1]}{position:03d}", name, tuple(lines)))


def _dialogue(source: _Lines) -> tuple[str, Conversation]:
    (first, head), *rest = source.lines
    topic, scenario, speaker, listener, split = _head(source, first, head)
    if len(rest) < 4 or len(rest) % 3 != 1:
        raise source.error(
            first, "a dialogue is a situation and exchanges of three lines: `> user`, `: chain`, `< reply`"
        )
    context = rest[0][1]
    said: list[Utterance] = []
    turns: list[Turn] = []
    for start in range(1, len(rest), 3):
        (_, user), (place, chain), (_, reply) = (
            (line, _after(source, line, text, mark))
            for (line, text), mark in zip(rest[start : start + 3], ">:<", strict=True)
        )
        said.append(Utterance(len(said), "speaker", user))
        turns.append(Turn(str(len(turns)), tuple(said), context, reply, _chain(source, place, chain)))
        said.append(Utterance(len(said), "listener", reply))
    extra = {SCENARIO: scenario}
    return split, Conversation(source.number, tuple(turns), speaker, listener, topic, extra)


def _after(source: _Lines, place: int, text: str, mark: str) -> str:
    if not text.startswith(f"{mark} "):
        raise source.error(place, f"{text[:40]!r}; expected a line that starts with {mark!r} and a blank")
    return text[2:].strip()


def _head(source: _Lines, place: int, text: str) -> tuple[str, str, Profile, Profile, str]:
    parts = [part.strip() for part in text[2:].split(";")]
    if len(parts) not in (3, 4):
        raise source.error(place, f"{text!r}; expected `== topic; scenario; profile > profile` and perhaps `; split`")
    topic, scenario, people, split = [*parts, "train"][:4]
    _one_of(source, place, "topic", topic, TOPICS)
    _one_of(source, place, "split", split, SPLITS)
    codes = [code.strip() for code in people.split(">")]
    if len(codes) != 2:
        raise source.error(place, f"{people!r}; expected two profiles, speaker > listener")
    speaker, listener = (_profile(source, place, code) for code in codes)
    return topic, scenario, speaker, listener, split


def _profile(source: _Lines, place: int, code: str) -> Profile:
    found = _PROFILE.fullmatch(code)
    if found is None:
        raise source.error(place, f"profile {code!r}; expected an age (C Y M E), a gender (m f) and a tone (e m g)")
    age, gender, tone = ("CYME".index(found[1]), "mf".index(found[2]), "emg".index(found[3]))
    return Profile.of(age * 6 + gender * 3 + tone)


def _chain(source: _Lines, place: int, text: str) -> ChainOfEmpathy:
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != len(STEPS):
        raise source.error(place, f"{len(parts)} steps; expected {len(STEPS)}: {' | '.join(STEPS)}")
    event, emotion, cause, goal = parts
    _one_of(source, place, "emotion", emotion, labels.EMOTIONS_32)
    return ChainOfEmpathy(emotion, event, cause, goal)


def _one_of(source: _Lines, place: int, what: str, found: str, expected: Iterable[str]) -> None:
    if found not in expected:
        raise source.error(place, f"{what} {found!r}; expected one of {', '.join(expected)}")
