"""Numbers that are names: telephone numbers, helplines, codes. They are read digit by digit, and no digit is lost.

A helpline that is read as an amount cannot be dialled, so in doubt a number that people call is read as digits.
"""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import digits
from empatheia_jax.styletts2.text.rules import NEAR, Rule, rule, words

# Emergency and helpline numbers of three digits. Those of `_ALWAYS` are hardly ever amounts.
_ALWAYS = ("911", "988", "3114", "14416")
_SERVICES = (
    "000 101 105 106 109"
    " 110 111 112 113 117 118 119 133 135 142 143 144 147 188 190 192 193 211 311 411 511 611 711 811 999 1098 1393"
    " 1553 1577 1737 1767 3919"
)
_SERVICE = rf"(?:{words((*_ALWAYS, *_SERVICES.split()))})"
_CALLING = r"""call(?:s|ed|ing)?|dial(?:s|l?ed|l?ing)?|text(?:s|ed|ing)?|phon(?:e|es|ed|ing)|ring(?:s|ing)?|rang|tele?phone|
    hotline|helpline|lifeline|hopeline|linea|notruf|(?:telefon)?seelsorge|SAMU|CVV|NCMH|SOS|
    NHS|(?:crisis|suicide|support|help|advice|talk|listening|abuse|rape|youth|child)\ line|
    emergenc(?:y|ies)|Samaritans|ambulance|police""".replace("\n    ", "")
_AFTER_CALLING = re.compile(rf"\b(?:{_CALLING})\b", re.I | re.X)
# "112 is the number", "the number here is 112", "France: 3114".
_IS_THE_NUMBER = re.compile(
    rf"\b{_SERVICE}\b,? is the (?:\w+ )?number\b|\bnumber (?:\w+ ){{0,3}}is {_SERVICE}\b"
    rf"|(?-i:\b[A-Z][A-Za-z]+): {_SERVICE}\b",
    re.I,
)
_A_NUMBER = re.compile(rf"\b(?:{_CALLING}|number|mobile|cell|tel|ph|mob|fax)\b", re.I | re.X)

# Words that are counted: "911 people" is an amount.
COUNTED = (
    "people|persons|men|women|children|kids|students|patients|users|members|votes|followers|likes|cases|deaths|times|days|weeks"
    "|months|years|hours|minutes|seconds|dollars|euros|pounds|cents|bucks|miles|meters|metres|feet|inches|kilometers|steps|pages"
    "|words|points|calories|grams|kilograms|liters|degrees|percent|things|tickets|copies|rooms|seats|employees|jobs|homes|houses"
)
_IS_AMOUNT = re.compile(rf"\s?%|\s?°|[.,]\d|\s(?:{COUNTED}|million|billion|thousand|hundred)\b", re.I)

_A_DATE = re.compile(r"\d\d?([ ./-])\d\d?\1(?:\d\d)?\d\d|\d{4}-\d\d?-\d\d?|(?:(?:1[89]|20)\d\d-)+(?:1[89]|20)\d\d")
_SPELLED = r"(?P<one>1)[-. ]"
_EXTENSION = r"(?:,?\s*(?:ext\.?|extension|x)\s?(?P<extension>\d{1,6}))?"


def _groups(number: str) -> list[str]:
    """A long row of digits in the groups that people say: 3, 3, 4 of ten, else threes with a longer end."""
    if len(number) == 11 and number[0] == "1":
        return ["1", *_groups(number[1:])]
    groups = []
    while len(number) > 4:
        groups.append(number[:3])
        number = number[3:]
    return [*groups, number]


def _said(number: str) -> str:
    """All digits of a number, group after group, with a breath between."""
    rows = [group for row in re.findall(r"\d+", number) for group in _groups(row)]
    return ", ".join(map(digits, rows))


def _telephone(match: re.Match[str]) -> str:
    extension = match.groupdict().get("extension")
    number = match[0] if extension is None else match[0][: match.start("extension") - match.start()]
    said = ("plus " if match[0].lstrip("( ").startswith("+") else "") + _said(number)
    return said + (f", extension {digits(extension)}" if extension else "")


def _with_letters(match: re.Match[str]) -> str:
    """800-273-TALK → eight zero zero, two seven three, talk."""
    parts = re.split(r"[-. ]", match["number"])
    code = digits(match["code"])
    if match["code"] == "800":
        code = "eight hundred"
    said = [digits(part) if part.isdigit() else part.lower() for part in parts]
    row = ", ".join([*(["one"] if match["one"] else []), code, " ".join(said)])
    return row + (f" ({digits(match['digits'])})" if match["digits"] else "")


def _local(match: re.Match[str]) -> str:
    """555-1234; but 500-1000 people and $500-1000 are ranges. With a space, only where a number to call is meant."""
    round_numbers = match[0].endswith("0") and match["first"].strip("()").endswith("0")
    if round_numbers or _IS_AMOUNT.match(match.string, match.end()):
        return match[0]
    if " " in match[0] and not _A_NUMBER.search(_sentence(match)):
        return match[0]
    return _telephone(match)


def _national(match: re.Match[str]) -> str:
    """(02) 9876 5432, 030-1234567, 01 42 68 53 00, 1860-2662-345: a row as long as such numbers are, and no date."""
    if _A_DATE.fullmatch(match[0]) or not 8 <= sum(map(str.isdigit, match[0])) <= 15:
        return match[0]
    return _said(match[0])


def _grouped(match: re.Match[str]) -> str:
    """717 003 717; but 900 000 000 and 700 500 300 people are amounts."""
    return match[0] if match[0].endswith("000") or _IS_AMOUNT.match(match.string, match.end()) else _said(match[0])


def _after_a_call(match: re.Match[str]) -> str:
    if len(re.sub(r"\D", "", match["number"])) < 3 or _IS_AMOUNT.match(match.string, match.end()):
        return match[0]
    return match["call"] + _said(match["number"])


def _helpline(match: re.Match[str]) -> str:
    if _IS_AMOUNT.match(match.string, match.end()):
        return match[0]
    sentence = _sentence(match)
    if match[0] not in _ALWAYS and not (_AFTER_CALLING.search(sentence) or _IS_THE_NUMBER.search(sentence)):
        return match[0]
    return digits(match[0])


def _list(match: re.Match[str]) -> str:
    """999, 112 or 911: one of them is hardly ever an amount, so none is."""
    found = re.findall(r"\d+", match[0])
    if not {*_ALWAYS, "999"} & {*found} or _IS_AMOUNT.match(match.string, match.end()):
        return match[0]
    return re.sub(r"\d+", lambda number: digits(number[0]), match[0])


def _alternatives(match: re.Match[str]) -> str:
    """911/999/112: nine one one or nine nine nine or one one two."""
    found = [each.strip() for each in match[0].split("/")]
    if not ({*_ALWAYS, "999"} & {*found} or _AFTER_CALLING.search(_sentence(match))):
        return match[0]
    return " or ".join(map(digits, found))


def _sentence(match: re.Match[str]) -> str:
    """The sentence in which a match begins, as far as it lies within `NEAR` characters of it."""
    first = max(0, match.start() - NEAR)
    start = max(first, *(match.string.rfind(mark, first, match.start()) + 1 for mark in ".!?\n"))
    return re.split(r"[.!?\n]", match.string[start : match.end() + NEAR], maxsplit=1)[0]


def _code(match: re.Match[str]) -> str:
    return match["before"] + _said(match["number"])


def _long_number(match: re.Match[str]) -> str:
    """Seven digits and more without commas; a round one is an amount."""
    return match[0] if match[0].endswith("000") else _said(match[0])


# Beside the name of a country, a number of a list of helplines; a year is none of these.
_COUNTRIES = (
    "Argentina|Australia|Austria|Belgium|Brazil|Bulgaria|Canada|Chile|China|Colombia|Croatia|Cyprus|Czechia|Denmark|Egypt|England"
    "|Estonia|Finland|France|Germany|Ghana|Greece|Hungary|Iceland|India|Indonesia|Iran|Ireland|Israel|Italy|Japan|Kenya|Latvia"
    "|Lithuania|Luxembourg|Malaysia|Malta|Mexico|Morocco|Nepal|Netherlands|(?:New )?Zealand|Nigeria|Norway|Pakistan|Peru"
    "|Philippines|Poland|Portugal|Romania|Russia|Scotland|Serbia|Singapore|Slovakia|Slovenia|(?:South )?Africa|(?:South )?Korea"
    "|Spain|Sweden|Switzerland|Taiwan|Thailand|Turkey|Uganda|Ukraine|Uruguay|Vietnam|Wales|EU|UK|US|USA|NZ"
)


def _of_a_country(match: re.Match[str]) -> str:
    """Denmark 70 201 201, Brazil 188 or 192; but Brazil 2014 is a year, and Denmark 70 201 people an amount."""
    number = match["number"]
    if _IS_AMOUNT.match(match.string, match.end()):
        return match[0]
    long = re.fullmatch(r"[\d -]{7,}", number)
    return match["before"] + (_said(number) if long else re.sub(r"\d+", lambda each: digits(each[0]), number))


RULES: tuple[Rule, ...] = (
    rule(
        rf"(?P<before>\b(?:{_COUNTRIES})(?:,? is|:)? )(?P<number>\d{{2,4}}(?:[ -]\d{{2,4}}){{2,4}}"
        rf"|{_SERVICE}(?: (?:or|and) {_SERVICE})*)(?![\w:/-]|[.,]\d| \d)",
        _of_a_country,
    ),
    rule(r"\bPorsche 911\b", "Porsche nine eleven"),
    rule(r"\b([Tt]el)(?:\.:?|:)? (?=[+(]?\d)", r"\1ephone "),
    rule(r"\b([Pp]h)[.:]{1,2} (?=[+(]?\d)", r"\1one "),
    rule(r"\b([A-Z]{3,}: ?)(\d{5,6})\b(?![.,]\d)", lambda match: match[1] + _said(match[2])),  # SHOUT: 85258
    rule(r"(?<![\w.,$€£/-])(?<!\d )8([ -])800\1\d{3,4}\1\d{2,4}(?:[ -]\d{2})?(?![\w-]|[.,]\d)", _telephone),  # Russia
    rule(r"\(\d{2,3}\)\s?\d{4,5}[ -]\d{4}\b", _telephone),  # (55) 5259-8121
    rule(r"(?<![\w.,$€£/-])(?<!\d )\d{4} \d{3} \d{3}(?![\w-]| \d|[.,]\d)", _telephone),
    rule(r"(?<![\w.,$€£/-])(?<!\d )[6-9]\d\d \d{3} \d{3}(?![\w-]| \d|[.,]\d|\s?[$€£%])", _grouped),  # 717 003 717
    rule(r"(?<![\w-])\d(?:-\d){2,}(?![\w-])", lambda match: digits(match[0])),  # 9-1-1
    rule(r"(?<![\w.])(?:\(\+\d{1,3}\)|\+\d{1,3})(?:[\s.-]?\(?\d{1,5}\)?){2,6}(?!\d)", _telephone),
    rule(
        r"(?<![\w.$€£/-])(?:(?P<one>1)[-. ])?(?:\((?=8\d\d\)))?(?P<code>8\d\d)\)?[-. ]\s?"
        r"(?P<number>\d{3}[-. ][A-Z]{4})(?:\s?\((?P<digits>\d{4})\))?(?![\w-])",
        _with_letters,
    ),
    rule(
        rf"(?<![\w.$€£/-])(?:{_SPELLED})?(?P<code>[2-9]\d\d)[-.]"
        r"(?P<number>(?=[A-Z0-9-]*[A-Z]{3})[A-Z0-9]{2,}(?:-[A-Z0-9]+)*)(?:\s?\((?P<digits>\d{4})\))?(?![\w-])",
        _with_letters,
    ),
    rule(rf"(?<![\w.$€£/-])(?:1[-. ]?)?(?:\(\d{{3}}\)\s?|\d{{3}}[-. ])\d{{3}}[-. ]\d{{4}}\b{_EXTENSION}", _telephone),
    rule(r"(?<![\w-])1-(?P<code>8\d\d)(?![\w-])", lambda m: "one eight hundred" if m["code"] == "800" else _said(m[0])),
    rule(r"\b\d{3}-\d{2}-\d{4}\b|\b\d{4}([ -])\d{4}\1\d{4}(?:\1\d{4})?\b", _telephone),  # social security, cards
    rule(r"(?<![\w.,$€£-])(?<!\d )0\d{2,4}(?:[ /-]\d{1,5}){2,5}(?![\w:]|[/.,-]\d| \d)", _national),  # 0800 111 0 111
    rule(r"(?<![\w.,$€£/:-])\d{2,5}(?:-\d{2,5}){2,4}(?![\w-]|[.,/]\d)", _national),  # 1860-2662-345
    rule(
        r"(?P<before>\b[Tt]ext(?:ing)?:? [\"“']?\w+[\"”']? to )(?P<number>\d{3,7})(?![\w,.:-]?\d| (?:people|friends|others)\b)",
        _code,
    ),
    rule(r"(?<![\w.,$€£-])(?<!\d )0\d{4}[ -]\d{5,6}\b", _telephone),  # 07911 123456
    rule(r"(?<![\w.,$€£-])(?<!\d )0\d{2,4}(?:[ -]\d{3,4}){1,3}\b|\b1[38]00(?: \d{2,4}){2,3}\b", _telephone),
    rule(
        r"(?<![\w.,$€£/-])(?<!\d )(?:\(0\d{1,4}\)\s?|0\d{1,4}[ ./-])\d{2,8}(?:[ -]\d{2,8}){0,4}(?![\w:]|[/.,-]\d)",
        _national,
    ),
    rule(r"\b1[38]00 ?(?=[A-Z]{3,}\b)", lambda match: digits(match[0].strip()) + " "),  # 1800RESPECT
    rule(r"(?<![\d.,:$€£-] )(?<![\w.,:/$€£-])13 \d\d \d\d\b(?! ?\d|[:/-])", _telephone),  # Australian, as 13 14 50
    rule(r"\b13 ?11 ?14\b|\b116[ -]?\d{3}\b|\b741[ -]?741\b", _telephone),
    rule(rf"(?<![\w.$€£/-])(?P<first>\([2-9]\d\d\)|[2-9]\d\d)[-. ]\d{{4}}(?![\w-]|[.,]\d){_EXTENSION}", _local),
    rule(
        rf"(?P<call>\b(?:{_CALLING})\b(?:\ (?:is|at|on|us|me|him|her|them|it|to|text|call|and|or|the|number|now"
        r"|(?-i:[A-Z]{2,10})))*:?\s+)"
        r"(?P<number>\d(?:[\d-]|\ (?=\d))*\d)(?![\w:]|[/.,]\d)",
        _after_a_call,
        re.I | re.X,
    ),
    rule(rf"(?<![\w.,$€£/:#-]){_SERVICE}(?:\s?/\s?{_SERVICE})+(?![\w:/]|-\d|[.,]\d)", _alternatives),
    rule(
        rf"(?<![\w.,$€£/:#-]){_SERVICE}(?:(?:, or |, and |, not |, | or | and | not ){_SERVICE})+(?![\w:/]|-\d|[.,]\d)",
        _list,
    ),
    rule(rf"(?<![\w.,$€£/:#-]){_SERVICE}(?![\w:/]|-\d|[.,]\d)", _helpline),
    rule(
        r"(?P<before>\b(?:PIN|OTP|passcode|password|code|account|confirmation|reference|tracking|case|order|ticket|flight|zip"
        r"|number)(?: (?:number|code|no\.?|id))?(?: is|:| #)? )(?P<number>\d{4,})\b(?![.,]\d)(?! (?:people|times|dollars)\b)",
        _code,
        re.I,
    ),
    rule(
        r"\b([Ee]xt)(?:\.|ension)?:? (\d{2,6})\b(?![.,]\d| (?:days?|weeks?|months?|years?|hours?|minutes?)\b)",
        lambda match: f"{match[1]}ension {digits(match[2])}",
    ),
    rule(r"(?<=\b[A-Z]{2} )\d{5}(?:-\d{4})?\b", _telephone),  # CA 90210
    rule(r"(?<![\w.,$€£-])\d{7,}(?![\w,]|\.\d|\s?%)", _long_number),
)
