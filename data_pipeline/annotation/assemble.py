"""Puts accepted dialogues and their recordings together: the released layout, with provenance.

    python -m data_pipeline.annotation.assemble --set=accepted-media.json --recordings=FOLDER --output=ROOT
        [--annotation=FOLDER] [--decisions=FOLDER] [--limit=0.0]

A dialogue goes in only with all its recordings, and each of them decodes. `provenance.json` gives, per dialogue, which
model and prompt annotated it, what the cross-checks decided, and the hash of every recording.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipeline.check import check_clip
from data_pipeline.layout import Clip, file_hash
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.recordings import ENDINGS, SUFFIXES, media_name
from empatheia_jax.conversation.schema import Conversation
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import replacing, write_json

SHARES = {"train": 24_696 / 33_048, "valid": 4_373 / 33_048, "test": 3_979 / 33_048}
"""Shares of the paper's splits."""


def split_of(conversation_id: str) -> str:
    """The split of a dialogue: a function of its id alone, so that a set may grow without moving anything."""
    place = int.from_bytes(hashlib.sha256(conversation_id.encode()).digest()[:8], "big") / 2**64
    for split, share in SHARES.items():
        place -= share
        if place < 0:
            return split
    return "test"


def find_recordings(conversation: Conversation, folder: Path) -> list[Clip]:
    """The conversation's utterances with the recordings of their released names, from a flat folder."""
    clips = []
    for said in conversation.utterances():
        person = conversation.profile(said.role)
        if person is None:
            raise UserError(
                f"{conversation.conversation_id} has no profile of its {said.role}, who names the recordings"
            )
        paths = {}
        for kind, endings in ENDINGS.items():
            stem = Path(media_name(conversation.conversation_id, said.index, person.media_id, kind)).stem
            names = [stem + ending for each in endings for ending in (each, each.upper())]
            paths[kind] = next((folder / name for name in names if (folder / name).is_file()), None)
        clips.append(Clip(conversation.conversation_id, said.index, said.role, said.text, **paths, profile=person))
    return clips


def assemble(
    conversations: Sequence[Conversation],
    recordings: Path,
    output: Path,
    quarantine: Quarantine,
    annotation: Mapping[str, Any] | None = None,
    decisions: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, int]:
    """Writes the tree; returns dialogues per split.

    Files that were copied already are not copied again, so an interrupted run continues. A dialogue with a missing or
    broken recording is set aside whole.

    Raises:
        UserError: more dialogues are incomplete than the quarantine allows; nothing is written then but recordings.
    """
    output, kept, provenance = Path(output), [], {}
    for conversation in conversations:
        quarantine.saw()
        name = conversation.conversation_id
        if conversation.speaker is None or conversation.listener is None:
            quarantine.add(name, "no profile", f"conversation {name} has no profiles; annotate it first")
            continue
        clips = find_recordings(conversation, Path(recordings))
        findings = [each for clip in clips for each in check_clip(clip)[0] if each.counts]
        for each in findings:
            quarantine.add(name, each.kind, each.reason)
        if findings:
            continue
        hashes = {}
        for clip in clips:
            for kind in SUFFIXES:
                source = getattr(clip, kind)
                if source is not None:
                    hashes[source.name] = _copy(source, output / f"{kind}_v5_0" / source.name)
        kept.append(conversation)
        provenance[name] = {
            "annotation": (annotation or {}).get(name),
            "cross-check": {
                stage: "accepted" if name in found["accepted"] else "not accepted"
                for stage, found in (decisions or {}).items()
            },
            "annotators": {stage: found["annotators"] for stage, found in (decisions or {}).items()},
            "recordings": hashes,
        }
    quarantine.enforce()
    splits: dict[str, list[Conversation]] = {split: [] for split in SHARES}
    for conversation in kept:
        splits[split_of(conversation.conversation_id)].append(conversation)
    for split, members in splits.items():
        schema.write(output / f"{split}.json", members)
    write_json(output / "provenance.json", provenance, sort_keys=True)
    quarantine.write(output / "quarantine.json")
    return {split: len(members) for split, members in splits.items()}


def _copy(source: Path, target: Path) -> str:
    mark = file_hash(source)
    if not (target.is_file() and file_hash(target) == mark):
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
    return mark


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.annotation.assemble")
    options.add_argument("--set", type=Path, required=True)
    options.add_argument("--recordings", type=Path, required=True)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--annotation", type=Path, help="folder with provenance.json of the annotation")
    options.add_argument("--decisions", type=Path, help="folder with decision-*.json of the cross-checks")
    options.add_argument("--limit", type=float, default=0.0)
    given = options.parse_args(argv)
    if not given.recordings.is_dir():
        raise UserError(f"{given.recordings} is no folder; expected the recordings under the names of the sheets")
    annotation = schema.load_json(given.annotation / "provenance.json") if given.annotation else None
    decisions = {
        path.stem.removeprefix("decision-"): schema.load_json(path)
        for path in (sorted(given.decisions.glob("decision-*.json")) if given.decisions else [])
    }
    quarantine = Quarantine(given.limit)
    counts = assemble(schema.read(given.set), given.recordings, given.output, quarantine, annotation, decisions)
    print(f"{given.output}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    print(quarantine.summary())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
