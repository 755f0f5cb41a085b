"""The emotion that a system names for the user, against the label of the test file: accuracy and macro-F1."""

from __future__ import annotations

from empatheia_jax.conversation import labels
from evaluation import cells
from evaluation.accuracy import emotion_accuracy
from evaluation.cells import Cell
from evaluation.run import Evaluation
from evaluation.systems import Reply, System


def exact_label(reply: Reply) -> str | None:
    """The label of the 32 that a system wrote letter by letter (case and hyphens apart), or None."""
    word = None if reply.emotion is None else labels.normalise(reply.emotion)
    return word if word in labels.EMOTIONS_32 else None


def mapped_label(reply: Reply) -> str | None:
    """The label of the 32 that a system's word reaches through the table of synonyms, or None."""
    return None if reply.emotion is None else labels.emotion32(reply.emotion)


def hits(evaluation: Evaluation, system: System, how: str) -> dict[str, bool]:
    """Id → whether the emotion is right: "exact" and "mapped" of the 32, "seven" of the 7 through the map."""
    found: dict[str, bool] = {}
    for name, question in evaluation.questions.items():
        if question.emotion is None:
            continue
        reply = system.replies[name]
        if how == "seven":
            truth, label = question.emotion7(evaluation.label_map), mapped_label(reply)
            if truth is not None:
                found[name] = label is not None and labels.emotion7(label, evaluation.label_map) == truth
        else:
            found[name] = (exact_label(reply) if how == "exact" else mapped_label(reply)) == question.emotion
    return found


def macro_f1(evaluation: Evaluation, system: System) -> Cell:
    """Mean F1 over the labels that occur, of the exact labels, in per cent."""
    if all(reply.emotion is None for reply in system.replies.values()):
        return Cell(note="the system names no emotion")
    known = {name: each.emotion for name, each in evaluation.questions.items() if each.emotion is not None}
    if not known:
        return Cell(note="the test file says no emotions")
    place = {label: k for k, label in enumerate(labels.EMOTIONS_32)}
    found = [exact_label(system.replies[name]) for name in known]
    score = emotion_accuracy(
        [place[each] for each in known.values()], [-1 if each is None else place[each] for each in found]
    )
    return Cell(100 * score.macro_f1, score.count)


def named_right(evaluation: Evaluation, system: System, how: str) -> Cell:
    """Share of turns whose emotion is right, in per cent; `how`: as in `hits`."""
    if all(reply.emotion is None for reply in system.replies.values()):
        return Cell(note="the system names no emotion")
    found = hits(evaluation, system, how)
    return cells.share(list(found.values())) if found else Cell(note="the test file says no emotions")
