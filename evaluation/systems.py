"""Folders of replies, read and checked: everything that is wrong is said, and nothing wrong is averaged over.

The form of a folder is `conversation.reply_folder`. Systems are compared on the same turns. By default folders whose turns
differ, or that lack a file, are refused. With `common` the turns that every system answered whole are kept, and those left out
are listed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from empatheia_jax.conversation.reply_folder import LINES, SUFFIXES, Manifest
from empatheia_jax.errors import UserError
from empatheia_jax.files import parse_line, read_json_object
from evaluation import paper
from evaluation.questions import Question

SHOWN = 8
"""Faults that are printed one by one."""


@dataclass(frozen=True)
class Reply:
    """One reply: its JSON object and its files."""

    id: str
    values: Mapping[str, Any]
    speech: Path | None = None
    film: Path | None = None
    features: Path | None = None

    @property
    def response(self) -> str:
        """The words."""
        return self.values["response"]

    @property
    def emotion(self) -> str | None:
        """The speaker's emotion in the system's own word."""
        found = self.values.get("speaker_emotion")
        return found if isinstance(found, str) and found.strip() else None

    def number(self, key: str) -> float | None:
        """A number that the system says of itself (`nats`), or None."""
        found = self.values.get(key)
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


@dataclass(frozen=True)
class System:
    """A system's replies. `row`: which row of the tables it is; `left_out`: id → why it is not among `replies`."""

    folder: Path
    manifest: Manifest
    row: str
    replies: Mapping[str, Reply]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The system's name."""
        return self.manifest.system

    @property
    def title(self) -> str:
        """What tables call it: the paper's name of its row. Runs of one config have one name, and their rows tell them apart."""
        return paper.SYSTEMS.get(self.row, self.name)

    def has(self, modality: str) -> bool:
        """Whether its replies have this modality."""
        return modality in self.manifest.modalities

    def keep(self, ids: Iterable[str], why: Mapping[str, str]) -> System:
        """The same system with these replies only; `why` says for each other reply why it is left out."""
        kept = set(ids)
        gone = {each: why.get(each, "another system lacks it") for each in self.replies if each not in kept}
        replies = {each: reply for each, reply in self.replies.items() if each in kept}
        return dataclasses.replace(self, replies=replies, left_out={**self.left_out, **gone})


def read(folder: Path, row: str | None = None) -> System:
    """A folder of replies. Faults of single replies are in `left_out`; `matched` says what becomes of them.

    Args:
      folder: the folder.
      row: the row of the tables; by default what the manifest says, else the system's name.

    Raises:
      UserError: there is no manifest, or it is of another version; no reply is whole.
    """
    manifest = Manifest.read(folder)
    lines = _lines(folder)
    replies: dict[str, Reply] = {}
    faults: dict[str, str] = {}
    for name in manifest.ids:
        try:
            replies[name] = _reply(folder, name, lines, manifest.modalities)
        except UserError as error:
            faults[name] = str(error)
    for name in _strays(folder, manifest, lines):
        faults[name] = f"{folder} holds a reply {name} that its manifest does not name"
    if not replies:
        raise UserError(f"{folder}: no reply is whole; the first: {next(iter(faults.values()))}")
    return System(folder, manifest, row or manifest.row or manifest.system.lower().replace(" ", "-"), replies, faults)


def _lines(folder: Path) -> dict[str, dict[str, Any]]:
    """Replies of `replies.jsonl` by id."""
    path = folder / LINES
    found: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return found
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            value = parse_line(line)
            name = str(value.get("id") or f"{value['conversation_id']}_{value['turn_id']}")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}, line {number}: expected a reply as a JSON object with its id") from None
        if name in found:
            raise UserError(f"{path}, line {number}: {name} is answered twice")
        found[name] = value
    return found


def _reply(folder: Path, name: str, lines: Mapping[str, dict[str, Any]], modalities: Sequence[str]) -> Reply:
    below = folder / name
    nested = below.is_dir()

    def file(kind: str) -> Path:
        return below / f"reply{SUFFIXES[kind]}" if nested else folder / f"{name}{SUFFIXES[kind]}"

    if name in lines and not file("text").exists():
        values = lines[name]
    else:
        values = read_json_object(file("text"), f"the reply {name} of the manifest")
    response = values.get("response")
    if not isinstance(response, str) or not response.strip():
        raise UserError(f"{folder}: the reply {name} has 'response' {response!r:.40}; expected words")
    for key, part in (("conversation_id", 0), ("turn_id", 1)):
        if key in values and str(values[key]) != name.split("_", 1)[part]:
            raise UserError(f"{folder}: the reply {name} says that it answers {key} {values[key]!r:.40}")
    paths: dict[str, Path | None] = {}
    for kind in ("speech", "video"):
        paths[kind] = file(kind) if kind in modalities else None
        if kind in modalities and (not file(kind).is_file() or not file(kind).stat().st_size):
            raise UserError(f"{file(kind)} is missing or empty; the manifest promises {kind}")
    features = file("features") if file("features").is_file() else None
    return Reply(name, values, paths["speech"], paths["video"], features)


def _strays(folder: Path, manifest: Manifest, lines: Mapping[str, Any]) -> list[str]:
    known = set(manifest.ids)
    found = {each.stem for each in folder.glob("*.json") if each.name != "manifest.json" and each.stem[:1].isdigit()}
    found |= {each.parent.name for each in folder.glob("*/reply.json")} | set(lines)
    return sorted(found - known)


@dataclass(frozen=True)
class Matched:
    """Systems on the same turns, and why turns of the test file are not among them (id → reason)."""

    systems: list[System]
    questions: dict[str, Question]
    left_out: dict[str, str]
    unanswered: int


def matched(systems: Sequence[System], questions: Mapping[str, Question], *, common: bool = False) -> Matched:
    """Brings systems to the same turns.

    Args:
      systems: as `read` gives them.
      questions: the turns of the test file.
      common: keep the turns that all answered whole, instead of refusing.

    Raises:
      UserError: two systems are one row; a reply answers no turn of the test file; or, without `common`, a reply is not whole,
        or systems answer different turns.
    """
    lines: list[str] = []
    rows = [each.row for each in systems]
    if twice := sorted({row for row in rows if rows.count(row) > 1}):
        folders = ", ".join(str(each.folder) for each in systems if each.row == twice[0])
        raise UserError(f"the row {twice[0]} is claimed by {folders}; name them apart: ROW=FOLDER")
    left_out: dict[str, str] = {}
    for each in systems:
        for name, why in each.left_out.items():
            left_out.setdefault(name, why)
            lines.append(why)
        unknown = sorted(set(each.replies) - set(questions))
        if unknown:
            raise UserError(
                f"{each.folder} answers {unknown[0]} (and {len(unknown) - 1} more), which the test file does not ask; "
                "choose the file that these replies answer"
            )
    shared = set.intersection(*(set(each.replies) for each in systems)) - set(left_out)
    for each in systems:
        for name in sorted(set(each.replies) - shared):
            if name not in left_out:
                others = [other.title for other in systems if name not in other.replies]
                left_out[name] = f"{name} is answered by {each.title} and not by {', '.join(others)}"
                lines.append(left_out[name])
    if lines and not common:
        more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        advice = "mend the folders, or take the turns that all answered whole: --common"
        raise UserError.of([*lines[:SHOWN], *more, advice])
    if not shared:
        raise UserError("no turn is answered whole by all systems; nothing can be compared")
    order = [name for name in questions if name in shared]
    kept = [each.keep(order, left_out) for each in systems]
    return Matched(
        kept, {name: questions[name] for name in order}, left_out, len(questions) - len(order) - len(left_out)
    )
