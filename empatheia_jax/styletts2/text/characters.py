"""Which characters can be spoken: quotation marks, accents and other scripts on the way in, punctuation on the way out."""

from __future__ import annotations

import re
import unicodedata

PUNCTUATION = ';:,.!?—…"“”()'
"""Punctuation that survives normalisation; both symbol tables know all of it except the brackets (Kokoro's only)."""

_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "`": "'", "´": "'", "«": '"', "»": '"', "„": '"', "¿": "", "¡": "", "\u00ad": ""}
)
_VULGAR = {character: unicodedata.normalize("NFKC", character).replace("⁄", "/") for character in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
# Letters that are no letter with an accent, as English writes them.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
    | {"ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ı": "i"}
)
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_SUPERSCRIPTS = str.maketrans(dict(zip(_RAISED + "⁺⁻", "0123456789+-")))
_SIGNS = frozenset(PUNCTUATION + "'-–−&=+/%@#*_~`<>[]^|\\°×÷±≈≤≥¢$€£¥₹₱₩₦₪₺₽§¶\n")
_HEARTS = "❤♥💕💖💗💙💚💛💜🧡🖤🤍🤎💓💘💝"


def plain(text: str) -> str:
    """Latin letters without accents, digits, known signs and line breaks; everything else is a space or nothing.

    English words that came with an accent (fiancé, naïve) sound as they do without: no dictionary of pronunciations has them
    with it.
    """
    text = re.sub(
        r"[µμ](?=[gG]\b)", "mc", text.translate(_QUOTES)
    )  # micrograms are a thousandth of what is left without the sign
    text = re.sub(r"№\s?|\b[Nn][º°]\s?(?=\d)", "No. ", text)
    text = re.sub(rf"(?<=[^\W\d_]{{2}})[{_RAISED}]+(?<![²³])|(?<=[.,;!?])[{_RAISED}]+", "", text)  # marks of footnotes
    text = re.sub(rf"(?<=[\w)])[⁺⁻]?[{_RAISED}]+", lambda raised: "^" + raised[0].translate(_SUPERSCRIPTS), text)
    text = re.sub(r"(?<=[\w%°$€£])\s*(?:→|⇒|➡\ufe0f?|-{1,2}>|=>)\s*(?=[$€£~]?\d)", " to ", text)
    text = re.sub(r"(?<=\w)\s*(?:→|⇒|➡\ufe0f?|-{1,2}>)\s*(?=\w)", ", ", text)
    text = re.sub(r"(?<=\d)º", "°", text).replace("‰", " per thousand").replace("∞", " infinity ")
    text = re.sub(r"√\s?(?=\d)", " square root of ", text)
    for character, spelled in _VULGAR.items():
        text = re.sub(rf"(?<=\d)\s?{character}", f" {spelled}", text).replace(character, spelled)
    text = re.sub(rf"\b([Ii]) (?:[{_HEARTS}]\ufe0f?|<3) ?(?=\w)", r"\1 love ", text)
    text = text.replace("…", "...")
    text = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).translate(_LETTERS))
    text = "".join(map(_speakable, text))
    text = re.sub(r"(?:\s*\n\s*){2,}", "\n\n", text)
    return re.sub(r"(?<=[\w'\"])\s*\n\n", ".\n", text)  # a heading or list item without a full stop ends a sentence


def _speakable(character: str) -> str:
    """Latin letters, digits and known signs stay; any other character (emoji, controls, other scripts) → a space."""
    if character in _SIGNS or unicodedata.name(character, "").startswith("LATIN "):
        return character
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    return "" if unicodedata.category(character) in ("Mn", "Me", "Cf") else " "


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
        (r"(?<=\w)([,;:!?])(?=[^\W\d_])", r"\1 "),
        (r"(?<=[a-z])([.])(?=[A-Z][a-z]|I\b)", r"\1 "),
        (r"(?<=\w)\s+\"(?=[\s.,;:!?)]|$)", '"'),
        (r"\(\s+", "("),
        (r"[,;:]+([.!?])", r"\1"),
        (r"([.!?…])[.,;:]+", r"\1"),
        (r"^[\s;:,.!?…—)]+", ""),
    )
)


def tidy(text: str) -> str:
    """Drops what no rule gave words to, and punctuation that nothing is left to belong to."""
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return text if any(character.isalnum() for character in text) else ""
