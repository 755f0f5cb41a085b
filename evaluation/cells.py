"""A cell of a table: a number, how many replies it rests on, and its 95 % interval.

* `mean`: of numbers, by Student's t. Turns of one dialogue are not independent: the standard error is that of the dialogues
  (clusters).
* `share`: of hits, by Wilson (1927).
* `ratio`: Σ a / Σ b, and `distinct`: Distinct-n, by the jackknife over replies (Efron, 1982). A bootstrap would repeat replies,
  and a repeated reply adds no new n-gram: it would be biased downwards.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.opinion import NORMAL_95
from evaluation.text import ngrams


@dataclass(frozen=True)
class Cell:
    """value, n, low and high in the unit of the column; None = not measured, and `note` says why. paper: the paper's number."""

    value: float | None = None
    n: int = 0
    low: float | None = None
    high: float | None = None
    paper: float | None = None
    note: str = ""

    def with_paper(self, paper: float | None) -> Cell:
        """The same cell with the paper's number beside it."""
        return Cell(self.value, self.n, self.low, self.high, paper, self.note)


def _interval(value: float, half: float | None, n: int, scale: float) -> Cell:
    value = float(value)
    if half is None or not np.isfinite(half):
        return Cell(scale * value, n)
    return Cell(scale * value, n, scale * (value - float(half)), scale * (value + float(half)))


def mean(values: Mapping[str, float], dialogue: Mapping[str, str], scale: float = 1.0) -> Cell:
    """Mean of the replies' numbers by id; `dialogue` says which dialogue a reply belongs to."""
    if not values:
        return Cell(note="not measured")
    numbers = np.array(list(values.values()), float)
    groups: dict[str, float] = collections.defaultdict(float)
    for name, value in values.items():
        groups[dialogue[name]] += value - numbers.mean()
    count = len(groups)
    if count < 2:
        return Cell(scale * float(numbers.mean()), len(numbers))
    error = np.sqrt(count / (count - 1) * np.square(list(groups.values())).sum()) / len(numbers)
    return _interval(float(numbers.mean()), float(stats.t.ppf(0.975, count - 1) * error), len(numbers), scale)


def share(hits: Sequence[bool], scale: float = 100.0) -> Cell:
    """Share of hits in per cent, with Wilson's interval."""
    n = len(hits)
    if not n:
        return Cell(note="not measured")
    p, z2 = sum(map(bool, hits)) / n, NORMAL_95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Cell(scale * p, n, scale * float(middle - half), scale * float(middle + half))


def _jackknife(value: float, without: np.ndarray, scale: float) -> Cell:
    n = len(without)
    if n < 2:
        return Cell(scale * value, n)
    half = NORMAL_95 * np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    return _interval(value, float(half), n, scale)


def ratio(above: Mapping[str, float], below: Mapping[str, float], scale: float = 100.0) -> Cell:
    """Σ above / Σ below over the same replies."""
    a, b = np.array(list(above.values()), float), np.array([below[name] for name in above], float)
    if not len(a) or b.sum() == 0:
        return Cell(note="not measured")
    rest = b.sum() - b
    if np.any(rest == 0):
        return Cell(scale * float(a.sum() / b.sum()), len(a))
    return _jackknife(float(a.sum() / b.sum()), (a.sum() - a) / rest, scale)


def distinct(replies: Sequence[Sequence[str]], n: int, scale: float = 100.0) -> Cell:
    """Distinct-n of a corpus of replies as words (`text.distinct_corpus`)."""
    where: dict[tuple[str, ...], int] = {}
    lengths = np.zeros(len(replies))
    own = np.zeros(len(replies))  # n-grams that no other reply has
    for row, tokens in enumerate(replies):
        grams = ngrams(tokens, n)
        lengths[row] = len(grams)
        for gram in set(grams):
            first = where.setdefault(gram, row)
            if first == row:
                own[row] += 1
            elif first >= 0:
                own[first] -= 1
                where[gram] = -1
    total = lengths.sum()
    if not total:
        return Cell(note="no n-gram")
    rest = total - lengths
    value = len(where) / total
    if np.any(rest == 0):
        return Cell(scale * value, len(replies))
    return _jackknife(value, (len(where) - own) / rest, scale)


def percentile(values: Sequence[float], share_below: float) -> Cell:
    """A percentile, with the interval of its order statistics (binomial)."""
    n = len(values)
    if not n:
        return Cell(note="not measured")
    ordered = np.sort(np.asarray(values, float))
    value = float(np.percentile(ordered, 100 * share_below))
    low, high = int(stats.binom.ppf(0.025, n, share_below)) - 1, int(stats.binom.ppf(0.975, n, share_below))
    if low < 0 or high > n - 1:
        return Cell(value, n, None, None, note="too few for an interval")
    return Cell(value, n, float(ordered[low]), float(ordered[high]))
