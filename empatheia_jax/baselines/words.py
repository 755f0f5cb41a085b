"""How a dialogue becomes words, and words become numbers: as in KEMP, CEM and CASE."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object, write_json

MARKS = ("UNK", "PAD", "EOS", "SOS", "USR", "SYS", "CLS", "KG", "SEP")
"""Entries of the vocabulary that are no words: unknown, padding, end and start of a reply, who speaks (speaker, listener), root
of a context, an external concept, root of the concepts. The order is CASE's; no word looks like them, since words are in lower
case.
"""
UNK, PAD, EOS, SOS, USR, SYS, CLS, KG, SEP = range(len(MARKS))
FILE = "vocabulary.json"

# fmt: off
CONTRACTIONS = (
    ("it's", "it is"), ("don't", "do not"), ("doesn't", "does not"), ("didn't", "did not"), ("you'd", "you would"),
    ("you're", "you are"), ("you'll", "you will"), ("i'm", "i am"), ("they're", "they are"), ("that's", "that is"),
    ("what's", "what is"), ("couldn't", "could not"), ("i've", "i have"), ("we've", "we have"), ("can't", "cannot"),
    ("i'd", "i would"), ("aren't", "are not"), ("isn't", "is not"), ("wasn't", "was not"), ("weren't", "were not"),
    ("won't", "will not"), ("there's", "there is"), ("there're", "there are"),
)
# fmt: on
"""The 23 rewritings of the three repositories."""
_WORD = re.compile(r"n't|'\w+|\w+(?=n't)|\w+|[^\w\s]")
_NO_BLANK_BEFORE = re.compile(r" ([.,!?;:%)\]}]|n't\b|'(?:s|d|m|re|ve|ll)\b)")


def split(text: str) -> list[str]:
    """Words and marks of a text: lower case, contractions written out, `n't` and `'s` apart."""
    text = text.lower().replace("’", "'")
    for short, full in CONTRACTIONS:
        text = text.replace(short, full)
    return _WORD.findall(text)


def join(words: Iterable[str]) -> str:
    """Words as a text, without a blank before a closing mark."""
    return _NO_BLANK_BEFORE.sub(r"\1", " ".join(words))


class Vocabulary:
    """Words by number; the first are `MARKS`."""

    def __init__(self, words: Sequence[str]):
        self.words = (*MARKS, *words)
        self._numbers = {word: number for number, word in enumerate(self.words)}

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]], at_most: int) -> Vocabulary:
        """The most frequent words of some texts, the more frequent first (in the order of letters among equals)."""
        counts = Counter(word for words in texts for word in words)
        return cls([word for word, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:at_most]])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return self._numbers.get(word, 0) >= len(MARKS)

    def numbers(self, words: Iterable[str]) -> list[int]:
        """The numbers of these words; `UNK` for a word that the vocabulary lacks."""
        return [self._numbers[word] if word in self else UNK for word in words]

    def known(self, words: Iterable[str]) -> list[int]:
        """The numbers of those of these words that the vocabulary has."""
        return [self._numbers[word] for word in words if word in self]

    def text(self, numbers: Iterable[int]) -> str:
        """The words up to the end mark, as a text."""
        found: list[str] = []
        for number in numbers:
            if number == EOS:
                break
            found.append(self.words[number])
        return join(found)

    def write(self, path: Path) -> None:
        """Writes it as JSON."""
        write_json(path, {"words": list(self.words[len(MARKS) :])}, indent=None)

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Reads what `write` wrote. Raises `UserError` where that is no vocabulary."""
        found = read_json_object(path, "the vocabulary of a text baseline").get("words")
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise UserError(f"{path} has no list 'words'; expected the vocabulary that a training of a baseline wrote")
        return cls(found)
