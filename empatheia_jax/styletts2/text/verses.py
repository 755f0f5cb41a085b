"""Chapter and verse of the Bible and the Quran, which look like times of day: "Psalm 23:4", "1 Cor. 13:4-7"."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import cardinal
from empatheia_jax.styletts2.text.rules import Rule, rule, words

_SHORT = {
    "Gen": "Genesis",
    "Exod": "Exodus",
    "Lev": "Leviticus",
    "Deut": "Deuteronomy",
    "Chron": "Chronicles",
    "Ps": "Psalm",
    "Prov": "Proverbs",
    "Eccl": "Ecclesiastes",
    "Isa": "Isaiah",
    "Jer": "Jeremiah",
    "Ezek": "Ezekiel",
    "Rom": "Romans",
    "Cor": "Corinthians",
    "Gal": "Galatians",
    "Eph": "Ephesians",
    "Col": "Colossians",
    "Thess": "Thessalonians",
    "Heb": "Hebrews",
    "Rev": "Revelation",
}
_BOOKS = (
    *(
        "Psalms",
        "Leviticus",
        "Numbers",
        "Judges",
        "Kings",
        "Song of Songs",
        "Lamentations",
        "Obadiah",
        "Habakkuk",
        "Zephaniah",
    ),
    *("Haggai", "Acts", "Philippians", "Quran", "Qur'an", "Koran", "Surah", "Sura", "Gita"),
)
# People have these names, too: "John 10:30 at the gate" is an appointment.
_NAMES = (
    *(
        "Joshua",
        "Ruth",
        "Samuel",
        "Ezra",
        "Nehemiah",
        "Esther",
        "Job",
        "Daniel",
        "Hosea",
        "Joel",
        "Amos",
        "Jonah",
        "Micah",
    ),
    *(
        "Nahum",
        "Zechariah",
        "Malachi",
        "Matthew",
        "Mark",
        "Luke",
        "John",
        "Timothy",
        "Titus",
        "Philemon",
        "James",
        "Peter",
        "Jude",
    ),
)
_BOOK = words({*_SHORT, *_SHORT.values(), *_BOOKS, *_NAMES})
_PARTS = {"1": "First ", "2": "Second ", "3": "Third "}


def _may_be_a_time(match: re.Match[str]) -> bool:
    """A name with an hour and minutes that people say, in steps of five: neither "John 3:16" nor "Luke 15:4"."""
    hour, minutes = int(match["chapter"]), match["first"]
    alone = not (match["part"] or match["last"])
    return alone and match["book"] in _NAMES and hour < 24 and len(minutes) == 2 and int(minutes) in range(0, 60, 5)


def _verse(match: re.Match[str]) -> str:
    """Psalm 23:4 → Psalm twenty three, verse four; 1 Cor. 13:4-7 → First Corinthians thirteen, verses four to seven."""
    if _may_be_a_time(match):
        return match[0]
    book = _PARTS.get(match["part"], "") + _SHORT.get(match["book"], match["book"])
    chapter, first = cardinal(int(match["chapter"])), cardinal(int(match["first"]))
    if match["last"]:
        return f"{book} {chapter}, verses {first} to {cardinal(int(match['last']))}"
    return f"{book} {chapter}, verse {first}"


RULES: tuple[Rule, ...] = (
    rule(
        rf"\b(?:(?P<part>[123]) )?(?P<book>{_BOOK})\.? (?P<chapter>\d{{1,3}}):(?P<first>\d{{1,3}})(?:[-–](?P<last>\d{{1,3}}))?"
        r"(?![\w:]|\s?[ap]\.?m\b)",
        _verse,
    ),
)
