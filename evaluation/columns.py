"""The columns of all tables: how each number of a system is made, and what it needs to be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluation import cells, emotions, face_judges, paper, text
from evaluation.cells import Cell
from evaluation.consistency_scores import wanted
from evaluation.measures import collect
from evaluation.paper import Column, PaperTable
from evaluation.run import Evaluation
from evaluation.systems import System
from evaluation.tables import MISSING_ROW, Row, Table


def _column(name: str, scale: float = 1.0) -> Callable[[Evaluation, System], Cell]:
    return lambda ev, s: cells.mean(collect(ev.values[s.row], name), ev.dialogues, scale)


def _distinct(n: int, raw: bool = False) -> Callable[[Evaluation, System], Cell]:
    def cell(ev: Evaluation, s: System) -> Cell:
        replies = [s.replies[name].response for name in ev.questions]
        return cells.distinct([each.split() if raw else text.normalise(each) for each in replies], n)

    return cell


def _word_errors(ev: Evaluation, s: System) -> Cell:
    values = ev.values[s.row]
    return cells.ratio(collect(values, "word_errors"), collect(values, "words_said"))


def _rated(scale: str) -> Callable[[Evaluation, System], Cell]:
    return lambda ev, s: Cell(note="no ratings were given") if ev.ratings is None else ev.ratings.cell(s.row, scale)


def _numbers(key: str, scale: float = 1.0) -> Callable[[Evaluation, System], Cell]:
    """A number that the system says of itself in its JSON."""

    def cell(ev: Evaluation, s: System) -> Cell:
        found = {name: s.replies[name].number(key) for name in ev.questions}
        return cells.mean({n: v for n, v in found.items() if v is not None}, ev.dialogues, scale)

    return cell


def _copied(ev: Evaluation, s: System) -> Cell:
    if ev.training is None:
        return Cell(note="no training split was given")
    training = ev.training
    shares = {name: training.copied(text.normalise(s.replies[name].response)) for name in ev.questions}
    return cells.mean(shares, ev.dialogues, 100)


def _verbatim(ev: Evaluation, s: System) -> Cell:
    if ev.training is None:
        return Cell(note="no training split was given")
    return cells.share([ev.training.verbatim(text.normalise(s.replies[name].response)) for name in ev.questions])


def _seen(ev: Evaluation, s: System) -> Cell:
    return cells.share([bool(each) for each in collect(ev.values[s.row], "face_seen").values()])


def _face(ev: Evaluation, s: System) -> Cell:
    found = collect(ev.values[s.row], "face_emotion")  # type: ignore[arg-type]
    shown = {name: wanted(ev, s, name)["expression"] for name in found if "expression" in wanted(ev, s, name)}
    return cells.share([found[name] == each for name, each in shown.items()])  # type: ignore[comparison-overlap]


def _as_asked(key: str, read: Callable[[Any], str]) -> Callable[[Evaluation, System], Cell]:
    """Share of films whose face is of the listener's age or gender; `read` makes a word of what the judge saw."""

    def cell(ev: Evaluation, s: System) -> Cell:
        found = collect(ev.values[s.row], f"face_{key}")
        asked = {name: wanted(ev, s, name).get(key) for name in found}
        return cells.share([read(found[name]) == each for name, each in asked.items() if each is not None])

    return cell


def descriptor(ev: Evaluation, row: str, name: str) -> Sequence[float] | None:
    """The descriptor of the face of one reply's film, or None."""
    return ev.values[row][name].get("face_descriptor")


def _face_distance(ev: Evaluation, s: System) -> Cell:
    pairs = {name: (descriptor(ev, s.row, name), descriptor(ev, "ground-truth", name)) for name in ev.questions}
    found = {
        name: face_judges.distance(ours, theirs)
        for name, (ours, theirs) in pairs.items()
        if ours is not None and theirs is not None
    }
    return cells.mean(found, ev.dialogues)


LANDMARKS = ("face_seen", "flmd", "mlmd", "lips_path", "brows_path", "head_path", "silent_lips", "opening_confidence")
"""Columns of `landmarks`."""
PERSON = ("age_as_asked", "gender_as_asked", "face_distance")
"""Columns of `face_judges`."""
CELLS: Mapping[str, Callable[[Evaluation, System], Cell]] = {
    "accuracy": lambda ev, s: emotions.named_right(ev, s, "exact"),
    "accuracy_mapped": lambda ev, s: emotions.named_right(ev, s, "mapped"),
    "accuracy7": lambda ev, s: emotions.named_right(ev, s, "seven"),
    "macro_f1": emotions.macro_f1,
    "distinct1": _distinct(1),
    "distinct2": _distinct(2),
    "distinct1_raw": _distinct(1, raw=True),
    "distinct2_raw": _distinct(2, raw=True),
    **{scale: _rated(scale) for scale in paper.SCALES},
    **{
        name: _column(name)
        for name in ("cpbd", "ssim", "ssim_uniform7", "sync_confidence", "sync_offset", "sync_distance")
    },
    **{
        name: _column(name)
        for name in ("lips_score", "lips_offset", "loudness_confidence", "dnsmos", "distillmos", "voice_similarity")
    },
    **{
        name: _column(name)
        for name in ("words_per_second", "f0", "f0_range", "level_range", "seconds", "film_minus_speech")
    },
    **{name: _column(name) for name in LANDMARKS if name != "face_seen"},
    "face_seen": _seen,
    "word_error_rate": _word_errors,
    "nats": _numbers("nats"),
    "copied": _copied,
    "verbatim": _verbatim,
    "face": _face,
    "age_as_asked": _as_asked("age", face_judges.age_group),
    "gender_as_asked": _as_asked("gender", str),
    "face_distance": _face_distance,
}
"""Every column by key."""
JUDGE_OF = {
    "lips_score": "lips",
    "lips_offset": "lips",
    "sync_confidence": "syncnet",
    "sync_offset": "syncnet",
    "sync_distance": "syncnet",
    "dnsmos": "dnsmos",
    "distillmos": "distillmos",
    "word_error_rate": "whisper",
    "voice_similarity": "voice print",
    "face": "face",
    **dict.fromkeys(LANDMARKS, "landmarks"),
    **dict.fromkeys(PERSON, "person"),
}
_SPEECH = {
    "dnsmos",
    "distillmos",
    "word_error_rate",
    "voice_similarity",
    "words_per_second",
    "f0",
    "f0_range",
    "level_range",
    "seconds",
}
_FILM = {
    "cpbd",
    "ssim",
    "ssim_uniform7",
    "lips_score",
    "lips_offset",
    "loudness_confidence",
    "film_minus_speech",
    "face",
}
_FILM |= {"sync_confidence", "sync_offset", "sync_distance", *LANDMARKS, *PERSON}
_REFERENCE = {"ssim", "ssim_uniform7", "voice_similarity", "flmd", "mlmd", "face_distance"}


def cell(evaluation: Evaluation, system: System, column: str) -> Cell:
    """One cell, or why it is empty."""
    if column in _SPEECH and not system.has("speech"):
        return Cell(note="the replies have no speech")
    if column in _FILM and not system.has("video"):
        return Cell(note="the replies have no film")
    if column in _REFERENCE and evaluation.system("ground-truth") is None:
        return Cell(note="needs the recordings as the row ground-truth")
    judge = JUDGE_OF.get(column)
    if judge is not None and (why := evaluation.judges.absent.get(judge)):
        return Cell(note=why)
    return CELLS[column](evaluation, system)


def table(
    evaluation: Evaluation,
    key: str,
    title: str,
    columns: Sequence[Column],
    rows: Mapping[str, str],
    notes: Sequence[str] = (),
    numbers: PaperTable | None = None,
) -> Table:
    """A table of `CELLS`; rows without a system are said."""
    made = []
    for row, name in rows.items():
        system = evaluation.system(row)
        found: dict[str, Cell] = {}
        for each in columns:
            here = Cell() if system is None else cell(evaluation, system, each.key)
            found[each.key] = here.with_paper(None if numbers is None else numbers.number(row, each.key))
        made.append(Row(row, name, found, "" if system else MISSING_ROW))
    given = [each for each in (evaluation.system(row) for row in rows) if each is not None]
    said = [
        f"{each.title}: {each.manifest.extra['note']}"
        for each in given
        if isinstance(each.manifest.extra.get("note"), str)
    ]
    return Table(key, title, columns, made, [*notes, *_language_models(given), *said])


def _language_models(systems: Sequence[System]) -> list[str]:
    """Which language model our numbers are of, where systems say it: the paper's rows are named after theirs."""
    found: dict[str, list[str]] = {}
    for each in systems:
        if isinstance(name := each.manifest.extra.get("language_model"), str):
            found.setdefault(name, []).append(each.title)
    return [f"Language model of {', '.join(titles)}: {name}." for name, titles in found.items()]
