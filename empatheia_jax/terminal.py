"""Text of a model, a user or a file for the terminal: what would steer the terminal is shown, not sent."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t"


def visible(text: str) -> str:
    r"""The text with control characters (escape sequences of ANSI and OSC begin with one), marks that turn the direction
    of writing, and lone surrogates written as `\x1b`, `\u202e`, `\ud800`. Line breaks and tabs stay.
    """
    return "".join(each if each in _KEPT or not _steers(each) else _spelled(each) for each in text)


_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _steers(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTIONS


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
