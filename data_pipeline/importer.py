"""Lays dialogues and loose recordings out as an AvaMERG tree: for trying the pipelines on text that came without media.

    python -m data_pipeline.importer --dialogues=FILE.json [--answers=FILE.json] --media=FOLDER --output=FOLDER [--count=N]

Dialogues are in the released layout; `answers` may give each one's emotion and all its utterances (for files whose
responses were withheld). Recordings are dealt to the utterances in a fixed order; they do not say the words, so such a
tree is for testing machinery and never for training.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipeline.examples import read_conversations
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.recordings import is_kind, media_name
from empatheia_jax.conversation.schema import Conversation, Profile
from empatheia_jax.errors import UserError, main_guard

SPLIT_SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """`[{"conversation_id", "ed_emotion", "ed_gold_utterances_lowercased_tokenised"}]` by id."""
    found = schema.load_json(path)
    try:
        return {
            each["conversation_id"]: {
                "emotion": each["ed_emotion"],
                "utterances": each["ed_gold_utterances_lowercased_tokenised"],
            }
            for each in found
        }
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: {error} is missing; expected conversation_id, emotion and utterances") from None


def complete(conversation: Conversation, number: int, answer: Mapping[str, Any] | None) -> Conversation:
    """Gives a conversation what a test file withholds: profiles in turn, responses from the following history or from
    `answer`, and the emotion as an annotation of the whole.
    """
    turns = []
    for turn, following in zip(conversation.turns, (*conversation.turns[1:], None)):
        response = turn.response
        index = turn.response_index
        if response is None and following is not None and len(following.history) > index:
            response = following.history[index].text
        if response is None and answer is not None and len(answer["utterances"]) > index:
            response = answer["utterances"][index]
        turns.append(dataclasses.replace(turn, response=response))
    extra = dict(conversation.extra)
    if answer is not None:
        extra["emotion"] = answer["emotion"]
    return dataclasses.replace(
        conversation,
        turns=tuple(turns),
        speaker=conversation.speaker or Profile.of(number % labels.PROFILES),
        listener=conversation.listener or Profile.of((number * 7 + 5) % labels.PROFILES),
        extra=extra,
    )


def import_tree(
    dialogues: Path,
    media: Path,
    output: Path,
    answers: Path | None = None,
    count: int | None = None,
    quarantine: Quarantine | None = None,
) -> dict[str, int]:
    """Writes the tree; returns the number of conversations per split. Recordings are copied.

    Raises:
        UserError: `output` exists, `media` has no wav or no mp4, or a file is unreadable.
    """
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty; choose another folder")
    pools = {
        kind: [path for path in sorted(media.rglob("*")) if is_kind(path.name, kind) and path.is_file()]
        for kind in ("audio", "video")
    }
    for kind, pool in pools.items():
        if not pool:
            raise UserError(f"{media} has no {kind} files; expected wav and mp4 recordings")
    quarantine = quarantine or Quarantine(1.0)
    gold = read_answers(answers) if answers else {}
    found = read_conversations(dialogues, quarantine)[:count]
    conversations = [complete(each, n, gold.get(each.conversation_id)) for n, each in enumerate(found)]
    said = 0
    for kind in pools:
        (output / f"{kind}_v5_0").mkdir(parents=True, exist_ok=True)
    for conversation in conversations:
        for each in conversation.utterances():
            person = conversation.profile(each.role)
            if person is None:
                raise ValueError(f"{conversation.conversation_id} has no profile of its {each.role}")
            for kind, pool in pools.items():
                name = media_name(conversation.conversation_id, each.index, person.media_id, kind)
                shutil.copyfile(pool[said % len(pool)], output / f"{kind}_v5_0" / name)
            said += 1
    splits = split_up(conversations)
    for split, members in splits.items():
        schema.write(output / f"{split}.json", members)
    return {split: len(members) for split, members in splits.items()}


def split_up(conversations: Sequence[Conversation]) -> dict[str, list[Conversation]]:
    """80, 10 and 10 %, in turn: the first eight of ten to train, one to valid, one to test."""
    splits: dict[str, list[Conversation]] = {split: [] for split in SPLIT_SHARES}
    for number, each in enumerate(conversations):
        splits["valid" if number % 10 == 8 else "test" if number % 10 == 9 else "train"].append(each)
    return splits


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.importer", description=__doc__.splitlines()[0])
    options.add_argument("--dialogues", required=True, type=Path)
    options.add_argument("--answers", type=Path)
    options.add_argument("--media", required=True, type=Path)
    options.add_argument("--output", required=True, type=Path)
    options.add_argument("--count", type=int)
    given = options.parse_args(argv)
    quarantine = Quarantine(1.0)
    counts = import_tree(given.dialogues, given.media, given.output, given.answers, given.count, quarantine)
    quarantine.write(given.output / "quarantine.json")
    print(f"{given.output}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    print(f"{quarantine.summary()}; listed in {given.output}/quarantine.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
