"""Days, dates, years, decades and times of day."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import cardinal, ordinal, plural, year
from empatheia_jax.styletts2.text.rules import DAYS, MONTHS, NUMBER, Rule, ends_sentence, near, rule, words

_MONTH = "|".join(MONTHS)
_SHORT_MONTHS = {month[:3]: month for month in MONTHS if month != "May"} | {"Sept": "September"}
_SHORT_DAYS = {day[:3]: day for day in DAYS} | {
    "Tues": "Tuesday",
    "Weds": "Wednesday",
    "Thur": "Thursday",
    "Thurs": "Thursday",
}
_NO_OTHER_WORD = [day for day in _SHORT_DAYS if day not in ("Sat", "Sun")]
_BEFORE_A_DATE = r"(?:on|since|until|till|by|before|after|due|dated|is|was|from|every|of)"
_FRACTIONS = frozenset((top, bottom) for bottom in (2, 3, 4, 8) for top in range(1, bottom))
_SUFFIX = r"(?:st|nd|rd|th)"
_HALF = r"[AaPp]\.[Mm]\.?|[AaPp][Mm]\b"


def _day(match: re.Match[str]) -> str:
    stop = "." if match[0].endswith(".") and ends_sentence(match) else ""
    return _SHORT_DAYS[match[1]] + stop


def _month(match: re.Match[str]) -> str:
    stop = "." if match[0].endswith(".") and ends_sentence(match) else ""
    return _SHORT_MONTHS[match[1]] + stop


def _date(day: int, month: int, of_year: str | None) -> str:
    words = f"{MONTHS[month - 1]} {ordinal(day)}"
    return f"{words}, {year(int(of_year))}" if of_year else words


def _century(short: str) -> str:
    return short if len(short) == 4 else ("20" if int(short) < 50 else "19") + short


def _valid(day: int, month: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def _slash_date(match: re.Match[str]) -> str:
    month, day = int(match["month"]), int(match["day"])
    if month > 12 >= day:
        month, day = day, month  # written the European way round
    return _date(day, month, _century(match["year"])) if _valid(day, month) else match[0].replace("/", " ")


def _dotted_date(match: re.Match[str]) -> str:
    """25.12.2020 and 25.12.20, as much of Europe writes it; 12.25.2020 too."""
    day, month = int(match["day"]), int(match["month"])
    if day <= 12 < month:
        day, month = month, day
    return _date(day, month, _century(match["year"])) if _valid(day, month) else match[0]


def _iso_date(match: re.Match[str]) -> str:
    month, day = int(match["month"]), int(match["day"])
    return _date(day, month, match["year"]) if _valid(day, month) else match[0].replace("-", " ")


# 12/20 is a mark, and no day in December.
_MARKED = re.compile(r"\b(?:marks?|score[ds]?|graded?|got|exam|quiz|essay|points)\b(?! (?:on|due))[^.!?]*$", re.I)


def _short_date(match: re.Match[str]) -> str:
    """12/25 is a day where its numbers can be nothing else, or where a word before it says so."""
    month, day = int(match["month"]), int(match["day"])
    preposition = match["before"] is not None
    feast = re.search(
        r"\b(?:birthday|anniversary|wedding|born|due|funeral)\b", match.string[: match.start()][-60:], re.I
    ) or re.search(r"\b(?:week|wk) of $", match.string[: match.start("month")][-12:])
    if (
        preposition
        and 12 < month <= 31
        and 1 <= day <= 12
        and match["before"].strip().lower() not in ("is", "was", "of")
    ):
        return match["before"] + _date(month, day, None)  # till 31/12, as Europe writes it
    said_of_it = (match["before"] or "is").strip().lower() in ("is", "was")
    if said_of_it and _MARKED.search(match.string[: match.start()][-40:]):
        return match[0]
    if not _valid(day, month) or day in (16, 32) and not preposition:
        return match[0]
    if day > 12 or (preposition and (match["before"].strip().lower() == "on" or feast)):
        return (match["before"] or "") + _date(day, month, None)
    return match[0]


def _time(match: re.Match[str]) -> str:
    hour, minute, half = int(match["hour"]), match["minute"], match["half"]
    second = match.groupdict().get("second")
    if minute and int(minute) > 59 or hour > 24 and (half or not minute):
        return match[0]
    if hour > 24 and not second:  # how long a run takes: 27:30
        return f"{cardinal(hour)} {'oh ' if minute[0] == '0' else ''}{cardinal(int(minute))}"
    if hour in (0, 24) and minute == "00" and not (half or second):
        return "midnight"
    words = [cardinal(hour)]
    if minute and int(minute):
        words.append(f"oh {cardinal(int(minute))}" if minute[0] == "0" else cardinal(int(minute)))
    elif not half:
        words.append("o'clock" if 1 <= hour <= 12 else "hundred")
    if second and int(second):
        words.append(f"and {cardinal(int(second))} {'second' if int(second) == 1 else 'seconds'}")
    if half:
        words.append(" ".join(half.replace(".", "").upper()))
    return " ".join(words) + ("." if half and half.endswith(".") and ends_sentence(match) else "")


# What is spoken of with a time of day; "at 3.50" may be a price or a mark.
_TIMED = re.compile(
    r"\b(?:train|bus|coach|tram|flight|plane|appointment|appt|meet|meeting|met|woke|wake|up|leave|left|arrive[sd]?|start(?:s|ed)?|class"
    r"|lesson|school|alarm|today|tomorrow|tonight|morning|afternoon|evening|night|shift|session|bed|sleep|open|opens|closes?|until|till)\b",
    re.I,
)


def _dotted_time(match: re.Match[str]) -> str:
    """The bus at 7.45 → 7:45, as Britain writes it."""
    return f"{match['before']}{match['hour']}:{match['minute']}" if _TIMED.search(near(match)) else match[0]


def _military(match: re.Match[str]) -> str:
    """By 0300 → by zero three hundred, by 1730 hours → by seventeen thirty hours."""
    before, hour, minute = next(match.groups()[k : k + 3] for k in (0, 3, 6) if match.groups()[k] is not None)
    said = f"zero {cardinal(int(hour))}" if hour[0] == "0" else cardinal(int(hour))
    if minute == "00":
        return f"{before}{said} hundred"
    return f"{before}{said} {'oh ' if minute[0] == '0' else ''}{cardinal(int(minute))}"


def _hours_and_minutes(match: re.Match[str]) -> str:
    """1h30, 2 hrs 15 min."""
    hours, minutes = int(match[1]), int(match[2] or match[3])
    said = f"{cardinal(hours)} {'hour' if hours == 1 else 'hours'}"
    return f"{said} {cardinal(minutes)} {'minute' if minutes == 1 else 'minutes'}"


def _dates(match: re.Match[str]) -> str:
    """12/24-12/26, where both are days and they come one after the other."""
    first = int(match["month"]), int(match["day"])
    last = int(match["last_month"]), int(match["last_day"])
    if not (_valid(*first[::-1]) and _valid(*last[::-1])) or {first, last} <= _FRACTIONS:
        return match[0]
    return f"{_date(first[1], first[0], None)} to {_date(last[1], last[0], None)}"


def _decade(match: re.Match[str]) -> str:
    number = int(match["number"])
    return plural(year(number) if number >= 1000 else cardinal(number))


def _span(match: re.Match[str]) -> str:
    """1990-2000, 1984-85; 2019-09 is a month."""
    first, second = match["first"], match["second"]
    if match[0][4] == "-" and second[0] == "0" and 0 < int(second) < int(first[2:]):  # 2019-09
        return f"{MONTHS[int(second) - 1]} {year(int(first))}"
    return f"{year(int(first))} to {year(int(second)) if len(second) == 4 else cardinal(int(second))}"


def _weekend(match: re.Match[str]) -> str:
    stop = "." if match[0].endswith(".") and ends_sentence(match) else ""
    return _SHORT_DAYS[match[1] or match[2]] + stop


def _any_month(match: re.Match[str]) -> str:
    stop = "." if match[0].endswith(".") and ends_sentence(match) else ""
    return _SHORT_MONTHS[match[1] or match[2]] + stop


def _ancient(number: str) -> str:
    return year(int(number)) if len(number) == 4 else cardinal(int(number))


_SMALL_DAY = "mon|tues?|weds?|thu(?:rs?)?|fri"
_CLOCK = r"\d{1,2}(?::\d{2})?"

RULES: tuple[Rule, ...] = (
    # --- names of days and months ---------------------------------------------------------------------------------
    rule(r"\bM[-–]F\b", "Monday to Friday"),
    rule(rf"\b({words((*DAYS, *MONTHS))})\s?[-–—]\s?(?=(?:{words((*DAYS, *MONTHS))})\b)", r"\1 to "),
    rule(
        rf"\b({words((*_SHORT_MONTHS, 'May'))})\.?\s?[-–—]\s?({words((*_SHORT_MONTHS, 'May'))})\b",
        lambda match: f"{_SHORT_MONTHS.get(match[1], match[1])} to {_SHORT_MONTHS.get(match[2], match[2])}",
    ),
    rule(
        rf"\b(?:{words((*_SHORT_DAYS, *DAYS))})(?:/(?:{words((*_SHORT_DAYS, *DAYS))}))+\b",
        lambda match: ", ".join(_SHORT_DAYS.get(day, day) for day in match[0].split("/")),
    ),
    rule(
        rf"\b({words(_SHORT_DAYS)})\.?\s?[-–—]\s?(?=(?:{words(_SHORT_DAYS)})\b)",
        lambda match: f"{_SHORT_DAYS[match[1]]} to ",
    ),
    rule(rf"(?<=\bto )({words(_SHORT_DAYS)})\b\.?(?=\W|$)", _day),
    rule(
        rf"\b({words(_SHORT_DAYS)})\.?(?=(?: to |/)(?:{words((*_SHORT_DAYS, *DAYS))})\b)", lambda m: _SHORT_DAYS[m[1]]
    ),
    rule(rf"\b({words(_NO_OTHER_WORD)})\.", _day),
    rule(r"\b(Mon|Wed)(?= (?:morning|afternoon|evening|night)\b)", lambda match: _SHORT_DAYS[match[1]]),
    rule(r"\b(Tues?|Weds|Thu(?:rs?)?|Fri)\b(?!')", lambda match: _SHORT_DAYS[match[1]]),
    rule(
        rf"(?<=\b(?:on|by) )({_SMALL_DAY})\b(?!')|(?<=\b(?:next|last|this) )({_SMALL_DAY})\b(?!')",
        lambda match: _SHORT_DAYS[(match[1] or match[2]).capitalize()],
    ),
    rule(r"\b(Sat|Sun)\.?(?=,?\s+(?:at\s+|the\s+)?\d|,?\s+(?:morning|afternoon|evening|night)\b)", _day),
    rule(rf"\b(Sat|Sun)\.?(?=,?\s+(?:{_MONTH}|{words(_SHORT_MONTHS)})\b)", _day),
    rule(r"(?<=\b[Oo]n )(Sat|Sun)\b\.?|(?<=\b(?:this|next|last) )(Sat|Sun)\b\.?", _weekend),
    rule(
        rf"\b({words(_NO_OTHER_WORD)})(?=,?\s+(?:{_MONTH}|{words(_SHORT_MONTHS)})\b)",
        lambda match: _SHORT_DAYS[match[1]],
    ),
    rule(rf"\b({words(_NO_OTHER_WORD)})(?=,?\s+(?:at\s+)?\d)", lambda match: _SHORT_DAYS[match[1]]),
    rule(rf"\b({words(_SHORT_MONTHS)})\.?(?=\s+\d)", lambda match: _SHORT_MONTHS[match[1]]),
    rule(rf"(?<=\d )({words(_SHORT_MONTHS)})\b\.?", _month),
    rule(rf"\b({words(_SHORT_MONTHS)})\.?(?=\s+'\d\d\b)", lambda match: _SHORT_MONTHS[match[1]]),
    rule(r"\b(Feb|Apr|Aug|Sept|Oct|Nov|Dec)\.", _month),
    rule(
        rf"(?<=\b(?:in|by|of) )({words(_SHORT_MONTHS)})\b\.?|(?<=\b(?:last|next|this) )({words(_SHORT_MONTHS)})\b\.?",
        lambda m: _any_month(m),
    ),
    # --- dates ----------------------------------------------------------------------------------------------------
    rule(r"\b(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})\b", _iso_date),
    rule(r"\b(?P<year>\d{4})/(?P<month>\d{1,2})/(?P<day>\d{1,2})\b", _iso_date),
    rule(r"\b(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4}|\d{2})\b", _slash_date),
    rule(r"\b(?P<month>\d{1,2})-(?P<day>\d{1,2})-(?P<year>\d{4})\b", _slash_date),
    rule(r"\b(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})\b", _dotted_date),
    rule(r"\b(?P<day>[0-3]\d)\.(?P<month>[01]\d)\.(?P<year>\d\d)\b(?!\.\d)", _dotted_date),
    rule(r"(?<=\b[Oo]n )(?P<day>\d\d?)\.(?P<month>\d\d?)\.(?P<year>\d\d)\b(?!\.\d)", _dotted_date),
    rule(r"\b(?P<year>(?:19|20)\d\d)\.(?P<month>[01]\d)\.(?P<day>[0-3]\d)\b(?!\.\d)", _iso_date),
    rule(r"\b([bd])\.\s?(?=(?:\d{1,2}/)?(?:1[89]|20)\d\d\b)", lambda match: "born " if match[1] == "b" else "died "),
    rule(r"\b9/11\b", "nine eleven"),
    rule(
        r"(?<![\w/.$])(?P<month>\d\d?)/(?P<day>\d\d?)\s?[-–—]\s?(?P<last_month>\d\d?)/(?P<last_day>\d\d?)(?![\w/]|[.,]\d)",
        _dates,
    ),
    rule(
        r"(?<![\w/.$])(0?[1-9]|1[0-2])/((?:19|20)\d\d)(?![\w/]|[.,]\d)",
        lambda match: f"{MONTHS[int(match[1]) - 1]} {year(int(match[2]))}",
    ),
    rule(
        rf"(?P<before>\b{_BEFORE_A_DATE}\s)?(?<![\d/.$])\b(?P<month>\d{{1,2}})/(?P<day>\d{{1,2}})(?![\d/]|\.\d|\s+(?:of|inch|in|mile|cup|hour|full)\b)",
        _short_date,
        re.I,
    ),
    rule(
        rf"\b(?P<month>{_MONTH})\s+(?P<day>\d{{1,2}}){_SUFFIX}?\s?[-–]\s?(?P<last>\d{{1,2}}){_SUFFIX}?\b(?:,?\s+(?P<year>\d{{4}})\b)?",
        lambda m: (
            f"{m['month']} {ordinal(int(m['day']))} to {ordinal(int(m['last']))}"
            + (f", {year(int(m['year']))}" if m["year"] else "")
        ),
    ),
    rule(
        rf"\b(?P<month>{_MONTH})\s+(?P<day>\d{{1,2}})(?:{_SUFFIX})?\b(?!:|\s?[AaPp]\.?[Mm])(?:,?\s+(?P<year>\d{{4}})\b)?",
        lambda match: _date(int(match["day"]), MONTHS.index(match["month"]) + 1, match["year"]),
    ),
    rule(
        rf"\b(?:the\s+)?(?P<day>\d{{1,2}}){_SUFFIX}?(?:\s+of)?\s+(?P<month>{_MONTH})(?:,?\s+(?P<year>\d{{4}}))?\b",
        lambda match: (
            f"the {ordinal(int(match['day']))} of {match['month']}"
            + (f", {year(int(match['year']))}" if match["year"] else "")
        ),
    ),
    rule(rf"(\b[Bb]etween (?:about )?{NUMBER}(?::\d\d)?\s?(?:%|[ap]m)?)\s?[-–—]\s?(?=\d)", r"\1 and "),
    rule(r"(?<=:\d\d)\s?/(km|mi)\b", lambda match: " per kilometer" if match[1] == "km" else " per mile"),  # 9:30/mi
    # --- times of day ---------------------------------------------------------------------------------------------
    rule(r"\b(noon|midday|midnight)\s?[-–—]\s?(?=\d|noon|midnight)", r"\1 to "),
    rule(r"(?<=[\dmM.])\s?[-–—]\s?(?=(?:noon|midday|midnight)\b)", " to "),
    rule(r"\b(\d\d?(?::\d\d)?)a\s?[-–—]\s?(\d\d?(?::\d\d)?)p\b", r"\1 am to \2 pm"),
    rule(r"(?<![\w:.,$€£])(1[0-2]|[1-9])([0-5]\d)(?=\s?(?:am|pm|AM|PM)\b)", r"\1:\2"),
    rule(r"\b((?:[01]\d|2[0-3])[0-5]\d)\s?hrs\b", r"\1 hours"),
    rule(
        r"(\b(?:at|by|until|till|from|around|before|after) )(0\d|1\d|2[0-3])([0-5]\d)(?= hours\b)"
        r"|()\b(0\d)([0-5]\d)(?= hours\b)"
        r"|(\b(?:at|by|until|till) )(0\d)([0-5]\d)\b(?![\w-]|[.,:]\d| \d)",
        _military,
    ),
    rule(r"(\b(?:at|by|until|till|from|around) \d\d?|\b(?:1[3-9]|2[0-3]))\s?h\s?([0-5]\d)\b(?!\s?m)", r"\1:\2"),
    rule(
        r"(?<![\w:.,])(\d\d?)(?:(?:h|hrs?)([0-5]?\d)(?:m|mins?)?|\s?(?:h|hrs?)\.?,?\s?([0-5]?\d)\s?(?:m|mins?))(?![\w/])(?![.,]\d)",
        _hours_and_minutes,
    ),
    rule(rf"\b(\d{{1,2}})\.([0-5]\d)(?=\s?(?:{_HALF}))", r"\1:\2"),
    rule(
        r"(?P<before>\b(?:at|by|until|till|from) |@ ?)(?P<hour>1?\d|2[0-3])\.(?P<minute>[0-5][05])(?![\w%°$€£]|[.,]\d)",
        _dotted_time,
    ),
    rule(
        rf"\b(?P<first>\d{{1,2}}:\d{{2}}(?:\s?(?:{_HALF}))?|\d{{1,2}}\s?(?:{_HALF}))\s?[-–—]\s?(?={_CLOCK})",
        r"\g<first> to ",
    ),
    rule(
        rf"\b(?P<first>\d{{1,2}})\s?[-–—]\s?(?={_CLOCK}\s?(?:{_HALF}))",
        lambda match: f"{cardinal(int(match['first']))} to ",
    ),
    rule(
        rf"\b(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}})(?!\d)(?::(?P<second>\d{{2}}))?(?:\s*(?P<half>{_HALF})|h\b|\s?hrs\b)?",
        _time,
    ),
    rule(rf"\b(?P<hour>\d{{1,2}})(?P<minute>)\s*(?P<half>{_HALF})", _time),
    rule(r"\b(\d{1,2}) o'?clock\b", lambda match: f"{cardinal(int(match[1]))} o'clock"),
    # --- years ----------------------------------------------------------------------------------------------------
    rule(r"(?<=\d0s)\s?[-–—]\s?(?='?(?:\d\d)?\d0s\b)", " to "),
    rule(r"\bca?\.\s?(?=1\d{3}\b|20\d\d\b)", "circa "),
    rule(r"\bca\.\s?(?=\d)", "about "),
    rule(r"(\b(?:[Tt]he|early|late|mid) )'?00'?s\b", r"\1two thousands"),
    rule(r"\b(?P<number>\d{3}0)'?s\b", _decade),
    rule(r"(?<!\w)'?(?P<number>[1-9]0)'?s\b", _decade),
    rule(r"(?<!\w)('\d\d)\s?[-–—]\s?(?='\d\d\b)", r"\1 to "),
    rule(r"(?<!\w)'0(\d)\b", lambda match: f"oh {cardinal(int(match[1]))}"),
    rule(r"(?<!\w)'([1-9]\d)\b", lambda match: cardinal(int(match[1]))),
    rule(
        r"(?<![\w,.$€£/-])(?P<first>1[1-9]\d\d|20\d\d)\s?[-–/]\s?(?P<second>(?:1[1-9]|20)\d\d|\d\d)(?![\w,]|[-/.]\d|\s?%)",
        _span,
    ),
    rule(r"\b24/7/365\b", "twenty four seven, three sixty five"),
    rule(r"\b24/7\b", "twenty four seven"),
    rule(r"\b(\d+) ?(BCE?|CE|AD)\b", lambda match: f"{_ancient(match[1])} {' '.join(match[2])}"),
    rule(r"\bAD ?(\d+)\b", lambda match: f"A D {_ancient(match[1])}"),
)
