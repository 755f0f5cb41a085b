"""Long text → pieces of bounded length: sentences, and where a sentence is too long, its clauses and words.

Lengths are rounded up to a few buckets, so that a handful of compiled programs serve every sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_SENTENCE = re.compile(r"(?<=[.!?…])[\"”)]*\s+")
_CLAUSE = re.compile(r"(?<=[;:,—…])\s*")


def split_sentences(text: str) -> list[str]:
    """Splits normalised text (no abbreviations, no decimals) after its full stops, question and exclamation marks.

    >>> split_sentences('Oh no! I am so sorry. "Really?" Yes.')
    ['Oh no!', 'I am so sorry.', '"Really?"', 'Yes.']
    """
    sentences, start = [], 0
    for match in _SENTENCE.finditer(text):
        end = match.start() + len(match[0].rstrip())  # a closing quote belongs to the sentence it closes
        sentences.append(text[start:end].strip())
        start = match.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if any(character.isalnum() for character in sentence)]


def split_long(phonemes: str, limit: int) -> Iterator[str]:
    """Cuts a sentence's phonemes into pieces of at most `limit` symbols: at clauses, else at spaces, else anywhere.

    Raises:
        ValueError: `limit` below 1.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1; found {limit}")
    rest = phonemes.strip()
    while len(rest) > limit:
        head = rest[: limit + 1]
        clauses = [match.end() for match in _CLAUSE.finditer(head) if len(head[: match.end()].rstrip()) <= limit]
        # A cut near the start would leave a fragment: a clause must fill a third of the room.
        cut = next((end for end in reversed(clauses) if end >= limit // 3 and head[:end].strip()), None)
        if cut is None:
            cut = head.rfind(" ")
        if cut <= 0:
            cut = limit
        yield rest[:cut].strip()
        rest = rest[cut:].strip()
    if rest:
        yield rest


def bucket(length: int, sizes: Sequence[int]) -> int:
    """The smallest of the ascending `sizes` that holds `length`. Raises `ValueError` where none does."""
    for size in sizes:
        if length <= size:
            return size
    raise ValueError(f"length {length} exceeds the largest bucket {sizes[-1]}")
