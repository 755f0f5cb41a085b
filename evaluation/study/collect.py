"""Answers of raters, as the page saves them (JSON or CSV), into one file of ratings; whoever failed attention checks is left
out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object, require_regular
from evaluation.ratings import Rating, Ratings
from evaluation.study.pages import FORMAT, VERSION

ANSWERS = "empatheia-answers"
MISSED = 0.25
"""Largest share of attention checks that a rater may miss."""


def collect(key: Path, files: Sequence[Path], missed: float = MISSED) -> tuple[Ratings, dict[str, str]]:
    """(the ratings, rater → why left out).

    Args:
      key: `key.json` of the study.
      files: what raters sent back.
      missed: largest share of attention checks that a rater may miss.

    Raises:
      UserError: a file of another study or version, two raters with one name, a rating outside 1 to 5, a code that the study
        does not have, or nobody is left.
    """
    study = read_json_object(key, "the key of a study")
    if study.get("format") != FORMAT or study.get("version") != VERSION:
        raise UserError(
            f"{key} is no key of a study of version {VERSION}; expected the key.json that was written with the pages"
        )
    codes = _codes(key, study)
    kept: list[Rating] = []
    left_out: dict[str, str] = {}
    seen: dict[str, Path] = {}
    for path in files:
        found = _csv(path) if path.suffix.lower() == ".csv" else _json(path)
        if found["study"] != study.get("study"):
            raise UserError(f"{path} answers the study {found['study']!r}; the key is that of {study['study']!r}")
        name = found["rater"]
        if name in seen:
            raise UserError(f"{seen[name]} and {path} are both of the rater {name!r}; two raters need two names")
        seen[name] = path
        checks = [each for each in found["answers"] if each.get("check")]
        wrong = sum(each["values"].get("check") != each["check"] for each in checks)
        if checks and wrong / len(checks) > missed:
            left_out[name] = f"missed {wrong} of {len(checks)} attention checks"
            continue
        for each in found["answers"]:
            if each.get("check"):
                continue
            if each.get("broken"):
                left_out[f"{name}, {each.get('code')}"] = "the film or sound could not be played"
                continue
            what = codes.get(str(each.get("code")))
            if what is None:
                raise UserError(f"{path} rates {each.get('code')!r:.60}, which the study does not have")
            for scale, value in each["values"].items():
                kept.append(Rating(name, what["system"], what["item"], scale, value))
    if not kept:
        why = "; ".join(f"{name}: {each}" for name, each in left_out.items())
        raise UserError(f"no rating is left ({why or 'no file holds one'})")
    return Ratings(kept), left_out


def _codes(key: Path, study: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Code → the system and the item that it stands for."""
    codes = study.get("codes")
    if not isinstance(codes, dict) or not all(
        isinstance(each, dict) and all(isinstance(each.get(name), str) for name in ("system", "item"))
        for each in codes.values()
    ):
        raise UserError(f"{key} lacks the codes of the study; expected the key.json that was written with the pages")
    return codes


def _json(path: Path) -> dict[str, Any]:
    found = read_json_object(path, "the answers of a rater")
    if found.get("format") != ANSWERS or found.get("version") != VERSION:
        raise UserError(f"{path} holds no answers of version {VERSION}; expected the file that the page saves")
    name, answers = found.get("rater"), found.get("answers")
    if not isinstance(name, str) or not name.strip() or not isinstance(answers, list):
        raise UserError(f"{path} has no rater or no answers; expected the file that the page saves")
    for each in answers:
        if not isinstance(each, dict) or not isinstance(each.get("values"), dict):
            raise UserError(f"{path}: an answer is {each!r:.60}; expected an object with its values")
    return {"study": found.get("study"), "rater": name.strip(), "answers": answers}


_COLUMNS = ("study", "number", "rater", "code", "item", "scale", "value", "seconds", "check")


def _csv(path: Path) -> dict[str, Any]:
    require_regular(path, "the answers of a rater")
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV file ({error}); expected the file that the page saves") from None
    if not rows or set(_COLUMNS) - set(rows[0]):
        raise UserError(f"{path} lacks columns; expected {', '.join(_COLUMNS)}")
    if cut := next((place for place, row in enumerate(rows, 2) if None in row or None in row.values()), None):
        raise UserError(f"{path}, line {cut} has not the columns of the first; the file is cut or was edited")
    names, studies = {each["rater"].strip() for each in rows}, {each["study"] for each in rows}
    if len(names) != 1 or len(studies) != 1:
        raise UserError(
            f"{path} is of {len(names)} raters and {len(studies)} studies; expected one file for each rater"
        )
    answers: dict[tuple[str, int], dict[str, Any]] = {}
    for number, row in enumerate(rows):
        check = _number(path, row["check"]) if row["check"] else None
        place = (row["code"], number if check else -1)
        each = answers.setdefault(place, {"code": row["code"], "values": {}, **({"check": check} if check else {})})
        if row["scale"] in each["values"]:
            raise UserError(f"{path} rates {row['code']} on {row['scale']} twice; two raters with one name?")
        each["values"][row["scale"]] = _number(path, row["value"])
    return {"study": studies.pop(), "rater": names.pop(), "answers": list(answers.values())}


def _number(path: Path, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{path} holds the rating {text!r}; expected a whole number from 1 to 5") from None


def summary(ratings: Ratings, left_out: Mapping[str, str]) -> str:
    """What was collected, for the terminal."""
    raters = {each.rater for each in ratings.ratings}
    lines = [f"{len(ratings.ratings)} ratings of {len(raters)} raters on {', '.join(ratings.scales())}"]
    lines += [f"left out: {name}: {why}" for name, why in left_out.items()]
    return "\n".join(lines)
