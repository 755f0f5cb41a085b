"""The cross-check by three people (paper §3.2): reads the filled forms, and decides which dialogues are accepted.

    python -m data_pipeline.annotation.crosscheck forms  --set=draft.json --round=text  --output=FOLDER [--annotators=a,b,c]
    python -m data_pipeline.annotation.crosscheck forms  --set=draft.json --round=media --media=ROOT --output=FOLDER
    python -m data_pipeline.annotation.crosscheck import --set=draft.json --round=text  --results=FOLDER --output=FOLDER

`forms` writes what the annotators fill in (`data_pipeline.annotation.crosscheck_forms`), and `import` reads it. A dialogue is
accepted only where all three say yes to every question.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_pipeline.annotation.crosscheck_forms import PEOPLE, QUESTIONS, make_forms, require_round, set_hash
from data_pipeline.layout import Tree
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.schema import Conversation
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import write_json


@dataclass(frozen=True)
class Result:
    """What one annotator said: conversation → question → yes or no; comments beside."""

    annotator: str
    votes: Mapping[str, Mapping[str, bool]]
    comments: Mapping[str, str]


def read_results(folder: str | Path, mark: str, stage: str) -> list[Result]:
    """The results in a folder, JSON from the pages or filled CSV; files of other sets or rounds are an error.

    Raises:
        UserError: a file is broken, of another set, or an annotator occurs twice.
    """
    require_round(stage)
    results: list[Result] = []
    for path in sorted(Path(folder).glob(f"{stage}-*")):
        found: Result | None
        if path.suffix == ".json":
            found = _from_json(path, mark, stage)
        elif path.suffix == ".csv":
            found = _from_csv(path, mark, stage)
        else:
            continue
        if found is None:
            continue
        if found.annotator in {each.annotator for each in results}:
            raise UserError(f"{path}: annotator {found.annotator!r} has another file in {folder}; keep one of them")
        results.append(found)
    return results


def _require_set(path: Path, found: Mapping[str, Any], mark: str, stage: str) -> None:
    if found.get("set") != mark or found.get("round") != stage:
        raise UserError(
            f"{path} answers about set {found.get('set')}, round {found.get('round')}; expected {mark}, {stage}: the dialogues "
            "were changed since, make new forms"
        )


def _from_json(path: Path, mark: str, stage: str) -> Result:
    found = schema.load_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("answers"), dict):
        raise UserError(f"{path} is no result of a cross-check form; expected set, round, annotator and answers")
    _require_set(path, found, mark, stage)
    votes, comments = {}, {}
    for item, answers in found["answers"].items():
        votes[item] = {key: answers[key] for key in QUESTIONS[stage] if isinstance(answers.get(key), bool)}
        if answers.get("comment"):
            comments[item] = str(answers["comment"])
    return Result(str(found["annotator"]), votes, comments)


def _from_csv(path: Path, mark: str, stage: str) -> Result | None:
    """None where nobody filled the sheet (its HTML twin was used)."""
    votes: dict[str, dict[str, bool]] = {}
    comments, annotator = {}, None
    with open(path, encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            _require_set(path, row, mark, stage)
            annotator = row["annotator"]
            votes[row["conversation"]] = {}
            for key in QUESTIONS[stage]:
                word = (row.get(key) or "").strip().lower()
                if word in ("yes", "y", "1", "no", "n", "0"):
                    votes[row["conversation"]][key] = word in ("yes", "y", "1")
                elif word:
                    raise UserError(f"{path}, line {number}: {key} is {word!r}; expected yes or no")
            if (row.get("comment") or "").strip():
                comments[row["conversation"]] = row["comment"].strip()
    if annotator is None or not any(votes.values()):
        return None
    return Result(annotator, votes, comments)


def fleiss_kappa(yes: Sequence[int], raters: int) -> float | None:
    """Fleiss' κ for two categories: `yes` votes out of `raters` per item; None where all votes are alike (undefined).

    κ = (P − P_e) / (1 − P_e), P the mean share of agreeing pairs, P_e that of chance (Fleiss 1971).
    """
    if not yes or raters < 2:
        return None
    pairs = [(y * (y - 1) + (raters - y) * (raters - y - 1)) / (raters * (raters - 1)) for y in yes]
    share = sum(yes) / (len(yes) * raters)
    chance = share**2 + (1 - share) ** 2
    if chance == 1:
        return None
    return (sum(pairs) / len(pairs) - chance) / (1 - chance)


@dataclass
class Decision:
    """What the three said together."""

    accepted: list[str] = field(default_factory=list)
    rejected: dict[str, list[str]] = field(default_factory=dict)
    open: dict[str, list[str]] = field(default_factory=dict)
    agreement: dict[str, dict[str, float | None]] = field(default_factory=dict)
    annotators: list[str] = field(default_factory=list)


def decide(conversations: Sequence[Conversation], results: Sequence[Result], stage: str) -> Decision:
    """Accepts what all three accept in everything; with one "no" it is rejected; with votes missing it stays open.

    Raises:
        UserError: more than three annotators.
    """
    require_round(stage)
    if len(results) > PEOPLE:
        raise UserError(
            f"{len(results)} annotators sent results; expected {PEOPLE}; keep the files of {PEOPLE} of them"
        )
    decision = Decision(annotators=[each.annotator for each in results])
    counts: dict[str, list[int]] = {key: [] for key in QUESTIONS[stage]}
    for conversation in conversations:
        name, against, missing = conversation.conversation_id, [], []
        for key in QUESTIONS[stage]:
            votes = [(each, each.votes.get(name, {}).get(key)) for each in results]
            against += [
                f"{each.annotator}: {key}" + (f" ({each.comments[name]})" if name in each.comments else "")
                for each, vote in votes
                if vote is False
            ]
            given = [vote for _, vote in votes if vote is not None]
            if len(given) < PEOPLE:
                missing.append(f"{key}: {len(given)} of {PEOPLE} votes")
            else:
                counts[key].append(sum(given))
        if against:
            decision.rejected[name] = against
        elif missing:
            decision.open[name] = missing
        else:
            decision.accepted.append(name)
    for key, yes in counts.items():
        unanimous = [y in (0, PEOPLE) for y in yes]
        decision.agreement[key] = {
            "items": len(yes),
            "yes": sum(yes) / (PEOPLE * len(yes)) if yes else None,
            "unanimous": sum(unanimous) / len(unanimous) if unanimous else None,
            "fleiss_kappa": fleiss_kappa(yes, PEOPLE),
        }
    return decision


def report(decision: Decision, stage: str) -> str:
    """The agreement in words and numbers."""
    total = len(decision.accepted) + len(decision.rejected) + len(decision.open)
    lines = [
        f"round {stage}, annotators {', '.join(decision.annotators) or 'none'}: {total} dialogues, "
        f"{len(decision.accepted)} accepted, {len(decision.rejected)} rejected, {len(decision.open)} open"
    ]
    for key, values in decision.agreement.items():
        shown = ", ".join(f"{name} {'undefined' if v is None else f'{v:.3f}'}" for name, v in list(values.items())[1:])
        lines.append(f"  {key:<10} {values['items']} items: {shown}")
    lines += [f"  rejected {name}: {'; '.join(why)}" for name, why in decision.rejected.items()]
    return "\n".join(lines)


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.annotation.crosscheck")
    options.add_argument("what", choices=("forms", "import"))
    options.add_argument("--set", type=Path, required=True, help="dialogues in the released layout")
    options.add_argument("--round", choices=tuple(QUESTIONS), required=True)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--annotators", default="first,second,third", help="three names")
    options.add_argument("--media", type=Path, help="root of the set with the recordings")
    options.add_argument("--results", type=Path, help="folder with what the annotators sent back")
    given = options.parse_args(argv)
    conversations = schema.read(given.set)
    if given.what == "forms":
        names = [name.strip() for name in given.annotators.split(",") if name.strip()]
        tree = Tree(given.media) if given.media else None
        for path in make_forms(conversations, given.round, names, given.output, tree):
            print(path)
        return 0
    if given.results is None:
        raise UserError("import needs --results=FOLDER with the files that the annotators sent back")
    results = read_results(given.results, set_hash(conversations, given.round), given.round)
    decision = decide(conversations, results, given.round)
    kept = set(decision.accepted)
    schema.write(given.output / f"accepted-{given.round}.json", [c for c in conversations if c.conversation_id in kept])
    write_json(given.output / f"decision-{given.round}.json", decision.__dict__)
    print(report(decision, given.round))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
