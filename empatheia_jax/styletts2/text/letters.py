"""Words by their letters: stretched words, words in capitals, initials, and signs between words."""

from __future__ import annotations

import itertools
import re

from empatheia_jax.styletts2.text.rules import Rule, ends_sentence, rule, word_list, words

_DOUBLED = word_list("doubled_words.txt")
_ENDINGS = ("ing", "ings", "s", "es", "ed", "d", "er", "ers", "est", "ly", "y", "en", "ness")
_HUMMED = {
    "hm": "hmm",
    "m": "mm",
    "sh": "shh",
    "br": "brr",
    "gr": "grr",
    "z": "zz",
    "pf": "pff",
    "aw": "aww",
    "ps": "psst",
}

_SPELLED = word_list("spelled_words.txt")
_SHORT_WORDS = word_list("short_words.txt")
# Spelled or a word, as its neighbours say.
_US_IS_WE = re.compile(
    r"\b(?:of|to|for|with|let|lets|tell|told|help|helped|at|between|about|on|both|love|loves|leave|left|give|gave|hurt|like|hate|join"
    r"|made|make|makes|than|and|all)\s+$",
    re.I,
)
_IT_FOLLOWED = re.compile(
    r"\s+(?:department|guy|support|job|team|manager|company|consultant|person|people|staff|work|career|field|degree)\b"
)
_ONSETS = re.compile(
    r"^(?:[bcfgkp][lr]|[dt]r|[bcdfghjklmnpqrstvwxyz]|s[chklmnpqtw]|s[cpt]r|spl|shr|thr?|[cpstw]h|chr|schw?|[dgkt]w|kn|wr|qu|gn|ps|ph[lr]?|gh)?[aeiouy]",
    re.I,
)
_CODA_IMPOSSIBLE = re.compile(r"[bcdfgjkpqtvxz][bcdfgjlmnpqrvwxz]$|[aeiouy][^aeiouy]{4,}$", re.I)


def _relaxed(match: re.Match[str]) -> str:
    """A stretched word as it is in the dictionary: goood → good, sooo → so, hmmmm → hmm."""
    word = match[0]
    if re.fullmatch(r"(?:WW)?[IVXLCDM]+(?:'?s)?", word) or (word.isupper() and len(word) == 3):
        return word  # a roman numeral says another number without its last strokes: XXIII's, WWIII
    lower = word.lower()
    parts = [(run[0][0], len(run[0])) for run in re.finditer(r"(.)\1*", lower)]
    choices = [(1, 2) if count > 2 else (count,) for _, count in parts]
    candidates = ["".join(letter * n for (letter, _), n in zip(parts, ns)) for ns in itertools.product(*choices)]
    known = [c for c in reversed(candidates) if c in _DOUBLED]
    known += [c for c in reversed(candidates) if _ends_a_doubled_word(c)]
    found = next(iter(known), candidates[0])
    found = _HUMMED.get(found, found)
    if word.isupper():
        return found.upper()
    return found.capitalize() if word[0].isupper() else found


def _ends_a_doubled_word(word: str) -> bool:
    """freezing, feels: a word of the list with an ending."""
    stems = [word.removesuffix(end) for end in _ENDINGS if word.endswith(end)]
    return any(stem in _DOUBLED or f"{stem}e" in _DOUBLED for stem in stems)


def _spaced(letters: str) -> str:
    many = letters.endswith("s")
    return " ".join(letters.removesuffix("s")) + ("'s" if many else "")


# No words, and in chats often written small.
_SPELLED_SMALL = (
    *(
        "adhd",
        "ptsd",
        "cptsd",
        "ocd",
        "bpd",
        "cbt",
        "dbt",
        "emdr",
        "ssri",
        "snri",
        "hiv",
        "ivf",
        "icu",
        "mri",
        "ekg",
        "pcos",
        "pmdd",
    ),
    *(
        "lgbt",
        "lgbtq",
        "lgbtqia",
        "tv",
        "dvd",
        "gps",
        "ceo",
        "usa",
        "uk",
        "nyc",
        "fbi",
        "nhs",
        "gpa",
        "phd",
        "dna",
        "sms",
        "pc",
        "dj",
    ),
)


def _spaced_small(match: re.Match[str]) -> str:
    """My ptsd, two tvs → P T S D, T V's."""
    letters = match[0].removesuffix("s") if match[0].removesuffix("s") in _SPELLED_SMALL else match[0]
    return " ".join(letters.upper()) + ("'s" if letters != match[0] else "")


def _is_pronounceable(word: str) -> bool:
    return bool(_ONSETS.match(word)) and not re.match(r"[Yy][^AEIOUaeiou]", word) and not _CODA_IMPOSSIBLE.search(word)


def _spell_or_say(match: re.Match[str]) -> str:
    """A word in capitals: letters if it is a known abbreviation or cannot be pronounced, else the word, emphasised or not."""
    word = match[0]
    before, after = match.string[: match.start()], match.string[match.end() :]
    start = not before.strip() or before.rstrip()[-1] in ".!?\n"
    if word == "US" and _US_IS_WE.search(before) and not re.match(r"\s+[A-Z][a-z]", after):
        return "us"
    if word == "IT":
        return (
            "I T"
            if _IT_FOLLOWED.match(after) or (re.search(r"\b(?:in|works? in)\s+$", before) and not after.strip(" .,!?"))
            else "it"
        )
    if word == "WHO":
        if re.search(r"\b(?:the|The)\s+$", before):
            return "W H O"
        return "Who" if start else "who"
    if word == "OK":
        return "okay"
    if len(word.rstrip("s")) == 2:
        spell = word.rstrip("s") not in _SHORT_WORDS or word in ("US",)
    else:
        capitals = word.rstrip("s")
        spell = word in _SPELLED or capitals in _SPELLED or not _is_pronounceable(capitals)
    if spell:
        return _spaced(word)
    return word.capitalize() if start or word in _NAMES else word.lower()


# Acronyms that are names: their first letter stays large.
_NAMES = frozenset(
    (
        "NASA",
        "NATO",
        "AIDS",
        "COVID",
        "UNICEF",
        "UNESCO",
        "OPEC",
        "FIFA",
        "IKEA",
        "IHOP",
        "NASCAR",
        "FEMA",
        "OSHA",
        "ISIS",
    )
)


def _initials(match: re.Match[str]) -> str:
    """U.S.A. → U S A, with a full stop where a sentence seems to end."""
    letters = " ".join(match["letters"].replace(".", ""))
    if match["possessive"]:
        return letters + match["possessive"]
    return letters + ("." if ends_sentence(match, names=True) else "")


def _initial(match: re.Match[str]) -> str:
    """John F. Kennedy; but "Plan B. Then" ends a sentence."""
    return match[0] if ends_sentence(match, names=True) else match[1]


def _and(match: re.Match[str]) -> str:
    """AT&T → A T and T, M&Ms → M and M's."""
    return f"{' '.join(match[1])} and {match[2]}" + ("'s" if match[3] else "")


# How somebody wishes to be spoken of: "they/them" has no "or"; "he/she" has.
_PRONOUNS = (
    r"(?i)(?<![\w/])(?:(?:he/him|she/her|they/them|ze/zir|xe/xem|it/its)(?:/(?:his|hers|theirs))?"
    r"|(?:he|she)/they|they/(?:he|she))\b"
)


def _shouted_contraction(match: re.Match[str]) -> str:
    """DON'T → don't, I'M → I'm."""
    lower = match[0].lower()
    start = not match.string[: match.start()].strip() or match.string[: match.start()].rstrip()[-1] in ".!?\n"
    return lower.capitalize() if start or lower.startswith("i'") else lower


# Abbreviations of `_SPELLED` that are words as well: IM SO ODD, I HATE IT.
_WORDS_TOO = frozenset(
    [
        "DA",
        "FIL",
        "ID",
        "IM",
        "IRA",
        "IT",
        "KO",
        "LA",
        "MA",
        "MC",
        "NA",
        "OB",
        "ODD",
        "OH",
        "OT",
        "PA",
        "PO",
        "POS",
        "POW",
        "PS",
        "RA",
    ]
    + ["RIP", "TIA", "US", "WHO", "YA"]
)


def calm(text: str) -> str:
    """A text that shouts is read as words, not letter by letter: I AM SO SORRY → I am so sorry. Abbreviations stay."""

    def spelled(word: str) -> bool:
        return word in _SPELLED and word not in _WORDS_TOO

    def letters(word: str) -> bool:
        return spelled(word) or (  # DWP and HMRC are no cry
            word.isupper() and len(word) > 2 and not _is_pronounceable(word) and word.lower() not in _HUMMED.values()
        )

    def sentence(match: re.Match[str]) -> str:
        found = [word for word in re.findall(r"[A-Za-z']{2,}", match[0]) if not letters(word)]
        shouted = sum(word.isupper() for word in found)
        if shouted < 3 or shouted < 0.8 * len(found):
            return match[0]
        lower = re.sub(
            r"[A-Za-z]+(?:'[A-Za-z]+)*", lambda word: word[0] if letters(word[0]) else word[0].lower(), match[0]
        )
        lower = re.sub(r"\bi\b", "I", lower)
        return re.sub(r"^(\W*)([a-z])", lambda first: first[1] + first[2].upper(), lower)

    return re.sub(r"[^.!?\n]+", sentence, text)


ELONGATION: tuple[Rule, ...] = (rule(r"\b[A-Za-z']*([A-Za-z])(?i:\1){2,}[A-Za-z']*\b", _relaxed),)

RULES: tuple[Rule, ...] = (
    rule(r"\b(dm|pm)(?= (?:me|him|her|them|us|you)\b)", lambda match: " ".join(match[1].upper())),
    rule(r"(?<![\w/])([A-Z])/([A-Z])(?![\w/])", r"\1 \2"),  # A/V, A/B test
    rule(r"\b(?P<letters>(?:[A-Z]\.){2,})(?P<possessive>'s)?", _initials),
    rule(r"\b([A-Z]{1,3})&([A-Z])(s?)\b", _and),
    rule(r"\b([a-hj-z])([A-Z]{2,})\b", lambda match: f"{match[1]} {' '.join(match[2])}"),  # mRNA, cPTSD
    rule(r"\b([A-F])([-+])(?=\s|[.,;!?)/]|$)", lambda match: f"{match[1]} {'plus' if match[2] == '+' else 'minus'}"),
    rule(r"(?<=\b[A-HJ-Z]\. )([A-HJ-Z])\.(?=\s[a-z])", r"\1"),  # the last initial of a name
    rule(r"\b([A-HJ-Z])\.(?=\s+[A-Z])", _initial),
    rule(r"\b[A-Z]+'[A-Z]+\b", _shouted_contraction),
    rule(rf"\b(?:{words(_SPELLED_SMALL)})s?\b(?!')|\b(?:{words(_SPELLED_SMALL)})(?=')", _spaced_small),
    rule(r"\b[A-Z]{2,}s?\b(?!')|\b[A-Z]{2,}(?=')", _spell_or_say),
    rule(r"\bi\b(?!\.)", "I"),
    # --- signs --------------------------------------------------------------------------------------------------
    rule(r"\s?&\s?", " and "),
    rule(r"\s?=\s?", " equals "),
    rule(r"(?<=[A-Za-z]) ?(\++)(?=\s|[.,;:!?)\"'-]|$)", lambda match: " plus" * len(match[1])),  # LGBTQ+, C++
    rule(r"\b([CF])#(?!\w)", r"\1 sharp"),
    rule(r"§§\s?", "sections "),
    rule(r"§\s?", "section "),
    rule(r"¶\s?", "paragraph "),
    rule(r"(?<=\w)\s*\+\s*(?=\w)", " plus "),
    rule(r"(?i)\band ?/ ?or\b", "and or"),
    rule(r"\b[Ss]/he\b|(?<!\w)\([Ss]\)he\b", "she or he"),
    rule(r"(?<=[a-z])\((e?s)\)", r"\1"),  # friend(s)
    rule(_PRONOUNS, lambda match: match[0].replace("/", " ")),
    rule(r"(?<=\w)\s*/\s*(?=\w)", " or "),
    rule(r"(?<=[A-Za-z)])\s?>\s(?=[A-Za-z(])", " greater than "),
    rule(r"(?<=[A-Za-z)])\s?<\s(?=[A-Za-z(])", " less than "),
    rule(r"%", " percent "),
    rule(r"@", " at "),
    rule(r"\.{2,}", "…"),
    rule(r"\s-\s|\s*--+\s*|\s*[–—]\s*", "—"),
    rule(r"(?<=\w)-(?=\w)", " "),
)
