"""What the baselines know beside the dialogue, from files that a user supplies; nothing of it can be shipped.

    KNOWLEDGE/comet.jsonl                what COMET infers: a line for each utterance and each of its sentences,
                                         {"utterance": "…", "xIntent": ["to be kind", …], "xNeed": […], "xWant": […],
                                          "xEffect": […], "xReact": […]}; the first 5 of each count
    KNOWLEDGE/assertions.csv (or .gz)    ConceptNet 5.7 as released: five columns with tabs between them
    KNOWLEDGE/NRC-VAD-Lexicon.txt        as released: word, valence, arousal and dominance (0 to 1) with tabs between them

KEMP reads ConceptNet and VAD, CEM reads COMET, CASE reads all three. Without a folder a baseline trains and answers from the
dialogue alone. This is the reduced mode, and its replies say so.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from empatheia_jax.baselines import words
from empatheia_jax.baselines.settings import Kind
from empatheia_jax.errors import UserError
from empatheia_jax.files import parse_line, require_regular

RELATIONS = ("xIntent", "xNeed", "xWant", "xEffect", "xReact")
"""What COMET is asked of an utterance: the speaker's intent, what came before, what follows, and what the speaker feels."""
INFERENCES = 5
COMET, CONCEPTNET, VAD = "comet.jsonl", "assertions.csv", "NRC-VAD-Lexicon.txt"
NEEDS: Mapping[Kind, tuple[str, ...]] = {"kemp": (CONCEPTNET, VAD), "cem": (COMET,), "case": (COMET, CONCEPTNET, VAD)}
INTENSE = 0.6
"""Least emotional intensity of a concept that is taken."""
# fmt: off
LEFT_OUT = frozenset((
    "Antonym", "ExternalURL", "NotDesires", "NotHasProperty", "NotCapableOf", "dbpedia", "DistinctFrom", "SymbolOf", "FormOf",
    "EtymologicallyDerivedFrom", "EtymologicallyRelatedTo", "AtLocation", "DerivedFrom", "CreatedBy", "Synonym", "MadeOf",
))
# fmt: on
"""Relations of ConceptNet that KEMP and CASE do not follow."""
_NEUTRAL = (0.5, 0.0, 0.5)


def intensity(valence: float, arousal: float) -> float:
    """Emotional intensity of a word (KEMP's equation 1): the distance of (valence, arousal / 2) from (1/2, 0), from 0 to 1."""
    return (math.hypot(valence - 0.5, arousal / 2) - 0.06467) / 0.607468


@dataclass(frozen=True)
class Knowledge:
    """inferences: words of an utterance → relation → phrases; concepts: word → its concepts, the best first; vad: word → valence,
    arousal, dominance. Empty where there is no file.
    """

    inferences: Mapping[tuple[str, ...], Mapping[str, tuple[tuple[str, ...], ...]]] = field(default_factory=dict)
    concepts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    vad: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def intensity(self, word: str) -> float:
        """Emotional intensity of a word; 0 where it is not known."""
        found = self.vad.get(word)
        return 0.0 if found is None else intensity(found[0], found[1])

    def inferred(self, utterance: Sequence[str], relation: str) -> tuple[tuple[str, ...], ...]:
        """What COMET says of an utterance; nothing where it was not asked."""
        return self.inferences.get(tuple(utterance), {}).get(relation, ())


NONE = Knowledge()


def read(folder: Path | None, kind: Kind, vocabulary: words.Vocabulary) -> Knowledge:
    """The knowledge that a baseline reads; `None` as the folder: none at all.

    Raises:
      UserError: a file is missing or malformed.
    """
    if folder is None:
        return NONE
    found = {name: _file(folder, name) for name in NEEDS[kind]}
    if missing := [name for name, path in found.items() if path is None]:
        raise UserError(
            f"{folder} has no {' and no '.join(missing)}, which {kind.upper()} reads; expected the files that docs/baselines.md "
            'describes, or --config.knowledge="" for the reduced mode without knowledge'
        )
    paths = {name: path for name, path in found.items() if path is not None}
    vad = _vad(paths[VAD]) if VAD in paths else {}
    return Knowledge(
        inferences=_inferences(paths[COMET]) if COMET in paths else {},
        concepts=_concepts(paths[CONCEPTNET], vad, vocabulary) if CONCEPTNET in paths else {},
        vad=vad,
    )


def _file(folder: Path, name: str) -> Path | None:
    known = [path for path in (folder / name, folder / f"{name}.gz") if path.exists()]
    return known[0] if known else None


def _lines(path: Path, expected: str) -> Iterator[tuple[int, str]]:
    require_regular(path, expected)
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}); expected {expected}") from None


def _inferences(path: Path) -> dict[tuple[str, ...], dict[str, tuple[tuple[str, ...], ...]]]:
    found: dict[tuple[str, ...], dict[str, tuple[tuple[str, ...], ...]]] = {}
    expected = 'lines of JSON with "utterance" and a list of phrases for each of ' + ", ".join(RELATIONS)
    for number, line in _lines(path, expected):
        try:
            value = parse_line(line)
            phrases = {name: [words.split(each) for each in value[name]][:INFERENCES] for name in RELATIONS}
            utterance = tuple(words.split(value["utterance"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}, line {number}: expected {expected}") from None
        found[utterance] = {
            name: tuple(tuple(phrase) for phrase in each if phrase and phrase != ["none"])
            for name, each in phrases.items()
        }
    return found


def _vad(path: Path) -> dict[str, tuple[float, float, float]]:
    found: dict[str, tuple[float, float, float]] = {}
    expected = "a word and three numbers of 0 to 1 with tabs between them"
    for number, line in _lines(path, expected):
        word, *values = line.split("\t")
        try:
            valence, arousal, dominance = (float(each) for each in values)
        except ValueError:
            if number == 1:  # the released file begins with the names of its columns
                continue
            raise UserError(f"{path}, line {number}: {line[:60]!r}; expected {expected}") from None
        if not all(0 <= each <= 1 for each in (valence, arousal, dominance)):
            raise UserError(f"{path}, line {number}: {line[:60]!r}; expected {expected}")
        found[word.strip().lower()] = (valence, arousal, dominance)
    return found


def _concepts(
    path: Path, vad: Mapping[str, tuple[float, float, float]], vocabulary: words.Vocabulary
) -> dict[str, tuple[str, ...]]:
    """Word → concepts by falling score: intensity of the concept + 1 − half the distance of the two in valence and arousal."""
    scores: dict[str, dict[str, float]] = {}
    expected = "five columns with tabs between them (URI, /r/relation, /c/en/word, /c/en/word, JSON with a weight)"
    for number, line in _lines(path, expected):
        columns = line.split("\t")
        try:
            relation, (_, one), (_, other) = columns[1].split("/")[2], _term(columns[2]), _term(columns[3])
            languages = columns[2].split("/")[2], columns[3].split("/")[2]
            if languages != ("en", "en") or relation in LEFT_OUT or float(json.loads(columns[4])["weight"]) < 1:
                continue
        except (IndexError, ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number}: {line[:60]!r}; expected {expected}") from None
        if one == other or not (one.isalpha() and other.isalpha()) or one not in vocabulary or other not in vocabulary:
            continue
        (v1, a1, _), (v2, a2, _) = vad.get(one, _NEUTRAL), vad.get(other, _NEUTRAL)
        near = 1 - (abs(v1 - v2) + abs(a1 - a2)) / 2
        for word, concept in ((one, other), (other, one)):
            if concept in vad and concept not in ENGLISH_STOP_WORDS and word not in ENGLISH_STOP_WORDS:
                strength = intensity(*vad[concept][:2])
                if strength >= INTENSE:
                    scores.setdefault(word, {})[concept] = strength + near
    return {word: tuple(sorted(each, key=lambda other: (-each[other], other))) for word, each in scores.items()}


def _term(uri: str) -> tuple[str, str]:
    parts = uri.split("/")
    return parts[2], parts[3]
