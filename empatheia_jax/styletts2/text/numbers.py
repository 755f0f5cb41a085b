"""Numbers that nothing else has claimed: ordinals, roman numerals, versions, ranges, years, arithmetic."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import cardinal, decimal, digits, ordinal, roman, year
from empatheia_jax.styletts2.text.rules import NUMBER, Rule, rule

_ROMAN = r"C?(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?<=[IVXLC])"
_RULERS = (
    "Henry|Edward|George|Charles|Elizabeth|James|William|Mary|Richard|Louis|Philip|Paul|Benedict|Pius|Francis|Nicholas|Catherine"
    "|Alexander|Frederick|Napoleon|Ramses|Gregory|Leo|Harald|Carl|Felipe|Victoria|Ivan|Peter"
)
_NUMBERED = (
    "World War|Super Bowl|Final Fantasy|Rocky|Part|Chapter|Act|Scene|Book|Volume|Phase|Type|Level|Stage|Grade|Class|Section|Title"
    "|Article|Step|Round|Appendix|Schedule|Tier|Mark|Bipolar"
)

_BOOKS = (
    "Genesis|Gen|Exodus|Exod|Ex|Leviticus|Lev|Numbers|Deuteronomy|Deut|Joshua|Josh|Judges|Ruth|Samuel|Sam|Kings|Chronicles|Chron"
    "|Ezra|Nehemiah|Esther|Job|Psalms?|Ps|Proverbs|Prov|Ecclesiastes|Eccl|Song of Songs|Isaiah|Isa|Jeremiah|Jer|Lamentations"
    "|Ezekiel|Ezek|Daniel|Dan|Hosea|Joel|Amos|Obadiah|Jonah|Micah|Nahum|Habakkuk|Zephaniah|Haggai|Zechariah|Malachi|Matthew|Matt"
    "|Mark|Luke|John|Acts|Romans|Rom|Corinthians|Cor|Galatians|Gal|Ephesians|Eph|Philippians|Phil|Colossians|Col|Thessalonians"
    "|Thess|Timothy|Tim|Titus|Philemon|Hebrews|Heb|James|Peter|Jude|Revelation|Rev|Quran|Qur'an|Koran|Surah|Sura|Gita"
)
_BOOK_IN_FULL = {
    "Gen": "Genesis", "Exod": "Exodus", "Ex": "Exodus", "Lev": "Leviticus", "Deut": "Deuteronomy", "Josh": "Joshua",
    "Sam": "Samuel", "Chron": "Chronicles", "Ps": "Psalm", "Prov": "Proverbs", "Eccl": "Ecclesiastes", "Isa": "Isaiah",
    "Jer": "Jeremiah",
    "Ezek": "Ezekiel", "Dan": "Daniel", "Matt": "Matthew", "Rom": "Romans", "Cor": "Corinthians", "Gal": "Galatians",
    "Eph": "Ephesians", "Phil": "Philippians", "Col": "Colossians", "Thess": "Thessalonians", "Tim": "Timothy", "Heb": "Hebrews",
    "Rev": "Revelation",
}  # fmt: skip


def _verse(match: re.Match[str]) -> str:
    """Psalm 23:4 → Psalm twenty three, verse four; 1 Cor. 13:4-7 → First Corinthians thirteen, verses four to seven."""
    part = {"1": "First ", "2": "Second ", "3": "Third "}.get(match["part"] or "", "")
    said = f"{part}{_BOOK_IN_FULL.get(match['book'], match['book'])} {cardinal(int(match['chapter']))}, verse"
    first, last = int(match["first"]), match["last"]
    return f"{said}s {cardinal(first)} to {cardinal(int(last))}" if last else f"{said} {cardinal(first)}"


VERSES: tuple[Rule, ...] = (
    rule(
        rf"\b(?:(?P<part>[123]) )?(?P<book>{_BOOKS})\.? (?P<chapter>\d{{1,3}}):(?P<first>\d{{1,3}})(?:[-–](?P<last>\d{{1,3}}))?"
        r"(?![\w:]|\s?[ap]\.?m\b)",
        _verse,
    ),
)
"""Chapter and verse, which look like times of day; they come before these."""


def _version(match: re.Match[str]) -> str:
    """17.4.1 → seventeen point four point one."""
    return " point ".join(cardinal(int(part)) for part in match["number"].split("."))


def _range(match: re.Match[str]) -> str:
    return f"{decimal(match[1])} to {decimal(match[2])}"


def _times(match: re.Match[str]) -> str:
    return f"{decimal(match[1])} times"


RULES: tuple[Rule, ...] = (
    rule(r"\b(\d+)(?:st|nd|rd|th|ST|ND|RD|TH)\b", lambda match: ordinal(int(match[1]))),
    rule(rf"\b({_NUMBERED}) ({_ROMAN})\b(?!')", lambda match: f"{match[1]} {cardinal(roman(match[2]))}"),
    rule(
        rf"\b((?:{_RULERS})(?: [A-Z][a-z]+)?) (?!I\b)({_ROMAN})\b",
        lambda match: f"{match[1]} the {ordinal(roman(match[2])).capitalize()}",
    ),
    rule(
        r"(?<=[A-Z][a-z] )\b(II|III|IV)\b(?=[,.;!?]|\s*$|\s[a-z])",
        lambda match: f"the {ordinal(roman(match[1])).capitalize()}",
    ),
    rule(r"\bv(?:er(?:sion)?)?\.?\s?(?P<number>\d+(?:\.\d+)+)\b", lambda match: f"version {_version(match)}", re.I),
    rule(r"(?<![\w.,])(?P<number>\d+(?:\.\d+){2,})\b(?!\.\d)", _version),
    rule(
        r"(?<![\w.,])(\d{1,3}(?: \d{3})+)(?![\w,]|[.,]\d| \d)", lambda match: cardinal(int(match[1].replace(" ", "")))
    ),
    rule(rf"({NUMBER})\s*[-−]\s*(?={NUMBER}\s*=)", lambda match: f"{decimal(match[1])} minus "),
    rule(rf"(?<![\w.])({NUMBER})\s?[-–—]\s?({NUMBER})(?![\w-])", _range),
    rule(r"(?<![\w,.])(1[1-9]\d\d|20\d\d)(?!\w|[.,]\d)", lambda match: year(int(match[1]))),
    rule(r"(?<![\w.,])0\d+\b(?!\.\d)", lambda match: digits(match[0])),
    rule(rf"(?<![\w.)])[-−](?=\d|\.\d)({NUMBER})", lambda match: f"minus {decimal(match[1])}"),
    rule(rf"(?<![\w.])\+(?=\d)({NUMBER})", lambda match: f"plus {decimal(match[1])}"),
    rule(rf"\b({NUMBER})\+(?=\s|$|[.,!?])", lambda match: f"{decimal(match[1])} plus"),
    rule(rf"(?<![\w~])~\s?(?={NUMBER})", "about "),
    rule(rf"±\s?(?={NUMBER})", "plus or minus "),
    rule(rf"(?<![\w<])<\s?(?={NUMBER})", "less than "),
    rule(rf"(?<![\w>])>\s?(?={NUMBER})", "more than "),
    rule(rf"\s?≤\s?(?={NUMBER})", " at most "),
    rule(rf"\s?≥\s?(?={NUMBER})", " at least "),
    rule(rf"(?<![\d.])({NUMBER})(?:x|×)(?=\s|$|[.,!?])", _times),
    rule(rf"({NUMBER})\s*[x×]\s*(?={NUMBER})", lambda match: f"{decimal(match[1])} by "),
    rule(rf"({NUMBER})\s*÷\s*(?={NUMBER})", lambda match: f"{decimal(match[1])} divided by "),
    rule(rf"(?<![A-Za-z])({NUMBER})\^2\b", lambda match: f"{decimal(match[1])} squared"),
    rule(rf"(?<![A-Za-z])({NUMBER})\^3\b", lambda match: f"{decimal(match[1])} cubed"),
    rule(rf"(?<![A-Za-z])({NUMBER})", lambda match: f"{decimal(match[1])} "),
    rule(r"\d+", lambda match: f" {cardinal(int(match[0]))} "),
)
