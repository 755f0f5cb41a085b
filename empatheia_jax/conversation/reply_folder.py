"""A folder of replies: what the evaluation reads of a system, whoever made it.

    FOLDER/manifest.json
    FOLDER/01118_0/reply.json  reply.wav  reply.mp4      the reply to turn 0 of conversation 01118
    FOLDER/01118_0.json  01118_0.wav  01118_0.mp4        the same without folders
    FOLDER/replies.jsonl                                 the same for text: a line for each reply

`reply.json` needs `response`; `speaker_emotion` (a word), the other steps, `timings` (part → seconds) and `nats` are read
where they are there. A manifest is

    {"format": "empatheia-replies", "version": 1, "system": "Pipeline", "ids": ["01118_0"],
     "modalities": ["text", "speech", "video"], "row": "pipeline", "config": "<SHA-256>", "seed": 13,
     "hardware": "1 × NVIDIA A100", "terms": "who may use these replies, and for what"}

`format`, `version`, `system` and `ids` must be there. What else is missing is said in the report.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object, write_json

FORMAT, VERSION = "empatheia-replies", 1
MANIFEST, LINES = "manifest.json", "replies.jsonl"
SUFFIXES = {"text": ".json", "speech": ".wav", "video": ".mp4", "features": ".npz"}
"""Ending of a reply's file by what it holds; `features` are optional embeddings for Figure 7."""
MODALITIES = ("text", "speech", "video")
_ID = re.compile(r"\d+_[\w.-]{1,100}")


def reply_id(conversation_id: str, turn_id: str) -> str:
    """The name of the reply to a turn: `01118_0`. Raises `UserError` where a turn's id cannot be a file name."""
    name = f"{conversation_id}_{turn_id}"
    if not _ID.fullmatch(name):
        raise UserError(
            f"turn_id {turn_id!r} of conversation {conversation_id} cannot be a file name; expected letters and digits"
        )
    return name


@dataclass(frozen=True)
class Manifest:
    """What a folder of replies says of itself; None = not said."""

    system: str
    ids: tuple[str, ...]
    modalities: tuple[str, ...] = ("text",)
    row: str | None = None
    config: str | None = None
    seed: int | None = None
    hardware: str | None = None
    terms: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes `manifest.json`: the last file of a folder, so a folder without it is not complete."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "extra"}
        values["ids"], values["modalities"] = list(self.ids), list(self.modalities)
        write_json(folder / MANIFEST, {"format": FORMAT, "version": VERSION, **values, **self.extra})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder.

        Raises:
          UserError: there is none, it is of another format or version, or a field is not what it should be.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; expected a folder of replies with a {MANIFEST}")
        if not path.exists():
            raise UserError(f"{folder} has no {MANIFEST}: no folder of replies, or one that is not complete")
        found = read_json_object(path, "the manifest of a folder of replies")
        if found.pop("format", None) != FORMAT:
            raise UserError(f"{path} is no manifest of replies; expected 'format': {FORMAT!r}")
        version = found.pop("version", None)
        if version != VERSION or isinstance(version, bool):
            raise UserError(f"{path} has version {version!r}; this program reads version {VERSION}; write it anew")
        return cls(
            system=_text(path, found, "system", needed=True) or "",
            ids=_ids(path, found.pop("ids", None)),
            modalities=_modalities(path, found.pop("modalities", ["text"])),
            row=_text(path, found, "row"),
            config=_text(path, found, "config"),
            seed=_whole(path, found.pop("seed", None)),
            hardware=_text(path, found, "hardware"),
            terms=_text(path, found, "terms"),
            extra=found,
        )


def _text(path: Path, values: dict[str, Any], key: str, needed: bool = False) -> str | None:
    found = values.pop(key, None)
    if found is None and not needed:
        return None
    if not isinstance(found, str) or not found.strip() or len(found) > 1000:
        raise UserError(f"{path}: {key!r} is {found!r:.60}; expected some words")
    return found.strip()


def _whole(path: Path, value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise UserError(f"{path}: 'seed' is {value!r:.60}; expected a whole number")
    return value


def _ids(path: Path, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise UserError(
            f"{path}: 'ids' is {value!r:.60}; expected a list of the turns that are answered, for example '01118_0'"
        )
    for each in value:
        if not isinstance(each, str) or not _ID.fullmatch(each):
            raise UserError(
                f"{path}: {each!r:.60} is no id of a reply; expected conversation_turn, for example '01118_0'"
            )
    if len(set(value)) < len(value):
        twice = next(each for each in value if value.count(each) > 1)
        raise UserError(f"{path} names {twice} twice; expected every id once")
    return tuple(value)


def _modalities(path: Path, value: Any) -> tuple[str, ...]:
    known: Sequence[str] = value if isinstance(value, list) else ()
    if "text" not in known or any(each not in MODALITIES for each in known):
        raise UserError(
            f"{path}: 'modalities' is {value!r:.60}; expected text, and speech and video where they are there"
        )
    return tuple(each for each in MODALITIES if each in known)
