"""A judge by a language model of the user's own, behind an OpenAI-compatible address. Optional, and never a headline number.

Language models like the first of two answers, and long ones. So every pair is asked in both orders and in three runs; a
preference that turns with the order counts as a tie, and the share of such turns is in the table. Before its verdict is worth
anything, compare it with people: with ratings, the table shows how often both prefer the same reply. The rubric is a file
(`rubric.md`); its hash is part of every answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from empatheia_jax.errors import UserError
from empatheia_jax.files import parse_line
from evaluation import cells
from evaluation.cells import Cell
from evaluation.paper import Column
from evaluation.questions import Question
from evaluation.ratings import Ratings
from evaluation.store import Store, key_of
from evaluation.systems import System
from evaluation.tables import Row, Table

RUNS = 3
SECONDS = 120
_VERDICT = re.compile(r'"better"\s*:\s*"(A|B|tie)"', re.IGNORECASE)


def rubric(path: Path | None = None) -> str:
    """What the judge is told: a file, or the one that comes with this package."""
    if path is None:
        return resources.files("evaluation").joinpath("rubric.md").read_text(encoding="utf-8")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a rubric ({error})") from None


@dataclass(frozen=True)
class Judge:
    """Where the model is. `key` comes from the environment (`OPENAI_API_KEY`), never from a file or a flag."""

    address: str
    model: str
    rubric: str

    def ask(self, question: Question, first: str, second: str, run: int) -> str:
        """The verdict: A, B or tie. Raises `UserError` where the server does not answer, or the model gives no verdict."""
        said = "\n".join(f"{each.role}: {each.text}" for each in question.turn.history)
        body = {
            "model": self.model,
            "seed": run,
            "temperature": 0.0 if run == 0 else 0.7,
            "messages": [
                {"role": "system", "content": self.rubric},
                {"role": "user", "content": f"Conversation:\n{said}\n\nReply A:\n{first}\n\nReply B:\n{second}"},
            ],
        }
        headers = {"Content-Type": "application/json"}
        if secret := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {secret}"
        address = f"{self.address.rstrip('/')}/chat/completions"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                text = parse_line(answer.read())["choices"][0]["message"]["content"]
        except (urllib.error.URLError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"the judge at {address} gave no answer ({error}); it must speak OpenAI's chat completions"
            ) from None
        found = _VERDICT.search(text) if isinstance(text, str) else None
        if found is None:
            raise UserError(f'the judge answered {text!r:.80}; expected {{"better": "A"}}, B or tie')
        verdict = found.group(1)
        return verdict.upper() if verdict.lower() != "tie" else "tie"


def preferences(
    judge: Judge, ours: System, theirs: System, questions: Mapping[str, Question], store: Store
) -> dict[str, list[tuple[str, str]]]:
    """Turn → for each run (verdict with ours first, verdict with theirs first), in terms of "ours", "theirs", "tie"."""
    told = hashlib.sha256(judge.rubric.encode()).hexdigest()
    found: dict[str, list[tuple[str, str]]] = {}
    for name, question in questions.items():
        replies = ours.replies[name].response, theirs.replies[name].response
        found[name] = []
        for run in range(RUNS):
            pair = []
            for order in (0, 1):
                first, second = replies if order == 0 else replies[::-1]
                asked = [each.text for each in question.turn.history]
                key = key_of(judge=judge.model, rubric=told, run=run, history=asked, first=first, second=second)
                known = store.get(key)
                if known is None:
                    known = {"verdict": judge.ask(question, first, second, run)}
                    store.put(key, known)
                says = {"A": ("ours", "theirs")[order], "B": ("theirs", "ours")[order], "tie": "tie"}
                pair.append(says[known["verdict"]])
            found[name].append((pair[0], pair[1]))
    return found


def settled(runs: list[tuple[str, str]]) -> str:
    """One verdict of all runs: what most of them say in both orders; a tie where orders or runs disagree."""
    firm = [first if first == second else "tie" for first, second in runs]
    ours, theirs = firm.count("ours"), firm.count("theirs")
    return "ours" if ours > len(runs) / 2 else "theirs" if theirs > len(runs) / 2 else "tie"


def table(
    judge: Judge,
    ours: System,
    others: Mapping[str, System],
    questions: Mapping[str, Question],
    store: Store,
    ratings: Ratings | None = None,
    scale: str = "Emp",
) -> Table:
    """Agreement with people first, then how often the judge prefers ours."""
    rows = []
    for title, other in others.items():
        found = preferences(judge, ours, other, questions, store)
        verdicts = {name: settled(runs) for name, runs in found.items()}
        turned = [first != second for runs in found.values() for first, second in runs]
        rows.append(
            Row(
                other.row,
                title,
                {
                    "people": _agreement(verdicts, ours, other, ratings, scale),
                    "ours": cells.share([each == "ours" for each in verdicts.values()]),
                    "tie": cells.share([each == "tie" for each in verdicts.values()]),
                    "turned": cells.share(turned),
                },
            )
        )
    told = hashlib.sha256(judge.rubric.encode()).hexdigest()[:12]
    return Table(
        "judge",
        f"A language model's preference for {ours.title} (not a headline number)",
        [
            Column("people", f"agrees with people on {scale}, %", 1),
            Column("ours", f"prefers {ours.title}, %", 1),
            Column("tie", "tie, %", 1, 0),
            Column("turned", "turns with the order, %", 1, -1),
        ],
        rows,
        [f"Model {judge.model}, rubric {told}, both orders, {RUNS} runs. Verdicts that turn with the order are ties."],
    )


def _agreement(verdicts: Mapping[str, str], ours: System, other: System, ratings: Ratings | None, scale: str) -> Cell:
    if ratings is None:
        return Cell(note="no ratings of people were given: nothing says that this judge is worth asking")
    hits = []
    for name, verdict in verdicts.items():
        values = [ratings.matrix(each.row, scale, [name]) for each in (ours, other)]
        if any(not each.size or np.isnan(each).all() for each in values):
            continue
        difference = float(np.nanmean(values[0]) - np.nanmean(values[1]))
        people = "ours" if difference > 0 else "theirs" if difference < 0 else "tie"
        if people != "tie" and verdict != "tie":
            hits.append(people == verdict)
    return cells.share(hits) if hits else Cell(note="people and judge have no decided turn in common")
