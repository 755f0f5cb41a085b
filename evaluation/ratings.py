"""Ratings of people, as the study collects them: a JSON file that says who rated which reply of which system on which scale.

    {"format": "empatheia-ratings", "version": 1,
     "ratings": [{"rater": "r1", "system": "pipeline", "item": "01118_0", "scale": "MOS", "value": 4}, …]}

A rating outside 1 to 5, a rater who rates one thing twice, and an unknown scale are refused.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object, write_json
from evaluation import opinion
from evaluation.cells import Cell
from evaluation.paper import ALIASES, SCALES, Column
from evaluation.tables import Row, Table

FORMAT, VERSION = "empatheia-ratings", 1


@dataclass(frozen=True)
class Rating:
    """One rating: 1 to 5."""

    rater: str
    system: str
    item: str
    scale: str
    value: int


class Ratings:
    """All ratings of a study."""

    def __init__(self, ratings: Sequence[Rating], where: str = "the ratings"):
        seen: dict[tuple[str, str, str, str], int] = {}
        for each in ratings:
            if each.scale not in SCALES:
                raise UserError(f"{where}: the scale {each.scale!r} is unknown; expected one of {', '.join(SCALES)}")
            if each.value not in opinion.SCALE or isinstance(each.value, bool):
                raise UserError(
                    f"{where}: {each.rater} rates {each.item} of {each.system} with {each.value!r} on {each.scale}; expected a "
                    "whole number from 1 to 5"
                )
            place = (each.rater, each.system, each.item, each.scale)
            if place in seen:
                raise UserError(
                    f"{where}: {each.rater} rates {each.item} of {each.system} on {each.scale} twice; two raters with one name?"
                )
            seen[place] = each.value
        if not ratings:
            raise UserError(f"{where} hold no rating; expected at least one")
        self.ratings = list(ratings)

    @classmethod
    def read(cls, path: Path) -> Ratings:
        """The ratings in a file. Raises `UserError` where the file has another format or version, or a rating is malformed."""
        values = read_json_object(path, "collected ratings")
        if values.get("format") != FORMAT or values.get("version") != VERSION:
            raise UserError(
                f"{path} holds no ratings of version {VERSION}; expected a file of `python -m evaluation collect`"
            )
        ratings = values.get("ratings", [])
        if not isinstance(ratings, list):
            raise UserError(f"{path} holds ratings {ratings!r:.60}; expected a list of them")
        return cls([_rating(path, each) for each in ratings], str(path))

    def write(self, path: Path) -> None:
        """Into a file."""
        write_json(path, {"format": FORMAT, "version": VERSION, "ratings": [vars(each) for each in self.ratings]})

    def matrix(self, system: str, scale: str, items: Sequence[str] | None = None) -> np.ndarray:
        """Ratings (raters, items), NaN where nobody rated; items in order, by default those that were rated."""
        rows = [each for each in self.ratings if (each.system, each.scale) == (system, scale)]
        items = sorted({each.item for each in rows}) if items is None else list(items)
        raters = sorted({each.rater for each in rows})
        array = np.full((len(raters), len(items)), np.nan)
        place = {item: k for k, item in enumerate(items)}
        for each in rows:
            if each.item in place:
                array[raters.index(each.rater), place[each.item]] = each.value
        return array

    def systems(self) -> list[str]:
        """Rows that were rated."""
        return sorted({each.system for each in self.ratings})

    def scales(self) -> list[str]:
        """Scales that were used, in the order of `SCALES`."""
        used = {each.scale for each in self.ratings}
        return [each for each in SCALES if each in used]

    def cell(self, system: str, scale: str) -> Cell:
        """Mean over items first: the conservative interval. n = ratings."""
        array = self.matrix(system, scale)
        if not array.size:
            return Cell(note="no ratings were given")
        found = opinion.by_item(array)
        count = int((~np.isnan(array)).sum())
        if not np.isfinite(found.t_halfwidth):
            return Cell(found.mean, count)
        return Cell(found.mean, count, *found.t_interval)

    def agreement(self, scale: str) -> dict[str, float]:
        """Krippendorff's alpha (ordinal), Fleiss' kappa (NaN where ratings lack), mean quadratic Cohen kappa of pairs of
        raters.
        """
        units: dict[tuple[str, str], dict[str, int]] = collections.defaultdict(dict)
        for each in self.ratings:
            if each.scale == scale:
                units[each.system, each.item][each.rater] = each.value
        raters = sorted({rater for unit in units.values() for rater in unit})
        array = np.array([[unit.get(rater, np.nan) for unit in units.values()] for rater in raters], float)
        nothing = float("nan")

        def tried(function: Any, *arguments: Any, **options: Any) -> float:
            try:
                return float(function(*arguments, **options))
            except UserError:
                return nothing

        pairs = [
            tried(opinion.cohen_kappa, array[a], array[b], weights="quadratic")
            for a in range(len(raters))
            for b in range(a + 1, len(raters))
        ]
        pairs = [each for each in pairs if each == each]
        return {
            "raters": len(raters),
            "units": len(units),
            "krippendorff": tried(opinion.krippendorff_alpha, array),
            "fleiss": tried(opinion.fleiss_kappa, array),
            "cohen": float(np.mean(pairs)) if pairs else nothing,
        }

    def compared(self, first: str, second: str, scale: str) -> opinion.Paired | None:
        """Two systems by their item means over the items that both have; None where there are fewer than two."""
        both = [
            {each.item for each in self.ratings if (each.system, each.scale) == (system, scale)}
            for system in (first, second)
        ]
        items = sorted(both[0] & both[1])
        if len(items) < 2:
            return None
        return opinion.paired(self.matrix(first, scale, items), self.matrix(second, scale, items))


def agreement_table(ratings: Ratings) -> Table:
    """How far the raters agree, scale by scale."""
    columns = [
        Column("raters", "raters", 0, 0),
        Column("units", "rated replies", 0, 0),
        Column("krippendorff", "Krippendorff's α, ordinal", 3),
        Column("fleiss", "Fleiss' κ", 3),
        Column("cohen", "Cohen's κ, quadratic, mean of pairs", 3),
    ]
    rows = []
    for scale in ratings.scales():
        found = ratings.agreement(scale)
        count = sum(each.scale == scale for each in ratings.ratings)
        undefined = Cell(note="not defined for these ratings")
        made = {key: Cell(value, count) if value == value else undefined for key, value in found.items()}
        rows.append(Row(scale, scale, made))
    return Table("agreement", "Agreement of the raters", columns, rows)


def _rating(path: Path, value: Any) -> Rating:
    if not isinstance(value, dict):
        raise UserError(f"{path}: a rating is {value!r:.60}; expected an object")
    texts = {}
    for key in ("rater", "system", "item", "scale"):
        found = value.get(key)
        if not isinstance(found, str) or not found.strip():
            raise UserError(f"{path}: a rating has {key!r} {found!r:.60}; expected a word")
        texts[key] = found.strip()
    texts["scale"] = ALIASES.get(texts["scale"], texts["scale"])
    number = value.get("value")
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int):
        raise UserError(
            f"{path}: {texts['rater']} rates {texts['item']} with {number!r:.60}; expected a whole number, 1 to 5"
        )
    return Rating(**texts, value=number)


def sample_size(
    difference: float, deviation: float, power: float = 0.8, level: float = 0.05, comparisons: int = 1
) -> int:
    """How many items a paired comparison needs.

    Args:
      difference: the smallest difference of item means that shall be found.
      deviation: standard deviation of the items' differences (of a pilot study, say).
      power: chance to find it.
      level: of significance, two-sided; divided by `comparisons` (Bonferroni, so that Holm holds too).
      comparisons: how many systems are compared.

    Returns:
      The smallest n for which a paired t test has this power (noncentral t), raised by 1 / 0.955: the efficiency of Wilcoxon's
      test.
    """
    if not (difference > 0 and deviation > 0 and 0 < power < 1 and 0 < level < 1 and comparisons >= 1):
        raise UserError(
            f"difference {difference:g}, deviation {deviation:g}, power {power:g}, level {level:g}, comparisons {comparisons}; "
            "expected positive numbers, power and level between 0 and 1"
        )
    level /= comparisons
    for n in range(2, 1_000_000):
        threshold = stats.t.ppf(1 - level / 2, n - 1)
        shift = difference / deviation * np.sqrt(n)
        reached = stats.nct.sf(threshold, n - 1, shift) + stats.nct.cdf(-threshold, n - 1, shift)
        if reached >= power:
            return int(np.ceil(n / 0.955))
    raise UserError("more than a million items would be needed; choose a larger difference")
