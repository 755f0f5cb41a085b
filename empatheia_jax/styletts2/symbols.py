"""Symbol tables: phoneme string → the numbers that the text encoder was trained on.

StyleTTS2's table is written in the order of its definition (yl4579/StyleTTS2 `text_utils.py`). Kokoro's table is read from its
weights folder (the released `vocab` of `config.json`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from empatheia_jax.errors import UserError

_ORDER = (
    "$"  # padding; also what stands before and after a sentence
    ';:,.!?¡¿—…"«»“” '
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃ"
    "ˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'̩'ᵻ"  # the apostrophe is listed twice: its second number counts
)

# What comes nearest where a table lacks a symbol: "" = leave it out.
_NEAREST = {
    "g": "ɡ",
    "r": "ɹ",
    "ɝ": "ɜɹ",
    "ɚ": "əɹ",
    "ɫ": "l",
    "ɬ": "l",
    "ɺ": "ɾ",
    "ʀ": "ʁ",
    "ʍ": "w",
    "ɱ": "m",
    "ɦ": "h",
    "ħ": "h",
    "ɘ": "ə",
    "ɵ": "ə",
    "ɞ": "ɜ",
    "ʉ": "u",
    "ʏ": "y",
    "ʑ": "ʒ",
    "ʐ": "ʒ",
    "ᵻ": "ɪ",
    "ʦ": "ts",
    "ʣ": "dz",
    "«": '"',
    "»": '"',
    "'": "",
    "\u0329": "",
    "\u0361": "",
    "\u0303": "",
    "ˑ": "",
    "ʼ": "",
    "ʷ": "",
    "(": ",",
    ")": ",",
    "\n": " ",
    "-": "",
}


@dataclass(frozen=True)
class SymbolTable:
    """Phoneme symbols and their numbers.

    Attributes:
        pad: number that stands before every piece of text (never inside one).
        closed: whether it stands after every piece too: so in Kokoro, not in StyleTTS2.
        apart: whether punctuation is set off by a space: so in StyleTTS2's training text, not in Kokoro's.
    """

    name: str
    numbers: Mapping[str, int] = field(repr=False)
    pad: int = 0
    closed: bool = True
    apart: bool = False

    @property
    def size(self) -> int:
        """Rows that an embedding of this table needs."""
        return max(self.numbers.values()) + 1

    @staticmethod
    def from_vocab(name: str, vocab: Mapping[str, int]) -> SymbolTable:
        """The table in a weights folder's configuration. Raises `UserError` unless it maps single symbols to counts."""
        wrong = [
            symbol for symbol, number in vocab.items() if len(symbol) != 1 or not isinstance(number, int) or number < 0
        ]
        if wrong or not vocab:
            raise UserError(
                f"symbol table {name}: expected single symbols with numbers ≥ 0; found {wrong[:5] or 'none'}"
            )
        return SymbolTable(name, {symbol: number for symbol, number in vocab.items() if number != 0})

    def unknown(self, phonemes: str) -> str:
        """The symbols of `phonemes` that this table neither has nor has a neighbour for, each once."""
        return "".join(dict.fromkeys(s for s in phonemes if s not in self.numbers and s not in _NEAREST))

    def fit(self, phonemes: str) -> str:
        """Replaces symbols that the table lacks by their nearest, drops those that have none."""
        fitted = []
        for symbol in phonemes:
            if symbol in self.numbers:
                fitted.append(symbol)
            else:
                fitted.extend(near for near in _NEAREST.get(symbol, "") if near in self.numbers)
        return "".join(fitted)

    def spell(self, phonemes: str) -> str:
        """A phonemizer's output as this table's model was trained on it: `fit`, and the spaces around punctuation."""
        phonemes = self.fit(phonemes)
        return re.sub(r"(?<=\S)([;:,.!?…—]+)", r" \1", phonemes) if self.apart else phonemes

    def encode(self, phonemes: str) -> list[int]:
        """Numbers of `phonemes`, with the pads.

        Raises:
            UserError: a symbol without number or neighbour, or nothing left to say.
        """
        if unknown := self.unknown(phonemes):
            raise UserError(
                f"phonemes hold {unknown!r}, which the {self.name} symbol table ({len(self.numbers)} symbols) lacks; "
                "leave them out"
            )
        numbers = [self.numbers[symbol] for symbol in self.fit(phonemes)]
        if not numbers:
            raise UserError("no phonemes to say; expected at least one symbol")
        return [self.pad, *numbers, *([self.pad] if self.closed else [])]

    def pieces(self, numbers: Int[np.ndarray, " T"]) -> list[Int[np.ndarray, " _"]]:
        """Cuts the numbers of several pieces, one after the other, into those of each."""
        numbers = np.asarray(numbers)
        starts = numbers[1:] == self.pad
        if self.closed:
            starts &= numbers[:-1] == self.pad
        return np.split(numbers, np.flatnonzero(starts) + 1)

    def decode(self, numbers) -> str:
        """The phonemes of `encode`'s numbers, without the pads."""
        symbols = {number: symbol for symbol, number in self.numbers.items()}
        return "".join(symbols[int(number)] for number in numbers if int(number) != self.pad)


# The pad's own sign is no symbol of a text.
STYLETTS2 = SymbolTable("StyleTTS2", {s: number for number, s in enumerate(_ORDER) if number}, closed=False, apart=True)
