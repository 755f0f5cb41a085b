"""Written English → English as it is spoken: numbers, money, dates, times, abbreviations, links, emoji.

`normalise` is a list of rewriting rules, most specific first, so that what a rule leaves is plain words and the
punctuation that the speech model knows. It never fails: what cannot be spoken is dropped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import partial

from empatheia_jax.styletts2 import numerals
from empatheia_jax.styletts2.numerals import cardinal, decimal, digits, ordinal, plural, year

PUNCTUATION = ';:,.!?—…"“”()'
"""Punctuation that survives normalisation; both symbol tables know all of it except the brackets (Kokoro's only)."""

_MONTHS = "january february march april may june july august september october november december".title().split()
_MONTH = "|".join(_MONTHS)
_SHORT_MONTHS = {month[:3]: month for month in _MONTHS} | {"Sept": "September"}
_DAYS = {
    "Mon": "Monday",
    "Tue": "Tuesday",
    "Tues": "Tuesday",
    "Wed": "Wednesday",
    "Thu": "Thursday",
    "Thurs": "Thursday",
    "Fri": "Friday",
    "Sat": "Saturday",
    "Sun": "Sunday",
}

# sign → (singular, plural, singular of the hundredth, plural of the hundredth)
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_SIGN = "[" + "".join(re.escape(sign) for sign in _CURRENCIES) + "]"

_TITLES = {
    "Mr": "Mister",
    "Mrs": "Missus",
    "Ms": "Miz",
    "Dr": "Doctor",
    "Prof": "Professor",
    "Rev": "Reverend",
    "Hon": "Honorable",
    "Capt": "Captain",
    "Lt": "Lieutenant",
    "Col": "Colonel",
    "Gen": "General",
    "Sgt": "Sergeant",
    "Gov": "Governor",
    "Sen": "Senator",
    "Rep": "Representative",
    "Mt": "Mount",
    "Ft": "Fort",
}
_ABBREVIATIONS = {
    "e.g.": "for example",
    "i.e.": "that is",
    "etc.": "et cetera",
    "vs.": "versus",
    "vs": "versus",
    "approx.": "approximately",
    "appt.": "appointment",
    "dept.": "department",
    "est.": "established",
    "misc.": "miscellaneous",
    "w/o": "without",
    "w/": "with",
    "b/c": "because",
    "Jr.": "Junior",
    "Sr.": "Senior",
    "Ave.": "Avenue",
    "Blvd.": "Boulevard",
    "Rd.": "Road",
    "Inc.": "Incorporated",
    "Ltd.": "Limited",
    "Co.": "Company",
    "Corp.": "Corporation",
    "a.k.a.": "also known as",
    "asap": "as soon as possible",
    "ASAP": "as soon as possible",
    "btw": "by the way",
    "idk": "I don't know",
    "tbh": "to be honest",
    "imo": "in my opinion",
    "omg": "oh my god",
    "OMG": "oh my god",
    "pls": "please",
    "thx": "thanks",
    "lol": "ha ha",
    "LOL": "ha ha",
}
# Abbreviations whose full stop may be the sentence's as well.
_MAY_END = frozenset(("etc.", "Jr.", "Sr.", "Ave.", "Blvd.", "Rd.", "Inc.", "Ltd.", "Co.", "Corp."))
# Capitals that are read as a word rather than letter by letter.
_ACRONYM_WORDS = frozenset(
    [
        "NASA",
        "NATO",
        "AIDS",
        "COVID",
        "UNICEF",
        "UNESCO",
        "OPEC",
        "FIFA",
        "IKEA",
        "LASER",
        "RADAR",
        "SCUBA",
        "YOLO",
        "FOMO",
    ]
)

# unit → (singular, plural); only straight after a number
_UNITS = {
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "mph": ("mile per hour", "miles per hour"),
    "km": ("kilometer", "kilometers"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "m": ("meter", "meters"),
    "mi": ("mile", "miles"),
    "ft": ("foot", "feet"),
    "lbs": ("pound", "pounds"),
    "lb": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "kg": ("kilogram", "kilograms"),
    "mg": ("milligram", "milligrams"),
    "g": ("gram", "grams"),
    "ml": ("milliliter", "milliliters"),
    "L": ("liter", "liters"),
    "hrs": ("hour", "hours"),
    "hr": ("hour", "hours"),
    "h": ("hour", "hours"),
    "mins": ("minute", "minutes"),
    "min": ("minute", "minutes"),
    "secs": ("second", "seconds"),
    "sec": ("second", "seconds"),
    "s": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"),
    "kHz": ("kilohertz", "kilohertz"),
    "Hz": ("hertz", "hertz"),
    "GB": ("gigabyte", "gigabytes"),
    "MB": ("megabyte", "megabytes"),
    "KB": ("kilobyte", "kilobytes"),
    "k": ("thousand", "thousand"),
    "K": ("thousand", "thousand"),
}
_FRACTION_NAMES = {2: ("half", "halves"), 4: ("quarter", "quarters")}
_VULGAR = {character: unicodedata.normalize("NFKC", character).replace("⁄", "/") for character in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?|\.\d+"

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _quantity(number: str, singular: str, many: str) -> str:
    return f"{decimal(number)} {singular if number == '1' else many}"


def _fraction(top: int, bottom: int) -> str:
    one, many = _FRACTION_NAMES.get(bottom, (ordinal(bottom), f"{ordinal(bottom)}s"))
    return f"{cardinal(top)} {one if top == 1 else many}"


def _mixed_fraction(match: re.Match[str]) -> str:
    whole, top, bottom = match["whole"], int(match["top"]), int(match["bottom"])
    if not 2 <= bottom <= 100 or top == 0:
        return f"{match['whole'] or ''} {cardinal(top)} over {cardinal(bottom)}"
    words = _fraction(top, bottom)
    if whole:
        return f"{cardinal(int(whole))} and {'a ' + words[4:] if top == 1 else words}"
    return words


def _money(match: re.Match[str]) -> str:
    one, many, cent, cents = _CURRENCIES[match["sign"]]
    amount, scale = match["amount"].replace(",", ""), match["scale"]
    if scale:
        scale = {"k": "thousand", "K": "thousand", "M": "million", "B": "billion"}.get(scale, scale)
        return f"{decimal(amount)} {scale} {many}"
    whole, _, rest = amount.partition(".")
    if len(rest) == 2 and cents:
        parts = []
        if int(whole or 0) or not int(rest):
            parts.append(f"{cardinal(int(whole or 0))} {one if int(whole or 0) == 1 else many}")
        if int(rest):
            parts.append(f"{cardinal(int(rest))} {cent if int(rest) == 1 else cents}")
        return " and ".join(parts)
    return _quantity(amount, one, many)


def _time(match: re.Match[str]) -> str:
    hour, minute, half = int(match["hour"]), match["minute"], match["half"]
    if hour > 24 or (minute and int(minute) > 59):
        return match[0]
    words = [cardinal(hour)]
    if minute and int(minute):
        words.append(f"oh {cardinal(int(minute))}" if minute[0] == "0" else cardinal(int(minute)))
    elif not half:
        words.append("o'clock" if 1 <= hour <= 12 else "hundred")
    if half:
        words.append(" ".join(half.replace(".", "").upper()))
    return " ".join(words)


def _calendar(day: int, month: int, of_year: str | None) -> str:
    words = f"{_MONTHS[month - 1]} {ordinal(day)}"
    return f"{words}, {year(int(of_year))}" if of_year else words


def _slash_date(match: re.Match[str]) -> str:
    month, day, of_year = int(match["month"]), int(match["day"]), match["year"]
    if month > 12 >= day:
        month, day = day, month  # written the European way round
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0].replace("/", " ")
    if len(of_year) == 2:
        of_year = ("20" if int(of_year) < 50 else "19") + of_year
    return _calendar(day, month, of_year)


def _iso_date(match: re.Match[str]) -> str:
    month, day = int(match["month"]), int(match["day"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0].replace("-", " ")
    return _calendar(day, month, match["year"])


def _link(match: re.Match[str]) -> str:
    address = re.sub(r"^(https?://)?(www\.)?", "", match[0], flags=re.I)
    tail = address[len(address.rstrip(".,!?;:)")) :]
    address = address[: len(address) - len(tail)].split("?")[0].split("#")[0].rstrip("/")
    for sign, word in ((".", " dot "), ("/", " slash "), ("@", " at "), ("_", " underscore "), ("-", " dash ")):
        address = address.replace(sign, word)
    return address + tail


def _decade(match: re.Match[str]) -> str:
    number = int(match["number"])
    return plural(year(number) if number >= 1000 else cardinal(number))


def _spelled(match: re.Match[str]) -> str:
    """U.S.A. → U S A, with a full stop where the sentence seems to end."""
    letters = " ".join(match["letters"].replace(".", ""))
    return letters + ("." if match["end"] is not None else "")


def _long_vowels(match: re.Match[str]) -> str:
    """Soooo → So, but hmmm → hmm: humming and shushing need their length."""
    letter = match[1]
    return letter if letter.lower() in "aeiouy" else letter * 2


def _any_case(first: str, rest: str) -> str:
    return f"[{first.lower()}{first.upper()}]{re.escape(rest)}"


def _words(table: dict[str, str]) -> str:
    return "|".join(re.escape(key) for key in sorted(table, key=len, reverse=True))


def _rule(pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Rule:
    return re.compile(pattern), replacement


_RULES: tuple[Rule, ...] = (
    # --- markup -------------------------------------------------------------------------------------------------
    _rule(r"<[^<>\n]{1,40}>", " "),  # tags such as <br> or <emo>
    _rule(r"\[([^\]\n]+)\]\(([^)\s]+)\)", r"\1"),  # [words](link)
    _rule(r"(?m)^\s{0,3}(?:#{1,6}|[-*•+>])\s+", ""),
    _rule(r"(?<!\w)[*_~`]+(?=\S)|(?<=\S)[*_~`]+(?!\w)", ""),
    _rule(r"(?:(?<=\s)|^)(?:[:;=8]-?[)(DPpOo/|\\]|<3|\^_?\^|[xX]D)(?=\s|$|[.,!?])", " "),  # emoticons
    # --- addresses ----------------------------------------------------------------------------------------------
    _rule(r"(?i)\b(?:https?://|www\.)\S+", _link),
    _rule(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b", _link),
    _rule(r"(?i)\b[a-z0-9-]+\.(?:com|org|net|edu|gov|io)(?:/\S*)?\b", _link),
    _rule(r"(?<!\w)@(\w+)", r"at \1"),
    _rule(r"(?<!\w)#(?=[A-Za-z])", "hashtag "),
    _rule(r"(?<!\w)#(?=\d)", "number "),
    # --- abbreviations ------------------------------------------------------------------------------------------
    _rule(r"\bSt\.(?=\s+[A-Z])", "Saint"),
    _rule(r"\bSt\.(?=\s*$)", "Street."),
    _rule(r"\bSt\.", "Street"),
    _rule(rf"\b({_words(_TITLES)})\.?(?=\s+[A-Z])", lambda match: _TITLES[match[1]]),
    _rule(r"\bNo\.(?=\s*\d)", "number"),
    _rule(rf"\b({_words({key + '.': value for key, value in _DAYS.items()})})", lambda match: _DAYS[match[1][:-1]]),
    _rule(rf"\b({'|'.join(_SHORT_MONTHS)})\.?(?=\s+\d)", lambda match: _SHORT_MONTHS[match[1]]),
    _rule(
        rf"(?<![\w.])({_words(_ABBREVIATIONS)})(?![\w/])(?P<end>(?=\s+[A-Z][a-z])|(?=\s*$))?",
        lambda match: _ABBREVIATIONS[match[1]] + ("." if match[1] in _MAY_END and match["end"] is not None else ""),
    ),
    # --- dates and times ----------------------------------------------------------------------------------------
    _rule(r"\b(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})\b", _iso_date),
    _rule(r"\b(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4}|\d{2})\b", _slash_date),
    _rule(
        rf"\b(?P<month>{_MONTH})\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<year>\d{{4}}))?\b",
        lambda match: _calendar(int(match["day"]), _MONTHS.index(match["month"]) + 1, match["year"]),
    ),
    _rule(
        rf"\b(?:the\s+)?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+(?P<month>{_MONTH})(?:,?\s+(?P<year>\d{{4}}))?\b",
        lambda match: (
            f"the {ordinal(int(match['day']))} of {match['month']}"
            + (f", {year(int(match['year']))}" if match["year"] else "")
        ),
    ),
    _rule(
        r"\b(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2})?\s*(?P<half>[AaPp]\.?[Mm]\b\.?)?",
        _time,
    ),
    _rule(r"\b(?P<hour>\d{1,2})(?P<minute>)\s*(?P<half>[AaPp]\.[Mm]\.|[AaPp][Mm]\b)", _time),
    _rule(r"\b(?P<number>\d{3}0)'?s\b", _decade),
    _rule(r"(?<!\w)'?(?P<number>[1-9]0)'?s\b", _decade),
    _rule(r"\b24/7\b", "twenty four seven"),
    # --- money, measures, fractions -----------------------------------------------------------------------------
    _rule(
        rf"(?P<sign>{_SIGN})\s*(?P<amount>{_NUMBER})(?:\s*(?P<scale>thousand|million|billion|trillion|[kKMB])\b)?",
        _money,
    ),
    _rule(rf"\b(?P<amount>{_NUMBER})\s?(?P<sign>{_SIGN})(?P<scale>)", _money),
    _rule(r"(?<![\d/])(?:(?P<whole>\d+)\s)?(?P<top>\d{1,3})/(?P<bottom>\d{1,3})(?![\d/])", _mixed_fraction),
    _rule(r"\b(\d{1,2})'(\d{1,2})\"", lambda match: f"{cardinal(int(match[1]))} foot {cardinal(int(match[2]))}"),
    _rule(rf"({_NUMBER})\s?%", lambda match: f"{decimal(match[1])} percent"),
    _rule(
        rf"([-−]?)({_NUMBER})\s?°(?:\s?([CF])\b)?",
        lambda match: (
            ("minus " if match[1] else "")
            + _quantity(match[2], "degree", "degrees")
            + {"C": " Celsius", "F": " Fahrenheit", None: ""}[match[3]]
        ),
    ),
    _rule(
        rf"(?<![\w.,])({_NUMBER})\s?({_words({key: key for key in _UNITS})})\b(?!')",
        lambda match: _quantity(match[1], *_UNITS[match[2]]),
    ),
    # --- other numbers ------------------------------------------------------------------------------------------
    _rule(
        r"(?<![\w-])(?:\+?1[-. ])?\(?(\d{3})\)?[-. ](\d{3})[-. ](\d{4})\b", lambda m: ", ".join(map(digits, m.groups()))
    ),
    _rule(r"\b(\d+)(?:st|nd|rd|th)\b", lambda match: ordinal(int(match[1]))),
    _rule(
        r"\b(World War|Part|Chapter|Act|Book|Volume|Phase|Type|Level|Stage) ([IVXL]+)\b",
        lambda match: f"{match[1]} {cardinal(numerals.roman(match[2]))}",
    ),
    _rule(rf"(?<![\w.])({_NUMBER})\s?[-–—]\s?({_NUMBER})(?![\w-])", lambda m: f"{decimal(m[1])} to {decimal(m[2])}"),
    _rule(r"(?<![\w,.])(1[1-9]\d\d|20\d\d)(?!\w|[.,]\d)", lambda match: year(int(match[1]))),
    _rule(r"(?<![\w.,])0\d+\b(?!\.\d)", lambda match: digits(match[0])),
    _rule(rf"(?<![\w.])[-−]({_NUMBER})", lambda match: f"minus {decimal(match[1])}"),
    _rule(rf"(?<![\d.])({_NUMBER})(?:x|×)(?=\s|$)", lambda match: f"{decimal(match[1])} times"),
    _rule(rf"({_NUMBER})\s*[x×]\s*(?={_NUMBER})", lambda match: f"{decimal(match[1])} by "),
    _rule(rf"(?<![A-Za-z])({_NUMBER})", lambda match: f"{decimal(match[1])} "),
    _rule(r"\d+", lambda match: f" {cardinal(int(match[0]))} "),
    # --- letters ------------------------------------------------------------------------------------------------
    _rule(
        r"\b(?P<letters>(?:[A-Z]\.){2,})(?P<end>(?=\s+[A-Z][a-z])|(?=\s*$))?",
        _spelled,
    ),
    _rule(r"\b[A-Z]{4,}\b", lambda match: match[0].title() if match[0] in _ACRONYM_WORDS else match[0]),
    _rule(r"([A-Za-z])\1{2,}", _long_vowels),
    _rule(r"\bi\b(?!\.)", "I"),
    # --- signs --------------------------------------------------------------------------------------------------
    _rule(r"\s?&\s?", " and "),
    _rule(r"\s?=\s?", " equals "),
    _rule(r"(?<=\w)\s?\+\s?(?=\w)", " plus "),
    _rule(r"(?i)\band/or\b", "and or"),
    _rule(r"(?<=\w)\s?/\s?(?=\w)", " or "),
    _rule(r"%", " percent "),
    _rule(r"@", " at "),
    _rule(r"\.{2,}", "…"),
    _rule(r"\s-\s|\s*--+\s*|\s*[–—]\s*", "—"),
    _rule(r"(?<=\w)-(?=\w)", " "),
)

_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "`": "'", "´": "'", "«": '"', "»": '"', "„": '"', "¿": "", "¡": "", "\u00ad": ""}
)


_SIGNS = frozenset(PUNCTUATION + "'-–−&=+/%@#*_~`<>[]^|\\°×\n") | frozenset(_CURRENCIES)


def _speakable(character: str) -> str:
    """Latin letters, digits and known signs stay; any other character (emoji, controls, other scripts) → a space."""
    if character in _SIGNS or unicodedata.name(character, "").startswith("LATIN "):
        return character
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    return "" if unicodedata.category(character) in ("Mn", "Me", "Cf") else " "


def _calm(text: str) -> str:
    """A text that shouts is read as words, not letter by letter: I AM SO SORRY → I am so sorry."""

    def sentence(match: re.Match[str]) -> str:
        words = re.findall(r"[A-Za-z']{2,}", match[0])
        shouted = sum(word.isupper() for word in words)
        if shouted < 3 or shouted < 0.8 * len(words):
            return match[0]
        return re.sub(r"\bi\b", "I", match[0].lower())

    return re.sub(r"[^.!?\n]+", sentence, text)


def normalise(text: str) -> str:
    """Rewrites English text the way a person would read it aloud.

    >>> normalise("Dr. Lee paid $3.50 on 3/4/2021 🙂")
    'Doctor Lee paid three dollars and fifty cents on March fourth, twenty twenty one'

    Returns words, apostrophes, spaces and `PUNCTUATION`; the empty string where nothing can be spoken.
    """
    text = text.translate(_QUOTES)
    for character, plain in _VULGAR.items():
        text = re.sub(rf"(?<=\d)\s?{character}", f" {plain}", text).replace(character, plain)
    text = text.replace("…", "...")
    text = unicodedata.normalize("NFKC", text)
    text = "".join(map(_speakable, text))
    text = re.sub(r"(?:\s*\n\s*){2,}", "\n\n", text)
    text = re.sub(r"(?<=[\w'\"])\s*\n\n", ".\n", text)  # a heading or list item without a full stop ends a sentence
    text = _calm(text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return _tidy(text)


_TIDY: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"[^\w\s'{re.escape(PUNCTUATION)}]|_", " "),
        (r"(?<!\w)'|'(?!\w)", " "),
        (r"([!?])[!?]*\?[!?]*", "?"),
        (r"!{2,}", "!"),
        (r"([,;:])[,;:]+", r"\1"),
        (r"\(\s*\)|\"\s*\"", " "),
        (r"\s+", " "),
        (r"\s+([;:,.!?…)])", r"\1"),
        (r"\(\s+", "("),
        (r"[,;:]+([.!?])", r"\1"),
        (r"([.!?…])[.,;:]+", r"\1"),
        (r"^[\s;:,.!?…—)]+", ""),
    )
)


def _tidy(text: str) -> str:
    """Drops what no rule gave words to, and punctuation that nothing is left to belong to."""
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return text if any(character.isalnum() for character in text) else ""


normalize = partial(normalise)  # the other spelling
