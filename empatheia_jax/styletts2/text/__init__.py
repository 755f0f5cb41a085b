"""Written English → English as it is spoken: numbers, money, dates, telephone numbers, abbreviations, links, emoji.

`normalise` runs the rules of the modules of this folder one after the other, most specific first, so that what a rule
leaves is plain words and the punctuation that the speech model knows. It never fails: what cannot be spoken is dropped.

Why our own rules: gruut's normaliser (num2words and babel) reads "911" as an amount and "9/11" as a date of this year; NVIDIA's
nemo_text_processing needs pynini, for which many systems have no wheel, and says no chat words; neither knows helplines.
"""

from __future__ import annotations

from functools import partial

from empatheia_jax.styletts2.text import (
    abbreviations,
    ages,
    calendar,
    characters,
    chat,
    codes,
    continental,
    letters,
    links,
    money,
    numbers,
    quantities,
    telephone,
    verses,
)
from empatheia_jax.styletts2.text.characters import PUNCTUATION

__all__ = ["PUNCTUATION", "normalise", "normalize"]

_RULES = (
    *codes.STAR_CODES,
    *links.RULES,
    *letters.ELONGATION,
    *verses.RULES,
    *telephone.RULES,
    *ages.RULES,
    *codes.RULES,
    *abbreviations.RULES,
    *chat.RULES,
    *continental.RULES,
    *calendar.RULES,
    *numbers.POWERS,
    *quantities.COMPARED,
    *quantities.RATES,
    *money.RULES,
    *quantities.RULES,
    *numbers.RULES,
    *letters.RULES,
)


def normalise(text: str) -> str:
    """Rewrites English text the way a person would read it aloud.

    >>> normalise("Dr. Lee paid $3.50 on 3/4/2021 🙂")
    'Doctor Lee paid three dollars and fifty cents on March fourth, twenty twenty one'

    Returns words, apostrophes, spaces and `PUNCTUATION`; the empty string where nothing can be spoken.
    """
    text = letters.calm(characters.plain(text))
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return characters.tidy(text)


normalize = partial(normalise)  # the other spelling
