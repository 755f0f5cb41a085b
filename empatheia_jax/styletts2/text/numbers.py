"""Numbers that nothing else has claimed: ordinals, roman numerals, versions, ranges, years, arithmetic."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import cardinal, decimal, digits, ordinal, plural, roman, year
from empatheia_jax.styletts2.text.codes import in_a_name
from empatheia_jax.styletts2.text.rules import NUMBER, Rule, rule

_ROMAN = r"C?(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?<=[IVXLC])"
_RULERS = (
    "Henry|Edward|George|Charles|Elizabeth|James|William|Mary|Richard|Louis|Philip|Paul|Benedict|Pius|Francis|Nicholas|Catherine"
    "|Alexander|Frederick|Napoleon|Ramses|Gregory|Leo|Harald|Carl|Felipe|Victoria|Ivan|Peter"
)
# Of these an initial may follow, so one letter alone is no numeral.
_NAMESAKES = "John|Clement|Innocent|Urban|Boniface|Juan|Olav|Gustaf|Haakon|Robert|David|Thomas|Joseph|Martin"
_NUMBERED = (
    "World War|Super Bowl|Final Fantasy|Rocky|Part|Chapter|Act|Scene|Book|Volume|Phase|Type|Level|Stage|Grade|Class|Section|Title"
    "|Article|Step|Round|Appendix|Schedule|Tier|Mark|Bipolar"
)


_HIGHER = "II|III|IV|VI|VII|VIII|IX|XI|XII|XIII|XIV|XV"


# What comes out in rows, and is no person.
_IN_ROWS = frozenset(
    (
        *(
            "Wars",
            "Trek",
            "Man",
            "Men",
            "Effect",
            "Auto",
            "Souls",
            "Quest",
            "Kombat",
            "Evil",
            "Story",
            "Games",
            "Age",
            "Fantasy",
        ),
        *("Empires", "Duty", "Honor", "Weapon", "Park", "Gear", "Craft", "Creed"),
    )
)


def _higher(match: re.Match[str]) -> str:
    """Robert Smith III, a person, is the Third; Diablo III, one of a row, is three."""
    names = re.search(r"\b(?P<first>[A-Z][a-z]+ )?(?P<last>[A-Z][a-z]+) $", match.string[: match.start()][-60:])
    if not names or match[1] == "IV" and re.match(r"\s[a-z]", match.string[match.end() :]):  # an IV drip
        return match[0]
    number = roman(match[1])
    is_person = names["first"] and names["last"] not in _IN_ROWS
    return f"the {ordinal(number).capitalize()}" if is_person and number < 7 else cardinal(number)


def _version(match: re.Match[str]) -> str:
    """17.4.1 → seventeen point four point one."""
    return " point ".join(cardinal(int(part)) for part in match["number"].split("."))


def _range(match: re.Match[str]) -> str:
    return f"{decimal(match[1])} to {decimal(match[2])}"


def _power(match: re.Match[str]) -> str:
    """10^6 → ten to the power of six, 10^-3 → ten to the power of minus three, 5^2 → five squared."""
    exponent = match["exponent"]
    if exponent in ("2", "3") and not match["sign"] and match["base"] != "10":
        said = "squared" if exponent == "2" else "cubed"
    else:
        said = f"to the power of {'minus ' if match['sign'] in ('-', '−') else ''}{decimal(exponent)}"
    base = match["base"]
    return f"{base if base.isalpha() else decimal(base)} {said}"


def _scientific(match: re.Match[str]) -> str:
    """1e-5 → one times ten to the power of minus five, 1e6 → one million."""
    factor, exponent = match["factor"], int(match["exponent"])
    if match["sign"] != "-" and exponent in (3, 6, 9, 12):
        return f"{decimal(factor)} {cardinal(10**exponent).split()[1]}"
    return f"{decimal(factor)} times ten to the power of {'minus ' if match['sign'] == '-' else ''}{cardinal(exponent)}"


def _times(match: re.Match[str]) -> str:
    return f"{decimal(match[1])} times"


POWERS: tuple[Rule, ...] = (
    rule(rf"({NUMBER})\s?[x×*]\s?(?=10\^)", lambda match: f"{decimal(match[1])} times "),
    rule(rf"(?<![\w.,])(?P<base>{NUMBER})\^\(?(?P<sign>[-−+]?)(?P<exponent>\d+(?:\.\d+)?)\)?", _power),
    rule(r"(?<!\d )\b(?P<base>[A-Za-z])\^\(?(?P<sign>[-−+]?)(?P<exponent>\d+)\)?", _power),
    rule(r"(?<![\w.,])(?P<factor>\d+(?:\.\d+)?)[eE](?P<sign>[-+]?)(?P<exponent>\d{1,3})(?![\w]|[.,]\d)", _scientific),
)
"""Before measures, which would take the exponent for a number of its own."""

RULES: tuple[Rule, ...] = (
    rule(r"\b(\d+(?:st|nd|rd|th))\s?[-–—]\s?(?=\d+(?:st|nd|rd|th)\b)", r"\1 to "),
    rule(
        r"(?<![\w.,/$€£-])\d{1,3}(?:-\d{1,3}){2,}(?![\w-]|[.,/]\d)",
        lambda match: " ".join(cardinal(int(part)) for part in match[0].split("-")),
    ),
    rule(r"\b(\d+)(?:st|nd|rd|th|ST|ND|RD|TH)\b", lambda match: ordinal(int(match[1]))),
    rule(
        rf"\b({_NUMBERED}) (?![CL]\b)({_ROMAN})\b(?!'(?!s\b))", lambda match: f"{match[1]} {cardinal(roman(match[2]))}"
    ),
    rule(
        rf"\b((?i:{_NUMBERED})) (?![CILVX]\b)({_ROMAN})\b(?!'(?!s\b))",
        lambda match: f"{match[1]} {cardinal(roman(match[2]))}",
    ),
    rule(
        rf"\b((?:{_RULERS})(?: [A-Z][a-z]+)?) (?![CIL]\b)({_ROMAN})\b(?!\.\w)",
        lambda match: f"{match[1]} the {ordinal(roman(match[2])).capitalize()}",
    ),
    rule(rf"\b((?:King|Queen|Tsar|Emperor) (?:{_RULERS})) I\b(?!')", r"\1 the First"),
    rule(rf"\b((?:{_RULERS})) I(?=[,.;!?)](?!\w)|'s\b|\s*$)", r"\1 the First"),
    rule(
        rf"\b((?:{_NAMESAKES})(?: [A-Z][a-z]+)?) (?=[IVXL]{{2}})({_ROMAN})\b(?!\.\w)",
        lambda match: f"{match[1]} the {ordinal(roman(match[2])).capitalize()}",
    ),
    rule(
        r"\b([Bb]ipolar|Type|Stage|Class|Level|Phase|Grade) I(?=[.,;:!?)]|'s|\s*$|\s(?:disorder|diabetes|and|or|is)\b)",
        r"\1 one",
    ),
    rule(rf"\b(?=[CILVX]{{2}})({_ROMAN})(?= [Cc]entur(?:y|ies)\b)", lambda match: ordinal(roman(match[1]))),
    rule(rf"(?<=[a-z] )(?<!\bThe )({_HIGHER})\b(?='s|[,.;:!?)]|\s*$|\s[a-z])", _higher),
    rule(r"\bv(?:er(?:sion)?)?\.?\s?(?P<number>\d+(?:\.\d+)+)\b", lambda match: f"version {_version(match)}", re.I),
    rule(r"(?<![\w.,])(?P<number>\d+(?:\.\d+){2,})\b(?!\.\d)", _version),
    rule(r"(?<![\w.,])(\d{1,3}(?: \d{3})+)(?!\w|[.,]\d| \d)", lambda match: cardinal(int(match[1].replace(" ", "")))),
    rule(rf"({NUMBER})\s*[-−]\s*(?={NUMBER}\s*=)", lambda match: f"{decimal(match[1])} minus "),
    rule(rf"(?<![\w.])({NUMBER})\s?[-–—]\s?({NUMBER})(?![\w-])", _range),
    rule(
        r"(\b(?:[Ii]n|[Ss]ince|[Yy]ear) )(10[1-9]\d)(?!\w|[.,%°]\d?| [a-z]+s\b)",
        lambda match: match[1] + year(int(match[2])).replace("one thousand", "ten"),
    ),
    rule(r"(?<![\w,.])(1[1-9]\d\d|20\d\d)(?!\w|[.,]\d)", lambda match: year(int(match[1]))),
    rule(r"(?<![\w.,])0\d+\b(?!\.\d)", lambda match: digits(match[0])),
    rule(rf"(?<![\w.)])[-−](?=\d|\.\d)({NUMBER})", lambda match: f"minus {decimal(match[1])}"),
    rule(rf"(?<![\w.])\+(?=\d)({NUMBER})", lambda match: f"plus {decimal(match[1])}"),
    rule(rf"\b({NUMBER})\+(?=\s|$|[.,!?])", lambda match: f"{decimal(match[1])} plus"),
    rule(rf"(?<![\d.])({NUMBER})(?:x|×)(?=\s|$|[.,;:!?)/])", _times),
    rule(rf"({NUMBER})\s*(?:[x×]\s*(?={NUMBER}\s*=)|\*\s*(?={NUMBER}))", lambda match: f"{decimal(match[1])} times "),
    rule(rf"({NUMBER})\s*[x×]\s*(?={NUMBER})", lambda match: f"{decimal(match[1])} by "),
    rule(rf"({NUMBER})\s*÷\s*(?={NUMBER})", lambda match: f"{decimal(match[1])} divided by "),
    rule(r"\b([A-Za-z]|\d+)\^([A-Za-z])\b", r"\1 to the power of \2"),
    rule(r"(?<=[A-Za-z])(\d+\.\d+)", lambda match: f" {decimal(match[1])} "),
    rule(rf"(?<![A-Za-z\d])({NUMBER})(?='s\b)", lambda match: decimal(match[1])),
    rule(rf"(?<![A-Za-z\d])({NUMBER})", lambda match: f"{decimal(match[1])} "),
    rule(r"(?<=[A-Z])(\d{1,2})s\b", lambda match: " " + plural(cardinal(int(match[1])))),
    rule(r"\d+", in_a_name),
)
