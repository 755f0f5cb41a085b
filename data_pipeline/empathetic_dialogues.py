"""EmpatheticDialogues (Rashkin et al., 2019) in the released layout of AvaMERG: text and emotions, without recordings.

    python -m data_pipeline.empathetic_dialogues FILE… --output=FOLDER

A file is a split as released (`train.csv`, `valid.csv`, `test.csv`), or a JSON list of `{"emotion": …, "utts": […]}` as many
repositories keep the set, with its own case or lower-cased and split at marks. The dialogues of all files are dealt anew: a
hash of a dialogue's first utterance decides whether it is for training, validation or test. So no scenario is in two splits,
and a dialogue that two files hold is taken once.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.schema import Conversation, Turn, Utterance
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import require_regular
from empatheia_jax.requirements import writable

SHARES = {"train": 80, "valid": 5, "test": 15}
"""Per cent of the first utterances' hashes."""
COLUMNS = ("conv_id", "utterance_idx", "context", "utterance")
_LETTERS = re.compile(r"[^a-z0-9]+")
_APART = re.compile(r"\s+(n't|'(?:s|d|m|re|ve|ll)|[.,!?;:%])(?!\S)", re.IGNORECASE)


@dataclass(frozen=True)
class Dialogue:
    """What was said, the speaker's utterances and the listener's in turn, and the speaker's emotion (one of the 32)."""

    emotion: str
    utterances: tuple[str, ...]

    @property
    def scenario(self) -> str:
        """Letters and digits of the first utterance: the same for every way to split and to capitalise it."""
        return _LETTERS.sub("", self.utterances[0].lower())

    @property
    def split(self) -> str:
        """Which split it is dealt to."""
        place = int(hashlib.sha256(self.scenario.encode()).hexdigest(), 16) % sum(SHARES.values())
        for split, share in SHARES.items():
            if place < share:
                return split
            place -= share
        raise AssertionError(place)


def joined(text: str) -> str:
    """An utterance whose marks and `n't` had been split off, as it is written."""
    return _APART.sub(r"\1", " ".join(text.replace("_comma_", ",").split()))


def _dialogue(emotion: object, utterances: Iterable[object], where: str) -> Dialogue:
    label = labels.normalise(emotion) if isinstance(emotion, str) else None
    if label not in labels.EMOTIONS_32:
        raise UserError(f"{where}: emotion {str(emotion)!r:.40}; expected one of the 32 of EmpatheticDialogues")
    said = tuple(joined(each) if isinstance(each, str) else "" for each in utterances)
    if not said or not all(said):
        raise UserError(f"{where} has an utterance without words; expected strings")
    return Dialogue(label, said)


def _of_json(path: Path) -> Iterator[Dialogue]:
    found = schema.load_json(path)
    if not isinstance(found, list):
        raise UserError(f"{path} is no list; expected dialogues with 'emotion' and 'utts'")
    for place, each in enumerate(found):
        where = f"{path}[{place}]"
        if not isinstance(each, dict) or not isinstance(each.get("utts"), list):
            raise UserError(f"{where} has no list 'utts'; expected a dialogue with 'emotion' and 'utts'")
        yield _dialogue(each.get("emotion"), each["utts"], where)


def _of_csv(path: Path) -> Iterator[Dialogue]:
    require_regular(path, "a split of EmpatheticDialogues")
    spoken: dict[str, list[tuple[int, str]]] = {}
    emotions: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # The released files have no quotes: commas inside a text are written `_comma_`.
            rows = csv.DictReader(file, quoting=csv.QUOTE_NONE)
            if missing := [each for each in COLUMNS if each not in (rows.fieldnames or ())]:
                raise UserError(f"{path} has no column {missing[0]!r}; expected {', '.join(COLUMNS)}")
            for number, row in enumerate(rows, 2):
                index = row["utterance_idx"] or ""
                if not (index.isascii() and index.isdecimal()) or row["utterance"] is None:
                    raise UserError(f"{path}, line {number} is cut off; expected {', '.join(COLUMNS)}")
                emotions.setdefault(row["conv_id"], row["context"])
                spoken.setdefault(row["conv_id"], []).append((int(index[:9]), row["utterance"]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no table in UTF-8 ({error}); expected a split of EmpatheticDialogues") from None
    for name, said in spoken.items():
        yield _dialogue(emotions[name], [text for _, text in sorted(said)], f"{path}, {name}")


def read(paths: Sequence[Path]) -> list[Dialogue]:
    """The dialogues of some files, each scenario once, in the files' order.

    Raises:
      UserError: a file is unreadable, or a dialogue has no emotion of the 32 or no words.
    """
    found: dict[str, Dialogue] = {}
    for path in paths:
        for each in _of_csv(path) if path.suffix.lower() == ".csv" else _of_json(path):
            found.setdefault(each.scenario, each)
    return list(found.values())


def conversation(dialogue: Dialogue, number: int) -> Conversation:
    """A dialogue as AvaMERG's files have it. A last utterance of the speaker, which nobody answers, is left out."""
    said = [Utterance(place, schema.ROLES[place % 2], text) for place, text in enumerate(dialogue.utterances)]
    turns = tuple(
        Turn(str(place // 2), tuple(said[:place]), response=said[place].text) for place in range(1, len(said), 2)
    )
    return Conversation(f"{number:05d}", turns, extra={"emotion": dialogue.emotion})


def write(paths: Sequence[Path], output: Path) -> dict[str, int]:
    """Writes train.json, valid.json and test.json; returns how many turns each has. Raises `UserError` as `read`."""
    splits: dict[str, list[Conversation]] = {split: [] for split in SHARES}
    for number, each in enumerate(read(paths), 1):
        made = conversation(each, number)
        if made.turns:
            splits[each.split].append(made)
    if empty := [split for split, members in splits.items() if not members]:
        raise UserError(f"no dialogue is left for {empty[0]}; expected a few dozen dialogues or more")
    output.mkdir(parents=True, exist_ok=True)
    for split, members in splits.items():
        schema.write(output / f"{split}.json", members)
    return {split: sum(len(each.turns) for each in members) for split, members in splits.items()}


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.empathetic_dialogues", description=__doc__)
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--output", required=True, type=Path)
    given = options.parse_args(argv)
    counts = write(given.files, writable(given.output, "--output"))
    print(f"{given.output}: " + ", ".join(f"{count} turns in {split}" for split, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
