"""Kokoro's symbol table, as the `vocab` of its released `config.json` states it: the tests need it where no weights are.

It keeps StyleTTS2's numbers for the symbols that it uses, and gives eleven numbers to other symbols.
"""

from __future__ import annotations

from empatheia_jax.styletts2.symbols import STYLETTS2, SymbolTable

KEEPS = ';:,.!?—…"“” IOQSTWYabcdefhijklmnopqrstuvwxyzɑɐɒæβɔɕçɖðʤəɚɛɜɟɡɥɨɪʝɯɰŋɳɲɴøɸθœɹɾɻʁɽʂʃʈʧʊʋʌɣɤχʎʒʔˈˌːʰʲ↓→↗↘ᵻ'
OWN = {"(": 12, ")": 13, "\u0303": 17, "ʣ": 18, "ʥ": 19, "ʦ": 20, "ʨ": 21, "ᵝ": 22, "ꭧ": 23, "A": 24, "ᵊ": 42}
KOKORO = SymbolTable("Kokoro", {symbol: STYLETTS2.numbers[symbol] for symbol in KEEPS} | OWN)
