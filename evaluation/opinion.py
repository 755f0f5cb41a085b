"""Opinion scores and what raters agree on: means with intervals, kappas, Krippendorff's alpha, paired tests.

Ratings are an array (raters, items); NaN says that a rater did not rate an item. Sources: ITU-T P.800 for mean opinion scores;
Fleiss (1971); Randolph (2005); Krippendorff, Content Analysis (2004); Cohen (1960, 1968); Wilcoxon (1945); Holm (1979).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import stats

from empatheia_jax.errors import UserError

NORMAL_95 = float(stats.norm.ppf(0.975))
"""Half width of the 95 % interval of a standard normal variable, as tables print it."""
SCALE = (1, 2, 3, 4, 5)


@dataclasses.dataclass(frozen=True)
class Summary:
    """n, mean, standard deviation (n − 1), standard error, half widths of the 95 % intervals (normal and Student's t)."""

    n: int
    mean: float
    std: float
    sem: float
    normal_halfwidth: float
    t_halfwidth: float

    @property
    def t_interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean by Student's t."""
        return self.mean - self.t_halfwidth, self.mean + self.t_halfwidth


def ratings(values: Sequence[Sequence[float | None]], scale: Sequence[int] = SCALE) -> np.ndarray:
    """An array (raters, items) with NaN where nobody rated.

    Raises:
        UserError: rows of unequal length, nothing rated, or a rating that is not on the scale.
    """
    if len({len(row) for row in values}) != 1:
        raise UserError(
            f"raters have rated {[len(row) for row in values]} items; expected the same number, null where absent"
        )
    array = np.array([[np.nan if v is None else float(v) for v in row] for row in values])
    wrong = array[~np.isnan(array) & ~np.isin(array, scale)]
    if wrong.size:
        raise UserError(f"a rating is {wrong[0]:g}; expected one of {', '.join(map(str, scale))}")
    if np.isnan(array).all():
        raise UserError("there is no rating at all; expected at least one")
    return array


def summary(values: Sequence[float] | np.ndarray) -> Summary:
    """Mean and intervals of independent values; NaNs are left out. One value alone has no interval (NaN)."""
    flat = np.asarray(values, float).ravel()
    flat = flat[~np.isnan(flat)]
    n = len(flat)
    if not n:
        raise UserError("there is no value to average; expected at least one")
    mean = float(flat.mean())
    if n == 1:
        return Summary(1, mean, *[float("nan")] * 4)
    std = float(flat.std(ddof=1))
    sem = std / np.sqrt(n)
    return Summary(n, mean, std, float(sem), float(NORMAL_95 * sem), float(stats.t.ppf(0.975, n - 1) * sem))


def pooled(scores: np.ndarray) -> Summary:
    """Every rating as one sample: the usual interval of a MOS, too narrow where items differ."""
    return summary(scores)


def by_item(scores: np.ndarray) -> Summary:
    """Means of items first: the conservative interval, over what could be sampled again."""
    return summary(np.nanmean(scores, axis=0))


def by_rater(scores: np.ndarray) -> Summary:
    """Means of raters first."""
    return summary(np.nanmean(scores, axis=1))


def _counts(scores: np.ndarray, scale: Sequence[int]) -> np.ndarray:
    """How often each item got each value: (items, values)."""
    return np.stack([(scores == value).sum(axis=0) for value in scale], axis=1).astype(float)


def _observed(counts: np.ndarray) -> float:
    raters = counts.sum(axis=1)
    if np.any(raters != raters[0]) or raters[0] < 2:
        raise UserError("items have different numbers of ratings; expected complete ratings of two raters or more")
    return float(np.mean((np.square(counts).sum(axis=1) - raters) / (raters * (raters - 1))))


def fleiss_kappa(scores: np.ndarray, scale: Sequence[int] = SCALE) -> float:
    """Fleiss' kappa of complete ratings. NaN where everybody always gave one value."""
    counts = _counts(scores, scale)
    observed = _observed(counts)
    expected = float(np.square(counts.sum(axis=0) / counts.sum()).sum())
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def randolph_kappa(scores: np.ndarray, scale: Sequence[int] = SCALE) -> float:
    """Randolph's free-marginal kappa: chance is 1 over the number of values."""
    expected = 1 / len(scale)
    return (_observed(_counts(scores, scale)) - expected) / (1 - expected)


def cohen_kappa(
    first: np.ndarray, second: np.ndarray, scale: Sequence[int] = SCALE, weights: Literal["none", "quadratic"] = "none"
) -> float:
    """Cohen's kappa of two raters over the items that both rated; `quadratic` weighs by the squared distance."""
    both = ~np.isnan(first) & ~np.isnan(second)
    if not both.any():
        raise UserError("the two raters have no item in common; expected at least one")
    table = np.array([[np.sum((first[both] == a) & (second[both] == b)) for b in scale] for a in scale], float)
    table /= table.sum()
    chance = np.outer(table.sum(axis=1), table.sum(axis=0))
    place = np.arange(len(scale))
    distance = np.square(place[:, None] - place[None]) if weights == "quadratic" else place[:, None] != place[None]
    expected = (distance * chance).sum()
    return float(1 - (distance * table).sum() / expected) if expected else float("nan")


def krippendorff_alpha(
    scores: np.ndarray, level: Literal["nominal", "ordinal", "interval"] = "ordinal", scale: Sequence[int] = SCALE
) -> float:
    """Krippendorff's alpha, missing ratings allowed. NaN where everybody always gave one value."""
    counts = _counts(scores, scale)
    counts = counts[counts.sum(axis=1) > 1]
    if not len(counts):
        raise UserError("no item has two ratings; expected at least one")
    number = counts.sum(axis=1)
    coincidences = (counts.T / (number - 1)) @ counts - np.diag((counts / (number - 1)[:, None]).sum(axis=0))
    margins = coincidences.sum(axis=0)
    values = np.asarray(scale, float)
    if level == "nominal":
        distance = (values[:, None] != values[None]).astype(float)
    elif level == "interval":
        distance = np.square(values[:, None] - values[None])
    elif level == "ordinal":
        below = np.concatenate([[0.0], np.cumsum(margins)])
        low, high = (
            np.minimum.outer(range(len(values)), range(len(values))),
            np.maximum.outer(range(len(values)), range(len(values))),
        )
        between = below[high + 1] - below[low]
        distance = np.square(between - (margins[:, None] + margins[None]) / 2)
    else:
        raise ValueError(f"level={level!r}; expected nominal, ordinal or interval")
    expected = (distance * np.outer(margins, margins)).sum() / (margins.sum() - 1)
    return float(1 - (distance * coincidences).sum() / expected) if expected else float("nan")


@dataclasses.dataclass(frozen=True)
class Paired:
    """System A against B on the same items: mean difference of the items, paired t test, Wilcoxon's signed ranks."""

    mean_difference: float
    t: float
    t_p: float
    wilcoxon: float
    wilcoxon_p: float
    items: int


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compares two systems by their item means.

    Raises:
        UserError: the two have different numbers of items, or fewer than two.
    """
    if first.shape[-1] != second.shape[-1] or first.shape[-1] < 2:
        raise UserError(
            f"the systems have {first.shape[-1]} and {second.shape[-1]} items; expected the same items, two or more"
        )
    a, b = (np.nanmean(np.atleast_2d(each), axis=0) for each in (first, second))
    t = stats.ttest_rel(a, b)
    ranks = stats.wilcoxon(a, b) if np.any(a != b) else None
    statistic, p = (float(ranks.statistic), float(ranks.pvalue)) if ranks is not None else (0.0, 1.0)
    return Paired(float((a - b).mean()), float(t.statistic), float(t.pvalue), statistic, p, len(a))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the given order."""
    order = np.argsort(p_values)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = float(largest)
    return adjusted
