"""`consistency`'s proxies of every reply of an evaluation, and whether each proxy sees anything on the recordings."""

from __future__ import annotations

from empatheia_jax.conversation import expression, labels
from evaluation import cells, consistency
from evaluation.cells import Cell
from evaluation.measures import lips_with
from evaluation.paper import Column
from evaluation.run import Evaluation
from evaluation.systems import System
from evaluation.tables import Row, Table


def wanted(evaluation: Evaluation, system: System, name: str) -> dict[str, str]:
    """What a reply asks voice and face to show: the expression that it names (else the listener's answer to the true emotion),
    and the listener's gender and age.
    """
    question, values = evaluation.questions[name], system.replies[name].values
    found: dict[str, str] = {}
    shown = values.get("listener_emotion")
    if isinstance(shown, dict) and isinstance(shown.get("shown"), str):
        found["expression"] = shown["shown"]
    elif question.emotion is not None:
        found["expression"] = expression.listener_emotion(question.emotion)[0]
    if question.listener is not None:
        age, gender, _ = question.listener.ids
        found |= {"gender": labels.GENDERS[gender], "age": labels.AGES[age]}
    return found


def consistency_scores(
    evaluation: Evaluation,
) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, list[tuple[float, float]]]]:
    """(row → id → proxy → score, proxy → pairs of (score of a true pair, score of a shuffled pair) on the recordings)."""
    truth = evaluation.system("ground-truth")
    if truth is None or not truth.has("video") or not truth.has("speech"):
        return {}, {}
    dialogues = evaluation.dialogues

    def observed(row: str, name: str) -> consistency.Observed:
        values = evaluation.values[row][name]
        return consistency.Observed(consistency.voice_features(values), values.get("appearance"))

    fold = consistency.folds(list(dialogues.values()))
    known = {name: wanted(evaluation, truth, name) for name in evaluation.questions}
    probes = {
        number: consistency.Probes(
            {name: observed("ground-truth", name) for name in evaluation.questions if fold[dialogues[name]] != number},
            known,
        )
        for number in set(fold.values())
    }
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for system in evaluation.systems:
        if not (system.has("speech") or system.has("video")):
            continue
        scores[system.row] = {}
        for name in evaluation.questions:
            values, seen = evaluation.values[system.row][name], observed(system.row, name)
            errors = values["word_errors"] / max(1, values["words_said"]) if "word_errors" in values else None
            scores[system.row][name] = consistency.proxies(
                probes[fold[dialogues[name]]],
                seen.voice,
                seen.face,
                wanted(evaluation, system, name),
                errors,
                values.get("lips_score"),
            )
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in consistency.PROXIES}
    for name, other in consistency.partner(list(evaluation.questions), dialogues).items():
        mine, theirs = observed("ground-truth", name), observed("ground-truth", other)
        read = probes[fold[dialogues[name]]]
        shuffled = {
            "VCA": lips_with(truth.replies[name], truth.replies[other], evaluation.judges, evaluation.store),
            "SSA": consistency.style(read.read("voice", theirs.voice), known[name]),
            "VSA": consistency.style(read.read("face", theirs.face), known[name]),
            "MSC": consistency.agreement(read.read("voice", mine.voice), read.read("face", theirs.face)),
            "SCA": _words_of_another(evaluation, name, other),
        }
        for proxy, wrong in shuffled.items():
            true = scores["ground-truth"][name].get(proxy)
            if true is not None and wrong is not None:
                pairs[proxy].append((true, wrong))
    return scores, pairs


def _words_of_another(evaluation: Evaluation, name: str, other: str) -> float | None:
    from evaluation.speech_judges import word_errors, words

    heard = evaluation.values["ground-truth"][other].get("heard")
    reference = evaluation.questions[name].reference
    if not isinstance(heard, str) or reference is None:
        return None
    said = words(reference)
    return max(0.0, 1.0 - word_errors(heard.split(), said) / max(1, len(said)))


def consistency_table(evaluation: Evaluation) -> Table | None:
    """The proxies by system, and below them how often each tells a true pair from a shuffled one."""
    scores, pairs = consistency_scores(evaluation)
    if not scores:
        return None
    rows = []
    for row, name in evaluation.titles().items():
        if row in scores:
            made = {}
            for proxy in consistency.PROXIES:
                found = {n: each[proxy] for n, each in scores[row].items() if proxy in each}
                made[proxy] = (
                    cells.mean(found, evaluation.dialogues) if found else Cell(note="a judge or a file is missing")
                )
            rows.append(Row(row, name, made))
    valid = {
        p: cells.share([a > b for a, b in each]) if each else Cell(note="not validated") for p, each in pairs.items()
    }
    valid["MCC"] = Cell(note="the product of SCA* and VCA*; see theirs")
    rows.append(Row("validation", "true pair above shuffled, %", valid))
    return Table(
        "consistency",
        "Cross-modal consistency: automatic stand-ins for SCA … MSC",
        [Column(proxy, f"{proxy}*", 3) for proxy in consistency.PROXIES],
        rows,
        [
            "Definitions: `evaluation.consistency`. Last row: true pairs of the recordings against those of two "
            "dialogues; 50 means that the proxy sees nothing, and its column says nothing.",
        ],
    )
