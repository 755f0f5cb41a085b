"""Fractions, shares, scores, measures, percentages and temperatures."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import cardinal, decimal, ordinal
from empatheia_jax.styletts2.text.money import DESCRIBED, DESCRIBING, PER
from empatheia_jax.styletts2.text.rules import NUMBER, Rule, ends_sentence, rule, words

# unit → (singular, plural); only straight after a number
_UNITS = {
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "mph": ("mile per hour", "miles per hour"),
    "mpg": ("mile per gallon", "miles per gallon"),
    "m/s": ("meter per second", "meters per second"),
    "bpm": ("beat per minute", "beats per minute"),
    "rpm": ("revolution per minute", "revolutions per minute"),
    "sq ft": ("square foot", "square feet"),
    "sq. ft.": ("square foot", "square feet"),
    "sq m": ("square meter", "square meters"),
    "ft^2": ("square foot", "square feet"),
    "m^2": ("square meter", "square meters"),
    "km^2": ("square kilometer", "square kilometers"),
    "m^3": ("cubic meter", "cubic meters"),
    "km": ("kilometer", "kilometers"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "m": ("meter", "meters"),
    "mi": ("mile", "miles"),
    "yd": ("yard", "yards"),
    "yds": ("yard", "yards"),
    "ft": ("foot", "feet"),
    "in.": ("inch", "inches"),
    "lbs": ("pound", "pounds"),
    "lb": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "fl oz": ("fluid ounce", "fluid ounces"),
    "kg": ("kilogram", "kilograms"),
    "kgs": ("kilogram", "kilograms"),
    "mg": ("milligram", "milligrams"),
    "mcg": ("microgram", "micrograms"),
    "g": ("gram", "grams"),
    "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"),
    "L": ("liter", "liters"),
    "tbsp": ("tablespoon", "tablespoons"),
    "tsp": ("teaspoon", "teaspoons"),
    "kcal": ("kilocalorie", "kilocalories"),
    "cal": ("calorie", "calories"),
    "yrs": ("year", "years"),
    "yr": ("year", "years"),
    "mos": ("month", "months"),
    "wks": ("week", "weeks"),
    "wk": ("week", "weeks"),
    "hrs": ("hour", "hours"),
    "hr": ("hour", "hours"),
    "h": ("hour", "hours"),
    "mins": ("minute", "minutes"),
    "min": ("minute", "minutes"),
    "secs": ("second", "seconds"),
    "sec": ("second", "seconds"),
    "s": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"),
    "GHz": ("gigahertz", "gigahertz"),
    "MHz": ("megahertz", "megahertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "Hz": ("hertz", "hertz"),
    "dB": ("decibel", "decibels"),
    "kWh": ("kilowatt hour", "kilowatt hours"),
    "kW": ("kilowatt", "kilowatts"),
    "W": ("watt", "watts"),
    "V": ("volt", "volts"),
    "Mbps": ("megabit per second", "megabits per second"),
    "TB": ("terabyte", "terabytes"),
    "GB": ("gigabyte", "gigabytes"),
    "MB": ("megabyte", "megabytes"),
    "KB": ("kilobyte", "kilobytes"),
    "kb": ("kilobyte", "kilobytes"),
    "k": ("thousand", "thousand"),
    "K": ("thousand", "thousand"),
    "M": ("million", "million"),
    "bn": ("billion", "billion"),
}
_FRACTION_NAMES = {2: ("half", "halves"), 4: ("quarter", "quarters")}
# Out of so many are marks given; the others are fractions that people say.
_MARKS = frozenset(range(1, 101)) - frozenset((2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 32, 64))
_EYESIGHT = frozenset((15, 20, 25, 30, 40, 50, 60, 70, 80, 100, 200, 400))
_TEMPERATURE = {"C": " Celsius", "F": " Fahrenheit", "K": " Kelvin", None: ""}


def _quantity(number: str, singular: str, many: str) -> str:
    return f"{decimal(number)} {singular if number == '1' else many}"


def _fraction(top: int, bottom: int) -> str:
    one, many = _FRACTION_NAMES.get(bottom, (ordinal(bottom), f"{ordinal(bottom)}s"))
    return f"{cardinal(top)} {one if top == 1 else many}"


def _hundreds(number: int) -> str:
    """120 → one twenty, 200 → two hundred: as pairs of numbers are read."""
    high, low = divmod(number, 100)
    if number < 100 or not low:
        return cardinal(number)
    return f"{cardinal(high)} {'oh ' if low < 10 else ''}{cardinal(low)}"


def _share(match: re.Match[str]) -> str:
    """a/b: a share, eyesight, a mark out of ten, blood pressure, a division, or else a fraction."""
    whole, top, bottom = match["whole"], int(match["top"]), int(match["bottom"])
    if re.match(r"\s?=", match.string[match.end() :]):
        return f"{cardinal(top)} divided by {cardinal(bottom)}"
    following = match.string[match.end() : match.end() + 12]
    if whole is None:
        if top + bottom == 100 or (top == 20 and bottom in _EYESIGHT) or top == bottom == 20:
            return f"{cardinal(top)} {_hundreds(bottom)}"
        if 80 <= top <= 220 and 40 <= bottom <= 130 and bottom not in (100,):
            return f"{_hundreds(top)} over {_hundreds(bottom)}"
        stars = re.match(r"\s?stars?\b", following)
        if bottom in _MARKS and not re.match(r"\s?(?:of|inch|mile|cup)\b", following) or stars or top == bottom:
            return f"{cardinal(top)} out of {cardinal(bottom)}"
    if not 2 <= bottom <= 100 or top == 0 or top > bottom * 20:
        return f"{whole or ''} {cardinal(top)} over {cardinal(bottom)}".strip()
    said = _fraction(top, bottom)
    if whole:
        return f"{cardinal(int(whole))} and {'a ' + said[4:] if top == 1 else said}"
    return said


def _measure(match: re.Match[str]) -> str:
    number, (one, many) = match["number"].replace(",", ""), _UNITS[match["unit"]]
    describing = match["describing"] or ""
    singular = number == "1" or (describing and match["described"] is not None)
    if match["unit"] == "K" and describing and match["described"] is not None:
        return f"{describing}{decimal(number)} K"  # a 5K run
    per = f" per {PER[match['per']]}" if match["per"] else ""
    stop = "." if match["stop"] and ends_sentence(match) else ""
    return f"{describing}{decimal(number)} {one if singular else many}{per}{stop}"


def _range_of_measures(match: re.Match[str]) -> str:
    return f"{decimal(match['first'])} to "


def _feet(match: re.Match[str]) -> str:
    return f"{cardinal(int(match[1]))} foot {cardinal(int(match[2]))}"


def _degrees(match: re.Match[str]) -> str:
    minus = "minus " if match[1] else ""
    return minus + _quantity(match[2], "degree", "degrees") + _TEMPERATURE[match[3]]


RULES: tuple[Rule, ...] = (
    rule(rf"(?<![\w.])({NUMBER})\s?°?\s?[-–—]\s?({NUMBER})(?=\s?(?:%|°))", lambda m: f"{decimal(m[1])} to {m[2]}"),
    rule(rf"(?<![\w.,])(?P<first>{NUMBER})\s?[-–—]\s?(?={NUMBER}\s?(?:{words(_UNITS)})\b)", _range_of_measures),
    rule(r"(?<![\d/.])(\d+\.\d+)/(\d{1,3})(?![\d/]|\.\d)", lambda m: f"{decimal(m[1])} out of {cardinal(int(m[2]))}"),
    rule(r"(?<![\d/.])(?:(?P<whole>\d+)\s)?(?P<top>\d{1,3})/(?P<bottom>\d{1,3})(?![\d/]|\.\d)", _share),
    rule(
        r"(?<![\d:.])(\d{1,2}):(\d)(?![\d:])", lambda match: f"{cardinal(int(match[1]))} to {cardinal(int(match[2]))}"
    ),
    rule(r"\b(\d{1,2})'\s?(\d{1,2})(?:\"|'')", _feet),
    rule(r"\b(\d{1,2})'(\d{1,2})\b(?!\w)", _feet),
    rule(r"\b(\d{1,2})\"(?=\s|[.,;]|$)", lambda match: _quantity(match[1], "inch", "inches")),
    rule(
        r"\b(\d{1,2}) ?ft\.? (\d{1,2}) ?in\b\.?",
        lambda m: f"{_quantity(m[1], 'foot', 'feet')} {_quantity(m[2], 'inch', 'inches')}",
    ),
    rule(
        rf"(?P<minus>(?<![\w)])[-−]|(?<!\w)\+)?({NUMBER})\s?%",
        lambda m: {"+": "plus ", None: ""}.get(m["minus"], "minus ") + f"{decimal(m[2])} percent",
    ),
    rule(rf"((?<!\w)[-−])?({NUMBER})\s?°(?:\s?([CFK])\b)?", _degrees),
    rule(r"\b(\d)G\b", lambda match: f"{cardinal(int(match[1]))} G"),
    rule(
        rf"{DESCRIBING}(?<![\w.,])(?P<number>{NUMBER})(?:\s|-(?=[a-z]{{2}}))?(?P<unit>{words(_UNITS)})(?![\w'])(?P<stop>\.(?![\w.]))?"
        rf"(?:\s?/\s?(?P<per>{words(PER)})\b)?{DESCRIBED}",
        _measure,
    ),
)
