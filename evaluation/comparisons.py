"""One system against every other on the same turns: mean differences and Wilcoxon's test, adjusted by Holm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation import emotions, opinion, paper
from evaluation.cells import Cell
from evaluation.measures import collect
from evaluation.paper import Column
from evaluation.run import Evaluation
from evaluation.systems import System
from evaluation.tables import Row, Table

Pairs = Mapping[tuple[str, str], opinion.Paired]
"""(the other system's row, column) → the comparison."""


def measured_differences(evaluation: Evaluation, row: str = "empatheia") -> Table | None:
    """By what is measured on each reply; None where there is nothing to compare."""
    ours = evaluation.system(row)
    others = [each for each in evaluation.systems if each.row != row]
    if ours is None or not others or len(evaluation.questions) < 2:
        return None
    columns = [("accuracy", "Acc, points"), ("cpbd", "CPBD"), ("ssim", "SSIM"), ("sync_confidence", "Sync_cf")]
    columns += [("lips_score", "lips as recorded"), ("dnsmos", "DNSMOS")]
    pairs: dict[tuple[str, str], opinion.Paired] = {}
    for other in others:
        for key, _ in columns:
            a, b = (_per_reply(evaluation, each, key) for each in (ours, other))
            both = [name for name in evaluation.questions if name in a and name in b]
            if len(both) >= 2:
                pairs[other.row, key] = opinion.paired(
                    np.array([a[name] for name in both]), np.array([b[name] for name in both])
                )
    return _table(
        "differences",
        f"{ours.title} minus each other system",
        [Column(key, title, 3, 0) for key, title in columns if any(key == column for _, column in pairs)],
        {each.row: each.title for each in others},
        pairs,
        "Paired over turns",
    )


def _per_reply(evaluation: Evaluation, system: System, key: str) -> dict[str, float]:
    if key == "accuracy":
        known = any(reply.emotion is not None for reply in system.replies.values())
        found = emotions.hits(evaluation, system, "exact") if known else {}
        return {name: 100.0 * hit for name, hit in found.items()}
    return collect(evaluation.values[system.row], key)


def rated_differences(evaluation: Evaluation, row: str = "empatheia") -> Table | None:
    """By people's ratings; None where there are none to compare."""
    ratings = evaluation.ratings
    if ratings is None or row not in ratings.systems():
        return None
    others = {each: paper.SYSTEMS.get(each, each) for each in ratings.systems() if each != row}
    if not others:
        return None
    scales = ratings.scales()
    pairs = {(o, s): pair for o in others for s in scales if (pair := ratings.compared(row, o, s)) is not None}
    return _table(
        "rated_differences",
        "Ratings: Empatheia minus each other system",
        [Column(scale, scale, 2, 0) for scale in scales],
        others,
        pairs,
        "Item means",
    )


def _table(
    key: str, title: str, columns: Sequence[Column], others: Mapping[str, str], pairs: Pairs, what: str
) -> Table:
    """A row for each other system: its difference and the adjusted p of every column. `what` was compared."""
    adjusted = dict(zip(pairs, opinion.holm([each.wilcoxon_p for each in pairs.values()])))
    rows = []
    for other, name in others.items():
        made: dict[str, Cell] = {}
        for column in columns:
            if (pair := pairs.get((other, column.key))) is not None:
                made[column.key] = Cell(pair.mean_difference, pair.items)
                made[f"{column.key} p"] = Cell(adjusted[other, column.key], pair.items)
        rows.append(Row(other, name, made))
    heads = [each for column in columns for each in (column, Column(f"{column.key} p", "p", 4, 0))]
    note = f"{what}, Wilcoxon's signed ranks, adjusted by Holm over all tests of this table."
    return Table(key, title, heads, rows, [note])
