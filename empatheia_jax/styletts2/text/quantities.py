"""Fractions, shares, scores, measures, percentages and temperatures."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import cardinal, decimal, hundreds, ordinal
from empatheia_jax.styletts2.text.money import DESCRIBED, DESCRIBING, PER
from empatheia_jax.styletts2.text.rules import MONTHS, NUMBER, Rule, ends_sentence, near, rule, words

# unit → (singular, plural); only straight after a number
UNITS = {
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
    "kms": ("kilometer", "kilometers"),
    "kmh": ("kilometer per hour", "kilometers per hour"),
    "mg": ("milligram", "milligrams"),
    "ng": ("nanogram", "nanograms"),
    "mmol": ("millimole", "millimoles"),
    "mcg": ("microgram", "micrograms"),
    "g": ("gram", "grams"),
    "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"),
    "L": ("liter", "liters"),
    "dl": ("deciliter", "deciliters"),
    "dL": ("deciliter", "deciliters"),
    "tbsp": ("tablespoon", "tablespoons"),
    "tsp": ("teaspoon", "teaspoons"),
    "kcal": ("kilocalorie", "kilocalories"),
    "cal": ("calorie", "calories"),
    "cals": ("calorie", "calories"),
    "yrs": ("year", "years"),
    "yr": ("year", "years"),
    "mo": ("month", "months"),
    "mos": ("month", "months"),
    "mth": ("month", "months"),
    "mths": ("month", "months"),
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
    "mil": ("million", "million"),
    "bn": ("billion", "billion"),
    "deg": ("degree", "degrees"),
    "fps": ("frame per second", "frames per second"),
}
_FRACTION_NAMES = {2: ("half", "halves"), 4: ("quarter", "quarters")}
# Out of so many are marks given; the others are fractions that people say.
_MARKS = frozenset(range(2, 101)) - frozenset((2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 32, 64))
_EYESIGHT = frozenset((15, 20, 25, 30, 40, 50, 60, 70, 80, 100, 200, 400))
# "2/3 exams" are two out of three; "2/3 cups" are a measure.
_COUNTED = re.compile(
    r"\s(?:(?!cups|hours|days|weeks|months|years|minutes|miles|inches|meters|acres|pounds|liters|bottles|glasses|pints|gallons"
    r"|teaspoons|tablespoons|slices|this|his|is|was|as|hers|yours|always|sometimes|across)(?:[a-z]{2,}[^s\W]s|people|children|men|women))\b"
)
# "50-50", "60-40 split": what is divided.
_DIVIDED = (
    r"(?:splits?|chances?|odds|custody|rule|deal|mix|thing|share|shot|situation|relationship|partnership|partners)"
)
# "5/4 hours", "7/4 time", "3/2 of it", "5/4 + 1" are no dates.
_MEASURED = re.compile(
    r"\s?(?:(?:of|in|inch|inches|cups?|miles?|hours?|days?|weeks?|months?|years?|times?|pounds?|ounces?|pints?|lit[er]{2}s?)\b|[-+*^])"
)
_HEAT = re.compile(
    r"\b(?:temp|temps|temperature|fever|oven|bake|outside|degrees|weather|heat|heatwave|preheat|thermostat)\b", re.I
)
_AFTER_A_FRACTION = [unit for unit in UNITS if unit.islower() and unit.isalpha() and (len(unit) > 1 or unit == "h")]
_IT_IS = re.compile(r"\b(?:it's|it is|it was|it got|hit|reached|below|above)(?: about| around| up)?\s+$", re.I)
_SPANS_OF_TIME = "seconds?|minutes?|hours?|days?|weeks?|months?|years?"
_TEMPERATURE = {"C": " Celsius", "F": " Fahrenheit", "K": " Kelvin", None: ""}


def _quantity(number: str, singular: str, many: str) -> str:
    return f"{decimal(number)} {singular if number == '1' else many}"


def _fraction(top: int, bottom: int) -> str:
    one, many = _FRACTION_NAMES.get(bottom, (ordinal(bottom), f"{ordinal(bottom)}s"))
    return f"{cardinal(top)} {one if top == 1 else many}"


def _share(match: re.Match[str]) -> str:
    """a/b and a blank where a letter follows: 3/4x."""
    return _of_two(match) + (" " if match.string[match.end() :][:1].isalpha() else "")


def _of_two(match: re.Match[str]) -> str:
    """a/b: a share, eyesight, a mark out of ten, blood pressure, a division, or else a fraction."""
    whole, top, bottom = match["whole"], int(match["top"]), int(match["bottom"])
    if re.match(r"\s?=", match.string[match.end() :]):
        return f"{cardinal(top)} divided by {cardinal(bottom)}"
    following = match.string[match.end() : match.end() + 12]
    if whole is None:
        if top + bottom == 100 or (top == 20 and bottom in _EYESIGHT) or top == bottom == 20:
            return f"{cardinal(top)} {hundreds(bottom)}"
        if 80 <= top <= 220 and 40 <= bottom <= 130 and (bottom != 100 or top > 100):
            return f"{hundreds(top)} over {hundreds(bottom)}"
        stars = re.match(r"\s?stars?\b", following)
        if 2 < bottom < 10 and top > 1 and _COUNTED.match(match.string, match.end()):
            return f"{cardinal(top)} out of {cardinal(bottom)}"
        if bottom in _MARKS and not re.match(r"\s?(?:of|inch|mile|cup)\b", following) or stars or top == bottom:
            return f"{cardinal(top)} out of {cardinal(bottom)}"
    if whole is None and top > bottom > 0 and not top % bottom:
        return f"{cardinal(top)} divided by {cardinal(bottom)}"
    if whole is None and bottom == 1 and 1 < top <= 12:
        return f"{MONTHS[top - 1]} first"
    if whole is None and bottom > 100 and top <= bottom:
        return f"{cardinal(top)} out of {cardinal(bottom)}"
    if not 2 <= bottom <= 100 or top == 0 or top > bottom * 20:
        return f"{whole or ''} {cardinal(top)} over {cardinal(bottom)}".strip()
    if whole is None and bottom < top <= 12 and not _MEASURED.match(following):
        return f"{MONTHS[top - 1]} {ordinal(bottom)}"  # people write dates like this, and no improper fractions
    said = _fraction(top, bottom)
    if whole:
        return f"{cardinal(int(whole))} and {'a ' + said[4:] if top == 1 else said}"
    return said


def _ratio(match: re.Match[str]) -> str:
    """50-50, 60-40 → fifty fifty, sixty forty; 40-60 may be a range, unless a split follows."""
    first, second = int(match[1]), int(match[2])
    rises = first < second and not re.match(rf"\s(?:[a-z]+\s)?{_DIVIDED}\b", match.string[match.end() :])
    return match[0] if first + second != 100 or rises else f"{cardinal(first)} {cardinal(second)}"


def _per(match: re.Match[str]) -> str:
    """7 days/week → 7 days per week; "5 day/night cycles" are both."""
    what = re.sub(r"\s+(?=[xX×]$)", "", match["what"])
    if what.endswith(("day", "morning", "evening", "week", "month", "year")) and not what.startswith("1 "):
        return match[0]
    if what in ("1x", "1X"):
        return f"once a {PER[match['per']]}"
    return f"{what} {'a' if what.lower() in ('once', 'twice') else 'per'} {PER[match['per']]}"


def _bare_temperature(match: re.Match[str]) -> str:
    """39.5C, and 102F where a temperature is spoken of; seat 14C is none."""
    it_is = _IT_IS.search(match.string[: match.start()])
    heat = "." in match[2] or match[1] or it_is or _HEAT.search(near(match))
    return f"{match[1] or ''}{match[2]}°{match[3]}" if heat else match[0]


def _measure(match: re.Match[str]) -> str:
    number, (one, many) = match["number"].replace(",", ""), UNITS[match["unit"]]
    describing = match["describing"] or ""
    hyphened = re.search(r"\d-[a-z]", match[0]) is not None  # a 12-hr shift, 2-wk notice
    singular = number == "1" or ((describing or hyphened) and match["described"] is not None)
    if match["unit"] == "K" and describing and match["described"] is not None:
        return f"{describing}{decimal(number)} K"  # a 5K run
    per = f" per {PER[match['per']]}" if match["per"] else ""
    stop = "." if match["stop"] and ends_sentence(match) else ""
    return f"{describing}{decimal(number)} {one if singular else many}{per}{stop}"


def _range_of_measures(match: re.Match[str]) -> str:
    return f"{decimal(match['first'])} to "


def _feet(match: re.Match[str]) -> str:
    return f"{cardinal(int(match[1]))} foot {cardinal(int(match[2]))}"


def _inches(match: re.Match[str]) -> str:
    """3" wide; but the mark ends what is quoted where a quotation is open: "I am 67"."""
    before = match.string[: match.start()]
    opened, closed = re.findall(r'(?:^|[\s(])"(?=\w)', before), re.findall(r'(?<=[^\s\d(])"', before)
    describing = re.search(r"\b[Aa]n?\s$", before) is not None
    return match[0] if len(opened) > len(closed) else _quantity(match[1], "inch", "inch" if describing else "inches")


def _degrees(match: re.Match[str]) -> str:
    minus = "minus " if match[1] else ""
    describing = re.match(r"\s(?:angle|turn|spin|heat|weather|fever|view|day)\b", match.string[match.end() :])
    return minus + _quantity(match[2], "degree", "degree" if describing else "degrees") + _TEMPERATURE[match[3]]


_LENGTHS = "mm|cm|km|m|ft|in|yds?|mi"
_TIMES_OF = rf"\d[\d.,]*(?:\s?[-–]\s?\d+)?\s?(?:[xX×]|times?)|\d[\d.,]*\s?(?:%|{words(UNITS)})"
_PERIOD = "day|night|week|wk|month|mo|year|yr|hour|hr|minute|min|second|sec"

_MOMENTS = "(?:week|mid)?day|night|mornings?|evening|afternoon|week(?:end)?|month|year|hour|minute|second|date|place"

RATES: tuple[Rule, ...] = (
    rule(
        r"(?<![\w/])(?<!\d )(mg|mcg|g|kg|mL|ml|mmol|ng)/(dL|dl|L|l|kg|mL|ml|day|hr|h|min)(?![\w/])",
        lambda match: f"{UNITS[match[1]][1]} per {PER[match[2]]}",
    ),
    rule(r"(?<=\bmmol)/mol\b", " per mole"),
    rule(r"(?<!\d)(?<!\d )\b(km|mi)/(?:h|hr)\b", lambda match: f"{UNITS[match[1]][1]} per hour"),
    rule(rf"(?<![\w.,/])(?P<what>{_TIMES_OF})\s?/\s?(?P<per>{words(PER)}|d|w)(?![\w/'])", _per),
    rule(
        rf"(?P<what>(?<![\w.,/])\d[\d.,]*(?:\s?[-–]\s?\d+)?\s[a-z]+(?:\s[a-z]+)?|\b(?:[Oo]nce|[Tt]wice)|\b(?!(?:{_MOMENTS})\b)[a-z]{{3,}})"
        rf"\s?/\s?(?P<per>{_PERIOD}|session|visit|person|serving|dose|shift)(?![\w/'])",
        _per,
    ),
    rule(rf"(?<![\w.,/])(?P<what>\d[\d.,]*(?:\s?[-–]\s?\d+)?)\s?/\s?(?P<per>{_PERIOD})(?![\w/'])", _per),
    rule(
        r"\b(a|an|per|each|every|this|last|next|one|all|the other) (wk|mo|yr|hr|min)\b(?!\.)",
        lambda match: f"{match[1]} {PER[match[2]]}",
    ),
)
"""How often and how much: "2-3x/week", "7 days/week", "twice/month"."""

COMPARED: tuple[Rule, ...] = (
    rule(rf"(?<![\w~])[~≈]\s?(?=[$€£¥₹]?{NUMBER})", "about "),
    rule(rf"±\s?(?={NUMBER})", "plus or minus "),
    rule(rf"(?<![\w<])<\s?(?=[$€£¥₹]?{NUMBER})", "less than "),
    rule(rf"(?<![\w>-])>\s?(?=[$€£¥₹]?{NUMBER})", "more than "),
    rule(rf"\s?(?:≤|<=)\s?(?=[$€£¥₹]?{NUMBER})", " at most "),
    rule(rf"\s?(?:≥|>=)\s?(?=[$€£¥₹]?{NUMBER})", " at least "),
)
"""Signs before an amount of any kind; they come before what reads the amount."""

RULES: tuple[Rule, ...] = (
    rule(  # 5 000 km
        rf"(?<![\w.,-])(?<!\d )\d{{1,3}}(?: \d{{3}})+(?=\s?(?:{words(UNITS)})\b)",
        lambda match: match[0].replace(" ", ""),
    ),
    rule(r"\b(GMT|UTC)\s?[-−–]\s?(?=\d)", r"\1 minus "),
    # --- ranges and ratios ----------------------------------------------------------------------------------------
    rule(rf"(?<![\w.])({NUMBER})\s?%\s?[-–—]\s?(?={NUMBER}\s?%)", r"\1 to "),
    rule(rf"(?<![\w.,])({NUMBER})\s?({words(UNITS)})\s?[-–—]\s?({NUMBER})\s?\2\b", r"\1-\3 \2"),
    rule(rf"(?<![\w.,])({NUMBER}\s?(?:{words(UNITS)}))\s?[-–—]\s?(?={NUMBER}\s?(?:{words(UNITS)})\b)", r"\1 to "),
    rule(rf"\b(\d+\s(?:{_SPANS_OF_TIME}))\s?[-–—]\s?(?=\d+\s(?:{_SPANS_OF_TIME})\b)", r"\1 to "),
    rule(r"(?<![\w.,/:-])(\d\d?)[-:](\d\d?)(?![\w/:%-]|[.,]\d)", _ratio),
    rule(
        r"\b1:1(?=s?\b\s(?:with|sessions?|meetings?|calls?|chats?|time|therapy|counsell?ing|support|lessons?|coaching)\b|s\b)",
        "one on one",
    ),
    rule(r"(?<![\w.,/-])(\d\d?)\s?[-–]\s?(?=\d\d?/(?:5|10|100)\b)", r"\1 to "),
    rule(
        rf"(?<![\w.,])({NUMBER})\s?[-–]\s?({NUMBER})[xX×](?!\w)", lambda m: f"{decimal(m[1])} to {decimal(m[2])} times"
    ),
    rule(
        rf"(?<![\w.,])({NUMBER}\s?(?:{_LENGTHS}))\s?[x×]\s?(?={NUMBER}\s?(?:{_LENGTHS})\b)",
        r"\1 by ",
    ),
    rule(rf"(?<![\w.,])({NUMBER})\s?[x×]\s?(?={NUMBER}\s?(?:mg|mcg|g|ml|mL)\b)", lambda m: f"{decimal(m[1])} times "),
    rule(rf"(?<![\w.,])({NUMBER})\+\s?({words(UNITS)})(?![\w/])", lambda m: f"{decimal(m[1])} plus {UNITS[m[2]][1]}"),
    rule(r"(?<![\w)/.,-])-(?=\d+/\d+\b)", "minus "),
    rule(rf"(?<![\w.])({NUMBER})\s?°?\s?[-–—]\s?({NUMBER})(?=\s?(?:%|°))", lambda m: f"{decimal(m[1])} to {m[2]}"),
    rule(rf"(?<![\w.,])(?P<first>{NUMBER})\s?[-–—]\s?(?={NUMBER}\s?(?:{words(UNITS)})\b)", _range_of_measures),
    rule(r"(?<![\w.,/-])(\d)-(?=[12]/[234]\b|3/4\b)", r"\1 "),  # 1-1/2 inches
    rule(r"(?<![\w.,])(\d{1,3}) / (?=\d{1,3}(?![\w/]|[.,]\d))", r"\1/"),
    rule(r"(?<![\w.,/])(\d/\d)\s?[-–—]\s?(?=\d)", r"\1 to "),
    # both parts of a pill: 5/325 mg
    rule(r"(?<![\w./])(\d+(?:\.\d+)?)/(?=\d+(?:\.\d+)?\s?(?:mg|mcg)\b)", lambda match: f"{decimal(match[1])} slash "),
    # --- shares ---------------------------------------------------------------------------------------------------
    rule(
        r"(?<![\d/.])(\d+\.\d+)/(\d{1,3}(?:\.\d+)?)(?![\d/]|\.\d)", lambda m: f"{decimal(m[1])} out of {decimal(m[2])}"
    ),
    rule(
        rf"(?<![\d/.])((?P<whole>\d+\s)?\d/\d\d?)(?:\s|-)?(?P<unit>{words(_AFTER_A_FRACTION)})\b(?!/)",
        lambda m: f"{m[1]} {UNITS[m['unit']][bool(m['whole'])]}",
    ),
    rule(r"(?<![\d/.])(?:(?P<whole>\d+)\s)?(?P<top>\d{1,3})/(?P<bottom>\d{1,3})(?![\d/]|\.\d)", _share),
    rule(
        r"(?<![\d:.])(\d{1,4}):(\d|\d{3,4})(?![\d:])",
        lambda match: f"{cardinal(int(match[1]))} to {cardinal(int(match[2]))}",
    ),
    # --- measures -------------------------------------------------------------------------------------------------
    rule(r"\b(\d{1,2})'\s?0(?:\"|'')", lambda match: f"{cardinal(int(match[1]))} foot"),
    rule(r"\b(\d{1,2})'(?=\s(?:tall|wide|long|deep|high|and)\b)", lambda match: f"{cardinal(int(match[1]))} feet"),
    rule(r"\b(\d) ?ft\.? ?(1[01]|\d)(?!\d|\s?(?:in|x|by)\b|[.,/]\d)", _feet),
    rule(r"\b(\d{1,2})'\s?(\d{1,2})(?:\"|'')", _feet),
    rule(r"\b([4-7])\"(1[01]|\d)\b(?![\"'])", _feet),  # the wrong mark, as chats have it
    rule(r"\b(\d{1,2})''(?!\w)", _inches),
    rule(r"\b([3-8])'(?=[.,;!?)]|\s*$)", lambda match: f"{cardinal(int(match[1]))} feet"),
    rule(r"\b(\d{1,2})'(\d{1,2})\b(?!\w)", _feet),
    rule(r"\b(\d{1,2})\"(?=\s|[.,;]|$)", _inches),
    rule(
        r"\b(\d{1,2}) ?ft\.? (\d{1,2}) ?in\b\.?",
        lambda m: f"{_quantity(m[1], 'foot', 'feet')} {_quantity(m[2], 'inch', 'inches')}",
    ),
    rule(r"\b([12])m([1-9]\d)\b", lambda match: f"{_quantity(match[1], 'meter', 'meters')} {cardinal(int(match[2]))}"),
    rule(
        rf"(?P<minus>(?<![\w)])[-−]|(?<!\w)\+)?({NUMBER})\s?%",
        lambda m: {"+": "plus ", None: ""}.get(m["minus"], "minus ") + f"{decimal(m[2])} percent",
    ),
    rule(r"(?<![\w.,$€£])((?<!\w)[-−])?(\d{1,3}(?:\.\d)?)([CF])(?![\w+-])", _bare_temperature),
    rule(r"(?<![\w.,$€£])()(\d{2,3}\.\d)\s([CF])(?![\w+-])", _degrees),  # 37.8 C
    rule(rf"((?<!\w)[-−])?({NUMBER})\s?°(?:\s?([CFK])\b)?", _degrees),
    rule(r"\b(\d)G\b", lambda match: f"{cardinal(int(match[1]))} G"),
    rule(
        rf"{DESCRIBING}(?<![\w.,])(?P<number>{NUMBER})(?:\s|-(?=[a-z]{{2}}))?(?P<unit>{words(UNITS)})(?![\w'])(?P<stop>\.(?![\w.]))?"
        rf"(?:\s?/\s?(?P<per>{words(PER)})\b)?{DESCRIBED}",
        _measure,
    ),
)
