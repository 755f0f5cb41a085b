"""Numbers as continental Europe and India write them → as English writes them: "1.234,56 €" → "1234.56 €", "70,5 kg" → "70.5 kg".

English has a comma before three digits and a point before decimals; much of Europe has it the other way round, or a space
between thousands. A number is taken for a continental one only where its form or what stands beside it leaves no other reading:
"1,234" and "1.234" alone stay as they are.
"""

from __future__ import annotations

import re

from empatheia_jax.styletts2.text.money import CODES, SIGN
from empatheia_jax.styletts2.text.quantities import UNITS
from empatheia_jax.styletts2.text.rules import Rule, near, rule, words

_MONEY = rf"(?:{SIGN}|(?:{words((*CODES, 'kr', 'Rs'))})\b|euros?\b|dollars?\b|pounds?\b|francs?\b)"
_BEFORE = rf"(?:{SIGN}|\b(?:{words(CODES)}))"
# Money whose countries write points between thousands; "$1.500" and "£1.500" may be prices with three decimals.
_POINTED = r"(?:€|EUR\b|euros?\b|kr\b|SEK\b|NOK\b|DKK\b|PLN\b|BRL\b|R\$)"
_COUNTED = "days|weeks|months|years|times"
_MEASURED = (
    rf"{words(UNITS)}|hours?|minutes?|kilos?|grams?|kilogram(?:me)?s?|(?:kilo)?met(?:er|re)s?|miles?|lit(?:er|re)s?"
)
_MEASURED += rf"|degrees?|percent|million|billion|mio|{_COUNTED}"
_GROUPED = r"\d{1,3}(?:(?P<mark>[. '\u00a0\u202f])\d{3})(?:(?P=mark)\d{3})*"
_NO_MORE = r"(?!\d|[.,]\d)"


def _plain(number: str) -> str:
    """'1.234' → '1234', whatever stands between thousands."""
    return re.sub(r"\D", "", number)


def _thousands(match: re.Match[str]) -> str:
    """1.000.000 → 1000000; 192.168.100.200 is an address of a computer."""
    parts = match[0].split(".")
    address = len(parts) == 4 and all(part == str(int(part)) and int(part) < 256 for part in parts)
    return match[0] if address else "".join(parts)


def _fever(match: re.Match[str]) -> str:
    """A temperature of 39,4."""
    return (
        f"{match['whole']}.{match['part']}"
        if re.search(r"\b(?:fever|temp|temperature)\b", near(match), re.I)
        else match[0]
    )


def _comma(match: re.Match[str]) -> str:
    """3,5 km → 3.5 km; but "2,3 days" are two or three of them."""
    whole, part = match["whole"], match["part"]
    several = re.match(rf"\s?(?:{_COUNTED})\b", match.string[match.end() :])
    return f"{whole}, {part}" if several and int(part) == int(whole) + 1 else f"{whole}.{part}"


RULES: tuple[Rule, ...] = (
    rule(
        r"(?<![\w.,])\d{1,2}(?:,\d{2})+,\d{3}(?!\d|,\d)", lambda match: _plain(match[0])
    ),  # 2,50,000, as India writes it
    rule(r"(?<=\d),[-–—]+(?=\s|[€$£]|$)", ""),  # 5,- €
    rule(
        rf"(?<![\w.,])(?P<number>{_GROUPED}),(?P<part>\d\d?){_NO_MORE}",
        lambda match: f"{_plain(match['number'])}.{match['part']}",
    ),
    rule(rf"(?<![\w.,])(?<!\d )(?P<number>\d{{1,3}}(?: \d{{3}})+)(?=\s?{_MONEY})", lambda match: _plain(match[0])),
    rule(
        rf"(?P<sign>{SIGN}\s?)(?P<number>\d{{1,3}}(?: \d{{3}})+)(?!\d|[., ]\d)",
        lambda m: m["sign"] + _plain(m["number"]),
    ),
    rule(r"(?<![\w.,])(?P<whole>3[4-9]|4[0-2]),(?P<part>\d)(?![\w]|[.,]\d)", _fever),
    rule(r"(?<![\w.,])\d{1,3}(?:\.\d{3}){2,}(?![\w.]|,\d)", _thousands),
    rule(r"(?<![\w'])\d{1,3}(?:'\d{3})+(?![\w'])", lambda match: _plain(match[0])),
    rule(rf"(?<![\w.,])(?P<number>\d{{1,3}}(?:\.\d{{3}})+)(?=\s?{_POINTED})", lambda match: _plain(match[0])),
    rule(
        rf"(?P<sign>(?:€|\bEUR|\bR\$)\s?)(?P<number>\d{{1,3}}(?:\.\d{{3}})+){_NO_MORE}",
        lambda match: match["sign"] + _plain(match["number"]),
    ),
    rule(rf"(?<![\w.,])(?P<whole>\d+),(?P<part>\d\d?)(?=\s?{_MONEY})", r"\g<whole>.\g<part>"),
    rule(rf"(?P<sign>{_BEFORE}\s?)(?P<whole>\d+),(?P<part>\d\d?){_NO_MORE}", r"\g<sign>\g<whole>.\g<part>"),
    rule(rf"(?<![\w.,])(?P<whole>\d{{1,3}}),(?P<part>\d\d?)(?=\s?(?:[%°]|(?:{_MEASURED})\b))", _comma, re.I),
)
