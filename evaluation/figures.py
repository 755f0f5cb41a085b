"""Figures 2, 6, 7 and 8: as pictures for the report, and as tables of what is drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_pipeline import statistics
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import labels
from empatheia_jax.errors import UserError
from evaluation import emotions, separation
from evaluation.breakdowns import accuracy_by_speaker
from evaluation.cells import Cell
from evaluation.paper import Column
from evaluation.run import Evaluation
from evaluation.systems import Reply, System
from evaluation.tables import Row, Table, as_text

SAMPLES = 500
"""Replies in Figure 7, as in the paper."""
INK = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")


@dataclass(frozen=True)
class Case:
    """One question of Figure 8 with the answers to it: (system, reply) pairs. `why` it was chosen."""

    id: str
    asked: str
    emotion: str | None
    answers: Sequence[tuple[System, Reply]]
    why: str


@dataclass(frozen=True)
class Figure:
    """key, title, a picture (PNG) or None, tables of what it shows, words, and the cases of Figure 8. `missing`: why it is
    empty.
    """

    key: str
    title: str
    picture: bytes | None = None
    tables: Sequence[Table] = ()
    text: str = ""
    cases: Sequence[Case] = field(default_factory=tuple)
    missing: str = ""


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawing)
    return drawing


def _png(drawing) -> bytes:
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


# ---------------------------------------------------------------- Figure 2


def figure_2(data: Path | None, open_media: bool = True) -> Figure:
    """Statistics of the data set."""
    title = "Figure 2 and Table 1: statistics of the data set"
    if data is None:
        return Figure("figure2", title, missing="no data set was given (--data)")
    try:
        found = statistics.collect(data, Quarantine(1.0), open_media)
    except UserError as error:
        return Figure("figure2", title, missing=str(error))
    return Figure("figure2", title, statistics.draw(found), text=statistics.as_text(found.table()))


# ---------------------------------------------------------------- Figure 6


def figure_6(evaluation: Evaluation, row: str = "empatheia") -> Figure:
    """Accuracy by emotion, age and gender."""
    title = "Figure 6: accuracy by the speaker's emotion, age and gender"
    table = accuracy_by_speaker(evaluation, row)
    if table is None:
        return Figure("figure6", title, missing=f"no folder of replies was given for the row {row}")
    drawing = _figure(11, 3.2)
    widths = (len(labels.EMOTIONS_7), len(labels.AGES), len(labels.GENDERS))
    first = 0
    for axis, width, name in zip(drawing.subplots(1, 3, width_ratios=widths), widths, ("emotion", "age", "gender")):
        part = table.rows[first : first + width]
        first += width
        for place, each in enumerate(part):
            cell = each.cells["accuracy"]
            if cell.value is None or cell.low is None or cell.high is None:
                axis.text(place, 2, "none", ha="center", fontsize=8, color="gray")
                continue
            axis.bar(place, cell.value, color=INK[place % len(INK)])
            error = [[max(0.0, cell.value - cell.low)], [max(0.0, cell.high - cell.value)]]
            axis.errorbar(place, cell.value, error, color="black", capsize=3, linewidth=1)
            axis.text(place, 1, f"n {cell.n}", ha="center", fontsize=7, color="white" if cell.value > 6 else "black")
        axis.set_xticks(range(width), [each.title for each in part], rotation=20, fontsize=8)
        axis.set_ylim(0, 100)
        axis.set_title(name, fontsize=10)
    drawing.axes[0].set_ylabel("Acc, %, 95 % interval")
    return Figure("figure6", table.title, _png(drawing), [table])


# ---------------------------------------------------------------- Figure 7


def _features(evaluation: Evaluation, system: System) -> dict[str, dict[str, np.ndarray]]:
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in evaluation.questions:
        path = system.replies[name].features
        if path is None:
            continue
        try:
            with np.load(path) as file:
                found[name] = {key: np.asarray(file[key], np.float64).ravel() for key in file.files}
        except (ValueError, OSError) as error:
            raise UserError(f"{path} holds no features of a reply ({error})") from None
    return found


def stratified(names: Sequence[str], groups: dict[str, int], count: int = SAMPLES) -> list[str]:
    """At most `count` names, the groups as even as they can be; the same for the same names."""
    queues: dict[int, list[str]] = {}
    for name in sorted(names):
        queues.setdefault(groups[name], []).append(name)
    chosen: list[str] = []
    while len(chosen) < min(count, len(names)):
        for group in sorted(queues):
            if queues[group] and len(chosen) < count:
                chosen.append(queues[group].pop(0))
    return chosen


def figure_7(evaluation: Evaluation, row: str = "empatheia") -> Figure:
    """Does SD separate? t-SNE of the states before it and of E and P behind it, with scores of the original vectors."""
    title = "Figure 7: emotions and profiles before and after the style disentangler"
    system = evaluation.system(row)
    if system is None:
        return Figure("figure7", title, missing=f"no folder of replies was given for the row {row}")
    found = _features(evaluation, system)
    needed = {"r_speech", "r_video", "emotion", "profile"}
    emotions, profiles = {}, {}
    for name, each in found.items():
        question = evaluation.questions[name]
        seven, listener = question.emotion7(evaluation.label_map), question.listener
        if needed <= set(each) and seven is not None and listener is not None:
            emotions[name] = labels.EMOTIONS_7.index(seven)
            profiles[name] = listener.ids[0] * 2 + listener.ids[1]
    if len(emotions) < 10:
        why = f"{len(emotions)} replies have features (reply.npz) and labels; expected 10 or more"
        return Figure("figure7", title, missing=why)
    names = stratified(list(emotions), emotions)
    before = np.stack([np.concatenate([found[n]["r_speech"], found[n]["r_video"]]) for n in names])
    views = {
        "emotion, before SD": (before, emotions),
        "emotion, E after SD": (np.stack([found[n]["emotion"] for n in names]), emotions),
        "profile, before SD": (before, profiles),
        "profile, P after SD": (np.stack([found[n]["profile"] for n in names]), profiles),
    }
    columns = [
        Column("silhouette", "silhouette, cosine", 3),
        Column("davies", "Davies-Bouldin", 2, -1),
        Column("calinski", "Calinski-Harabasz", 1),
        Column("purity", "kNN-5 purity", 3),
        Column("own", "probe reads it, %", 1),
        Column("leak", "probe reads the other, %", 1, -1),
        Column("chance", "most frequent label of the other, %", 1, 0),
    ]
    rows = []
    for view, (x, label) in views.items():
        own = np.array([label[n] for n in names])
        other = np.array([(profiles if label is emotions else emotions)[n] for n in names])
        made: dict[str, Cell] = {}
        try:
            scores = separation.separation(x, own)
            made |= {
                "silhouette": Cell(scores.silhouette_cosine, len(names)),
                "davies": Cell(scores.davies_bouldin, len(names)),
                "calinski": Cell(scores.calinski_harabasz, len(names)),
                "purity": Cell(scores.knn_purity, len(names)),
            }
        except UserError as error:
            made["silhouette"] = Cell(note=str(error))
        try:
            made["own"] = Cell(100 * separation.probe_accuracy(x, own)[0], len(names))
            leak, chance = separation.probe_accuracy(x, other)
            made |= {"leak": Cell(100 * leak, len(names)), "chance": Cell(100 * chance, len(names))}
        except UserError as error:
            made["leak"] = Cell(note=str(error))
        rows.append(Row(view, view, made))
    note = "Scores are of the original vectors, not of the layout. Profile: the listener's age and gender. Probe: logistic."
    table = Table("figure7", title, columns, rows, [note])
    return Figure("figure7", title, _scatter(views, names), [table])


def _scatter(views, names) -> bytes:
    from sklearn.manifold import TSNE

    drawing = _figure(11, 10)
    for axis, (view, (x, label)) in zip(drawing.subplots(2, 2).ravel(), views.items()):
        layout = TSNE(perplexity=min(30, (len(x) - 1) / 3), random_state=0, init="pca").fit_transform(x)
        own = np.array([label[n] for n in names])
        for place in sorted(set(own.tolist())):
            if view.startswith("emotion"):
                word = labels.EMOTIONS_7[place]
            else:
                word = f"{labels.AGES[place // 2]} {labels.GENDERS[place % 2]}"
            axis.scatter(*layout[own == place].T, s=14, color=INK[place % len(INK)], label=word)
        axis.set_title(view)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.legend(fontsize=7, loc="best")
    return _png(drawing)


# ---------------------------------------------------------------- Figure 8


def figure_8(evaluation: Evaluation, count: int = 2, ids: Sequence[str] = ()) -> Figure:
    """Case studies: by default turns whose emotion Empatheia understood and the Pipeline did not, as the paper's two are."""
    title = "Figure 8: case studies"
    systems = [each for each in evaluation.systems if evaluation.rows is None or each.row in evaluation.rows]
    ours, theirs = evaluation.system("empatheia"), evaluation.system("pipeline")
    why = "the first of the test file"
    chosen = list(ids)
    if unknown := [each for each in chosen if each not in evaluation.questions]:
        raise UserError(f"--cases names {unknown[0]}, which is not among the evaluated turns")
    if chosen:
        why = "asked for"
    elif ours is not None and theirs is not None:
        right, wrong = emotions.hits(evaluation, ours, "exact"), emotions.hits(evaluation, theirs, "exact")
        chosen = [name for name in right if right[name] and not wrong[name]][:count]
        why = "Empatheia understood the emotion, the Pipeline did not" if chosen else why
    chosen = chosen or list(evaluation.questions)[:count]
    cases = []
    for name in chosen:
        question = evaluation.questions[name]
        cases.append(
            Case(name, question.asked, question.emotion, [(each, each.replies[name]) for each in systems], why)
        )
    lines = []
    for case in cases:
        lines.append(f"{case.id} ({case.why})\n  asked: {case.asked}\n  true emotion: {case.emotion or 'not known'}")
        for system, reply in case.answers:
            lines.append(f"  {system.title} [{reply.emotion or 'no emotion'}]: {reply.response}")
    return Figure("figure8", title, text="\n".join(lines), cases=cases)


def all_figures(
    evaluation: Evaluation, data: Path | None, cases: Sequence[str] = (), open_media: bool = True
) -> list[Figure]:
    """Figures 2, 6, 7 and 8."""
    return [
        figure_2(data, open_media),
        figure_6(evaluation),
        figure_7(evaluation),
        figure_8(evaluation, ids=cases),
    ]


def as_words(figure: Figure) -> str:
    """A figure for a terminal: its tables and words, or why it is empty."""
    if figure.missing:
        return f"{figure.title}\n\n  not drawn: {figure.missing}\n"
    parts = [as_text(each) for each in figure.tables]
    if figure.text:
        parts.append(f"{figure.title}\n\n{figure.text}\n")
    return "\n".join(parts)
