"""How old people are, as chats write it: "18yo", "a 17 y/o girl", "3 yr old twins", "6mo old", "(28F)", "12w3d pregnant"."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import cardinal, decimal
from empatheia_jax.styletts2.text.rules import NEAR, Rule, rule

_SPANS = {"y": "year", "m": "month", "w": "week", "d": "day"}
_SEXES = {"F": "female", "M": "male", "f": "female", "m": "male"}
# "I'm 18yo" says the age alone: eighteen years old. Elsewhere it describes somebody: an eighteen year old.
_SAYS_THE_AGE = re.compile(
    r"(?:\b(?:am|is|are|was|were|be|been|being|turn|turns|turned|turning|i?m|only|just|now|almost|nearly|about|at|of)|'(?:m|s|re))\s+$"
    r"|\b(?:I'm|I am|[Hh]e's|[Ss]he's|[Hh]e is|[Ss]he is)\b[^.,;!?]*\band\s+$",
    re.I,
)
_SOMEBODY = re.compile(
    r"[\s,-]+(?:[a-z]+\s)?(?:girl|boy|male|female|woman|man|guy|kid|child|baby|student|teen|teenager|daughter|son|sister|brother"
    r"|mother|mom|mum|father|dad|dog|puppy|cat|kitten|twins|person|nephew|niece|grandson|granddaughter|cousin)s?\b",
    re.I,
)


def _numbers(match: re.Match[str]) -> str:
    said = " to ".join(decimal(number) for number in re.findall(r"[\d.]+", match["number"]))
    return said + (" plus" if "+" in match["number"] else "")


def _age(match: re.Match[str]) -> str:
    unit = match["unit"] or "y"
    span = _SPANS[unit[0].lower()]
    if match["many"]:
        return f"{_numbers(match)} {span} olds"
    before = match.string[max(0, match.start() - NEAR) : match.start()]
    after = match.string[match.end() : match.end() + NEAR]
    in_brackets = before.endswith("(") and after[:1] in (")", ",")
    said_alone = (in_brackets or _SAYS_THE_AGE.search(before)) and not _SOMEBODY.match(after)
    written_so = (
        match["unit"] and unit.endswith("s") and not re.search(r"\b(?:an?|my|the|our|his|her|their)\s+$", before)
    )
    stop = "." if match[0].endswith(".") and (not after.strip() or re.match(r"\s+[A-Z]", after)) else ""
    many = (said_alone or written_so) and match["number"] != "1" and "-" not in match[0]
    return f"{_numbers(match)} {span}{'s' if many else ''} old{stop}"


def _weeks(match: re.Match[str]) -> str:
    weeks, days = int(match[1]), int(match[2])
    said = f"{cardinal(weeks)} {'week' if weeks == 1 else 'weeks'}"
    return f"{said} and {cardinal(days)} {'day' if days == 1 else 'days'}" if days else said


_NUMBER = r"(?<![\w.,$€£/])(?P<number>\d{1,3}(?:\.\d|\+)?(?:\s?[-–]\s?\d{1,3})?)"

RULES: tuple[Rule, ...] = (
    rule(r"(?<=\d)(\s?(?:yo|y/o)) ([FM])\b", lambda match: f"{match[1]} {_SEXES[match[2]]}"),
    rule(r"(?<![\w/])([FM])/(\d\d)(?![\w/])", lambda match: f"{_SEXES[match[1]]}, {cardinal(int(match[2]))}"),
    rule(r"(?<![\w/.])(\d\d)/([FM])(?![\w/])", lambda match: f"{cardinal(int(match[1]))}, {_SEXES[match[2]]}"),
    rule(rf"{_NUMBER}[\s-]?(?P<unit>)(?:yo|YO|y/o|Y/O|y-o|y\.o\.|y\.o\b)(?P<many>s\b)?(?!\w)", _age),
    rule(rf"{_NUMBER}[\s-]?(?P<unit>yrs?|mos?|m|wks?|y)\b\.?[\s-]old(?P<many>s)?\b", _age),
    rule(
        r"\b([Mm]y|[Oo]ur|[Hh]er|[Hh]is|[Tt]heir) (\d{1,2})mo\b(?! (?:anniversary|break|plan|review|mark|streak|chip|sober)\b)",
        lambda match: f"{match[1]} {cardinal(int(match[2]))} month old",
    ),
    rule(
        r"\b(\d{1,2})\s?y,? (\d{1,2})\s?mo?s?\b(?! old)",
        lambda m: f"{cardinal(int(m[1]))} year{'s' * (m[1] != '1')} {cardinal(int(m[2]))} month{'s' * (m[2] != '1')}",
    ),
    rule(
        r"(?<![\w.,$€£/])(\d{1,2})y\b(?![/-])", lambda m: f"{cardinal(int(m[1]))} {'year' if m[1] == '1' else 'years'}"
    ),
    rule(r"\b(\d{1,2})\s?(?:w|wks?)\s?(\d)\s?d\b", _weeks),
    rule(
        r"(?<![\w.,$€£])(\d{1,2})w\b(?= (?:pregnant|along|old|ago|scan|ultrasound|baby|postpartum|pp)\b)",
        lambda m: f"{cardinal(int(m[1]))} {'week' if m[1] == '1' else 'weeks'}",
    ),
    rule(r"(?<=[(\[])(\d\d)\s?([FMf])(?=[)\]])", lambda m: f"{cardinal(int(m[1]))}, {_SEXES[m[2]]}"),
    rule(r"(?<=[(\[])([FM])\s?(\d\d)(?=[)\]])", lambda m: f"{_SEXES[m[1]]}, {cardinal(int(m[2]))}"),
    rule(
        r"(\b(?:I|[Mm]e|[Mm]y(?: [a-z]+)+?) \()(\d\d)m(?=\))",
        lambda m: f"{m[1]}{cardinal(int(m[2]))}, male",
    ),
    rule(
        r"(\b(?:I'm|I am|im|Im|[Hh]e's|[Ss]he's|[Ss]he is|[Hh]e is) )(\d\d)\s?([FM])\b",
        lambda m: f"{m[1]}{cardinal(int(m[2]))}, {_SEXES[m[3]]}",
    ),
    rule(r"^(\d\d)\s?([fF])\b(?!')", lambda m: f"{cardinal(int(m[1]))}, {_SEXES[m[2]]}"),  # 26f and lost
    rule(r"^(\d\d)\s?([mM])(?=,| here\b| w/| and\b)", lambda m: f"{cardinal(int(m[1]))}, {_SEXES[m[2]]}"),
    rule(r"^([FM])\s?(\d\d)(?=,| here\b| w/| and\b)", lambda m: f"{_SEXES[m[1]]}, {cardinal(int(m[2]))}"),
    rule(r"\b(\d\d)([FM])(?= here\b)", lambda m: f"{cardinal(int(m[1]))}, {_SEXES[m[2]]},"),
)
