"""Normalised English → IPA in the spelling of espeak (American English), which StyleTTS2 and Kokoro were trained on.

Two libraries behind one interface:

* `Gruut` (MIT; extra `demo`): a lexicon and a guesser; its IPA is respelled the way espeak writes it.
* `Espeak` (GPL-3; extra `espeak`, never imported unless asked for or alone installed): the training data's own.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from typing import Protocol, runtime_checkable

from empatheia_jax.errors import UserError

_BREAKS = re.compile(r'\s*([;:,.!?—…"“”()]+)\s*')


@runtime_checkable
class Phonemizer(Protocol):
    """Turns normalised text (`text.normalise`) into IPA; punctuation stays where it was."""

    name: str

    def __call__(self, text: str) -> str: ...


MISSING = "no phonemizer is installed; run: pip install 'empatheia-jax[demo]' (gruut, MIT)"


def name_in_use(name: str = "auto") -> str | None:
    """The phonemizer that `phonemizer(name)` opens here, 'gruut' or 'espeak'; None where 'auto' finds none."""
    if name != "auto":
        return name
    makers: tuple[type[Gruut] | type[Espeak], ...] = (Gruut, Espeak)
    found = (each.name for each in makers if all(importlib.util.find_spec(module) for module in each.modules))
    return next(found, None)


def phonemizer(name: str = "auto") -> Phonemizer:
    """Opens a phonemizer: 'gruut', 'espeak', or 'auto' for the first of them that is installed.

    Raises:
        UserError: unknown name, or nothing installed.
    """
    makers: dict[str, type[Gruut] | type[Espeak]] = {"gruut": Gruut, "espeak": Espeak}
    found = name_in_use(name)
    if found is None:
        raise UserError(MISSING)
    if found not in makers:
        raise UserError(f"unknown phonemizer {name!r}; expected auto, {' or '.join(makers)}")
    return makers[found]()


def _joined(text: str, words_to_ipa) -> str:
    """Runs `words_to_ipa` on the stretches between punctuation and puts the punctuation back as written."""
    pieces = []
    for index, piece in enumerate(_BREAKS.split(text)):
        if index % 2 == 0:
            pieces.append(words_to_ipa(piece) if piece.strip() else "")
        else:
            pieces.append(_spaced(piece))
    return re.sub(r"\s+", " ", "".join(pieces)).strip()


def _spaced(marks: str) -> str:
    """Space after a mark and before an opening one, as in running text; none around a dash."""
    if marks in "—":
        return marks
    if marks in ('"', "“", "(") or marks[-1] in "“(":
        return f"{marks[:-1]} {marks[-1]}" if len(marks) > 1 else f" {marks}"
    return f"{marks} "


class Espeak:
    """espeak-ng through phonemizer: exactly StyleTTS2's training spelling."""

    name = "espeak"
    modules = ("phonemizer", "espeakng_loader")

    def __init__(self):
        try:
            import espeakng_loader
            from phonemizer.backend import EspeakBackend
            from phonemizer.backend.espeak.wrapper import EspeakWrapper
        except ImportError as error:
            raise UserError(
                f"phonemizer espeak needs {error.name}; run: pip install 'empatheia-jax[espeak]' (GPL-3)"
            ) from None
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        if hasattr(EspeakWrapper, "set_data_path"):
            EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
        quiet = logging.getLogger(__name__ + ".espeak")
        quiet.setLevel(logging.ERROR)
        self._backend = EspeakBackend("en-us", preserve_punctuation=True, with_stress=True, logger=quiet)

    def __call__(self, text: str) -> str:
        if not text.strip():
            return ""
        return self._backend.phonemize([text])[0].strip()


# Function words without stress, as espeak speaks them inside a sentence, and those with a weak one.
_UNSTRESSED = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "but",
        "nor",
        "as",
        "at",
        "by",
        "for",
        "from",
        "in",
        "into",
        "of",
        "off",
        "on",
        "than",
        "to",
        "with",
        "if",
        "so's",
        "i",
        "i'm",
        "i'll",
        "i've",
        "i'd",
        "he",
        "he's",
        "she",
        "she's",
        "it",
        "it's",
        "its",
        "we",
        "we're",
        "we've",
        "we'll",
        "you",
        "you're",
        "you've",
        "you'll",
        "your",
        "they",
        "they're",
        "they've",
        "my",
        "his",
        "her",
        "our",
        "their",
        "me's",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "am",
        "has",
        "have",
        "had",
        "do",
        "does",
        "can",
        "could",
        "will",
        "would",
        "should",
        "shall",
        "may",
        "might",
        "must",
        "that's",
        "there's",
    ]
)
_WEAKLY_STRESSED = frozenset(
    ["me", "him", "us", "them", "so", "not", "no's", "about", "over", "when", "while", "because", "who"]
)

_VOWEL = r"[ɑɐæɔəɚɛɜɪiʊuʌaeoᵻ]"
# espeak's spelling of gruut's IPA, in order.
_RESPELL: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\u0361", ""),  # t͡ʃ → tʃ
        (r"r", "ɹ"),
        (r"(?<=[tdnsz])j(?=ˈu)", ""),  # new: nˈuː, not njˈuː
        (r"([ˈˌ])ɚ", r"\1ɜː"),
        (r"ɝ", "ɜː"),
        (r"(?<![aoe])([ɑu])(?!ː)", r"\1ː"),
        (r"([ˈˌ])i", r"\1iː"),
        (rf"ɜː(?={_VOWEL})", "ɜːɹ"),  # worry
        (r"ɔ(?![ɪsfθnŋ])", "ɔː"),  # talk, but cost, off, wrong
        (rf"({_VOWEL}ː?ɹ?)t(?=(?:i|ə|ɚ|ɪ|ᵻ|oʊ))", r"\1ɾ"),  # water: the American flap
        (r"^ə(?=[^ɹ]+[ˈˌ])", "ɐ"),  # about, alone
        (r"(?<=[szʃʒ])ɪz$", "ᵻz"),  # roses
        (r"(?<=[tdɾ])ɪd$", "ᵻd"),  # wanted
    )
)

_SPELLED_OUT = {
    "a": "ɐ",
    "the": "ðə",
    "to": "tə",
    "of": "ʌv",
    "was": "wʌz",
    "what": "wˈʌt",
    "you": "juː",
    "he": "hiː",
    "she": "ʃiː",
    "we": "wiː",
    "be": "biː",
    "been": "bˌɪn",
    "me": "mˌiː",
    "her": "hɜː",
    "were": "wɜː",
    "can": "kæn",
    "on": "ˌɔn",
    "with": "wɪð",
    "for": "fɔːɹ",
    "or": "ɔːɹ",
    "your": "jʊɹ",
    "you're": "jʊɹ",
    "because": "bɪkˈʌz",
    "i": "aɪ",
    "that": "ðæt",
    "not": "nˌɑːt",
    "hmm": "hˈʌm",
    "hm": "hˈʌm",
    "mm": "ˈʌm",
    "shh": "ʃˈ",
    "aww": "ˈɔː",
    "aw": "ˈɔː",
}


class Gruut:
    """gruut's lexicon and letter-to-sound model, respelled as espeak writes American English."""

    name = "gruut"
    modules = ("gruut", "gruut_lang_en")

    def __init__(self):
        try:
            import gruut
            import gruut_lang_en  # noqa: F401  (its data; gruut finds it by name)
        except ImportError as error:
            raise UserError(f"phonemizer gruut needs {error.name}; run: pip install 'empatheia-jax[demo]'") from None
        self._sentences = gruut.sentences

    def __call__(self, text: str) -> str:
        return _joined(text, self._words)

    def _words(self, text: str) -> str:
        spoken = []
        for sentence in self._sentences(text, lang="en-us", major_breaks=False, minor_breaks=False):
            for word in sentence:
                if word.is_spoken and word.phonemes:
                    ipa = _respelled(word.text, word.phonemes)
                    if ipa:
                        spoken.append(ipa)
        return " ".join(spoken)


def _respelled(word: str, phonemes: list[str]) -> str:
    lower = word.lower()
    if lower in _SPELLED_OUT and word != "A":
        return _SPELLED_OUT[lower]
    ipa = "".join(phonemes).replace("|", "").replace("‖", "")
    for pattern, replacement in _RESPELL:
        ipa = pattern.sub(replacement, ipa)
    if lower in _UNSTRESSED:
        return ipa.replace("ˈ", "").replace("ˌ", "")
    if lower in _WEAKLY_STRESSED:
        return ipa.replace("ˈ", "ˌ")
    return ipa
