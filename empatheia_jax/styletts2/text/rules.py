"""What every family of rules is written with: the type of a rule, how numbers look, where a sentence ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import resources

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

NEAR = 200
"""Characters before and after a match that may say what it means: a text of any length is read in a time that grows with it."""

NUMBER = r"(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)"
"""12, 1,234, 3.14, .5"""

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def word_list(name: str) -> frozenset[str]:
    """The words of a file beside this one; lines with # explain."""
    lines = (resources.files(__package__) / name).read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


_STARTERS = word_list("sentence_starters.txt")


def rule(pattern: str, replacement: str | Callable[[re.Match[str]], str], flags: int = 0) -> Rule:
    """A pattern and what takes the place of each of its matches."""
    return re.compile(pattern, flags), replacement


def words(table: Iterable[str]) -> str:
    """An alternative of literal words, longest first."""
    return "|".join(re.escape(key) for key in sorted(table, key=len, reverse=True))


def near(match: re.Match[str]) -> str:
    """What stands around a match."""
    return match.string[max(0, match.start() - NEAR) : match.end() + NEAR]


def ends_sentence(match: re.Match[str], *, names: bool = False) -> bool:
    """Whether a sentence ends where the match ends: at the end of the text or before a word that begins a sentence.

    Args:
        names: whether a name may follow in the same sentence, as after "U.S."; if not, any word with a capital begins a
            sentence, except days, months and time zones.
    """
    rest = match.string[match.end() :]
    if not rest.strip(" \"')”"):
        return True
    following = re.match(r"[\"')”]*\s+[\"'(“]*([A-Z][A-Za-z']*)", rest)
    if not following:
        return False
    word = following[1]
    if names:
        return word in _STARTERS
    return word not in (*MONTHS, *DAYS) and (word == "I" or not word.isupper())
