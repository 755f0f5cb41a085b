"""What does each input contribute? Shapley values of the emotion's accuracy over all subsets of text, speech and video.

One folder of replies for each subset of the inputs (`--mode=reply --input=test --withhold=…`). For an input i of n,

    φ_i = Σ over S without i of  |S|! (n − |S| − 1)! / n!  ·  (v(S with i) − v(S)),

v(S) being 1 where the emotion is right. It is linear, so every turn has its own φ, and the φ of all inputs add up to what all
of them together gain over none. Inputs that every folder has are no players: they belong to the base. Without a folder for
"none", v(none) is the chance of one label in 32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from empatheia_jax.conversation import labels
from empatheia_jax.errors import UserError
from evaluation import cells
from evaluation.emotions import exact_label
from evaluation.paper import Column
from evaluation.questions import Question
from evaluation.systems import System
from evaluation.tables import Row, Table

INPUTS = ("text", "speech", "video")
Subset = frozenset[str]


def subset(text: str) -> Subset:
    """`text+speech` → the inputs; `none` → no input. Raises `UserError` for another word."""
    words = [] if text == "none" else text.split("+")
    if not set(words) <= set(INPUTS) or len(set(words)) < len(words):
        raise UserError(f"{text!r} is no set of inputs; expected {', '.join(INPUTS)} with + between them, or none")
    return frozenset(words)


def shapley(values: Mapping[Subset, float]) -> dict[str, float]:
    """φ of every input, from v of every subset of the inputs.

    Raises:
      UserError: a subset is missing.
    """
    players = sorted(set().union(*values))
    for size in range(len(players) + 1):
        for each in itertools.combinations(players, size):
            if frozenset(each) not in values:
                raise UserError(
                    f"there is no folder for the inputs {'+'.join(each) or 'none'}; expected one for every subset"
                )
    n = len(players)
    found = dict.fromkeys(players, 0.0)
    for player in players:
        others = [each for each in players if each != player]
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for each in itertools.combinations(others, size):
                without = frozenset(each)
                found[player] += weight * (values[without | {player}] - values[without])
    return found


def of_turns(systems: Mapping[Subset, System], questions: Mapping[str, Question]) -> dict[str, dict[str, float]]:
    """Turn → input → φ. Raises `UserError` as `shapley`, or where no emotion is known."""
    base = frozenset.intersection(*systems)
    players = {each - base: system for each, system in systems.items()}
    found: dict[str, dict[str, float]] = {}
    for name, question in questions.items():
        if question.emotion is None:
            continue
        values = {each: float(exact_label(s.replies[name]) == question.emotion) for each, s in players.items()}
        if not base:
            values.setdefault(frozenset(), 1 / len(labels.EMOTIONS_32))
        found[name] = shapley(values)
    if not found:
        raise UserError("the test file says no emotions; nothing can be attributed")
    return found


def table(systems: Mapping[Subset, System], questions: Mapping[str, Question], label_map: str = "paper") -> Table:
    """φ in points of accuracy: of all turns, and by the speaker's emotion (of the 7), age and gender."""
    found = of_turns(systems, questions)
    players = [each for each in INPUTS if any(each in values for values in found.values())]
    dialogues = {name: each.dialogue for name, each in questions.items()}
    groups: dict[str, list[str]] = {"all": list(found)}
    for word in labels.EMOTIONS_7:
        groups[word] = [name for name in found if questions[name].emotion7(label_map) == word]
    for index, words in ((0, labels.AGES), (1, labels.GENDERS)):
        for number, word in enumerate(words):
            speakers = {name: questions[name].speaker for name in found}
            groups[word] = [name for name, who in speakers.items() if who is not None and who.ids[index] == number]
    rows = []
    for title, names in groups.items():
        made = {each: cells.mean({name: found[name][each] for name in names}, dialogues, 100) for each in players}
        rows.append(Row(title, title, made))
    base = frozenset.intersection(*systems)
    notes = ["Shapley values of the exact accuracy (32 labels), in points; interval: Student's t over dialogues."]
    notes.append(f"Every folder had {'+'.join(sorted(base))}." if base else "")
    return Table(
        "contribution",
        "What each input contributes to understanding the emotion",
        [Column(each, each, 2) for each in players],
        rows,
        [note for note in notes if note],
    )
