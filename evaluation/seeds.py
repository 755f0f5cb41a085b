"""Systems that were trained several times: each number as a mean over seeds, and beside the majority class.

Two things are random, and each has its interval. *Over dialogues*: a turn counts as the share of seeds that are right, and the
interval is Student's t over dialogues: what other dialogues would give. *Over seeds*: Student's t over the seeds' numbers: what
other trainings would give. The majority class names the most frequent emotion of the training split for every turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from empatheia_jax.conversation import labels
from empatheia_jax.errors import UserError
from evaluation import cells, opinion, text
from evaluation.accuracy import emotion_accuracy
from evaluation.cells import Cell
from evaluation.emotions import exact_label
from evaluation.paper import Column
from evaluation.questions import Question
from evaluation.systems import System
from evaluation.tables import Row, Table

COLUMNS = (
    Column("accuracy", "Acc 32, over dialogues"),
    Column("gain", "Acc − majority class"),
    Column("accuracy_seeds", "Acc 32, over seeds"),
    Column("macro_f1", "macro-F1, over seeds"),
    Column("distinct1", "Dist-1, over seeds"),
    Column("distinct2", "Dist-2, over seeds"),
)


def majority(training: Mapping[str, Question]) -> str:
    """The most frequent emotion of a training split, the first by letters among equals. Raises `UserError` without any."""
    counts = Counter(each.emotion for each in training.values() if each.emotion is not None)
    if not counts:
        raise UserError("the training split says no emotions; there is no majority class")
    return min(counts, key=lambda each: (-counts[each], each))


def over_seeds(numbers: Sequence[float]) -> Cell:
    """The mean of one number per seed with its 95 % interval; a single seed has no interval."""
    found = opinion.summary(numbers)
    if found.n == 1:
        return Cell(found.mean, 1, note="one seed has no interval")
    return Cell(found.mean, found.n, *found.t_interval)


def _scores(named: Mapping[str, str | None], truth: Mapping[str, str]) -> tuple[float, float]:
    """Accuracy and macro-F1 in per cent."""
    place = {label: number for number, label in enumerate(labels.EMOTIONS_32)}
    found = [-1 if named[name] is None else place[str(named[name])] for name in truth]
    score = emotion_accuracy([place[each] for each in truth.values()], found)
    return 100 * score.accuracy, 100 * score.macro_f1


def table(systems: Mapping[str, Sequence[System]], questions: Mapping[str, Question], most: str) -> Table:
    """Title → its folders, one for each seed, on the same turns; `most`: the majority class.

    Raises:
      UserError: the test file says no emotions, or two folders of a system are the same training.
    """
    truth = {name: each.emotion for name, each in questions.items() if each.emotion is not None}
    if not truth:
        raise UserError("the test file says no emotions; nothing can be compared with the majority class")
    dialogues = {name: each.dialogue for name, each in questions.items()}
    base = {name: float(each == most) for name, each in truth.items()}
    plain, f1 = _scores(dict.fromkeys(truth, most), truth)
    made = {
        "accuracy": cells.mean(base, dialogues, 100),
        "macro_f1": Cell(f1, 1, note="the majority class is not trained"),
        "accuracy_seeds": Cell(plain, 1, note="the majority class is not trained"),
    }
    rows, notes = [Row("majority", f"majority class ({most})", made)], []
    for title, seeds in systems.items():
        if len(set(map(_numbers, seeds))) < len(seeds):
            raise UserError(f"two folders of {title} have the same seed and settings; expected one for each training")
        named = [{name: exact_label(each.replies[name]) for name in truth} for each in seeds]
        right = {name: float(np.mean([each[name] == truth[name] for each in named])) for name in truth}
        scores = [_scores(each, truth) for each in named]
        said = [[text.normalise(each.replies[name].response) for name in questions] for each in seeds]
        rows.append(
            Row(
                title,
                title,
                {
                    "accuracy": cells.mean(right, dialogues, 100),
                    "gain": cells.mean({name: right[name] - base[name] for name in truth}, dialogues, 100),
                    "accuracy_seeds": over_seeds([score for score, _ in scores]),
                    "macro_f1": over_seeds([score for _, score in scores]),
                    **{
                        f"distinct{n}": over_seeds([100 * text.distinct_corpus(each, n) for each in said])
                        for n in (1, 2)
                    },
                },
            )
        )
        kept = {each.manifest.extra.get("note") for each in seeds}
        notes += [f"{title}: {note}" for note in sorted(each for each in kept if isinstance(each, str))]
    count = len(set(dialogues.values()))
    first = f"{len(truth)} turns of {count} dialogues. Intervals: 95 %, Student's t; n: turns, or seeds."
    return Table("seeds", "Emotion accuracy of several trainings", COLUMNS, rows, [first, *notes])


def _numbers(system: System) -> tuple[object, ...]:
    manifest = system.manifest
    return (str(system.folder),) if manifest.seed is None else (manifest.seed, manifest.config)
