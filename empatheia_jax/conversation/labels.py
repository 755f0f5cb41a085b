"""The vocabularies of AvaMERG as data: 32 and 7 emotions, ages, genders, tones, profiles, and the maps between them.

An emotion takes two explicit hops. The released field `speaker_emotion` is free text: `emotion32` takes a word to one
of the 32 labels of EmpatheticDialogues, `emotion7` takes a label to one of the 7 emotions that voices and faces show.
The released baseline keeps both hops in one dictionary, so that some words stop halfway and `sad` is no key of it; its
entries are kept here for comparability, its gaps are filled below, and each filling is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, overload

from empatheia_jax.errors import UserError

# fmt: off
EMOTIONS_32 = (
    "surprised", "excited", "annoyed", "proud", "angry", "sad", "grateful", "lonely", "impressed", "afraid",
    "disgusted", "confident", "terrified", "hopeful", "anxious", "disappointed", "joyful", "prepared", "guilty",
    "furious", "nostalgic", "jealous", "anticipating", "embarrassed", "content", "devastated", "sentimental",
    "caring", "trusting", "ashamed", "apprehensive", "faithful",
)
# fmt: on
"""The labels of EmpatheticDialogues, in the order that KEMP, CEM and CASE number them."""

EMOTIONS_7 = ("happy", "surprised", "angry", "fear", "sad", "disgusted", "contempt")
"""The emotions of speech and face, numbered as in the released baseline."""

AGES = ("child", "young", "middle-aged", "elderly")
GENDERS = ("male", "female")
TIMBRES = ("high", "mid", "low")
TONES = ("emphatic", "mild", "gentle")
"""The paper's words for the three timbres of the released files, in the same order (the order is our reading)."""

UNKNOWN = -1
"""Class number of an unknown label: left out of losses and scores."""


def _words(label: str, words: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), label)


BASELINE_WORDS: Mapping[str, str] = {
    **_words(
        "anxious", "conflicted anxiety worried uneasy stressed concerned burdened overwhelmed worry nervous stress"
    ),
    **_words("anxious", "confusion concern overwhelm"),
    **_words("afraid", "vulnerability helplessness fear fragile vulnerable fearful helpless"),
    **_words("sad", "sadness frustrated melancholy heavy-hearted melancholic"),
    **_words("sentimental", "pensive reflective thoughtful"),
    **_words("disappointed", "upset disappointment"),
    **_words("nostalgic", "nostalgia"),
    **_words("lonely", "loneliness"),
    **_words("annoyed", "frustration"),
    **_words("jealous", "lost confused"),
    **_words("ashamed", "inadequacy"),
    **_words("guilty", "regret"),
}
"""First hop of the released baseline, as it is there (`lost` and `confused` included)."""

ADDED_WORDS: Mapping[str, str] = {
    # The baseline sends these six to "tired", which is no label. Tired people of the corpus sound worn down: sad.
    **_words("sad", "tired weary fatigue exhaustion exhausted tiredness"),
    # Names of the 7 and plain relatives of the 32.
    **_words("joyful", "happy happiness joy delighted cheerful glad"),
    **_words("jealous", "contempt contemptuous envious envy jealousy scornful resentful"),
    **_words("surprised", "surprise shocked shock amazed astonished startled"),
    **_words("disgusted", "disgust revolted repulsed"),
    **_words("angry", "anger mad"),
    **_words("furious", "rage enraged outraged"),
    **_words("annoyed", "annoyance irritated irritation"),
    **_words("afraid", "scared frightened"),
    **_words("terrified", "terror horrified panicked panic"),
    **_words("apprehensive", "apprehension hesitant unsure uncertain"),
    **_words("sad", "unhappy grief grieving heartbroken hurt depressed hopeless discouraged"),
    **_words("devastated", "devastation crushed"),
    **_words("guilty", "guilt regretful remorse remorseful"),
    **_words("ashamed", "shame inadequate"),
    **_words("embarrassed", "embarrassment humiliated awkward"),
    **_words("disappointed", "dissatisfied"),
    **_words("excited", "excitement thrilled eager enthusiastic"),
    **_words("proud", "pride accomplished"),
    **_words("grateful", "gratitude thankful relieved relief appreciative"),
    **_words("hopeful", "hope optimistic"),
    **_words("content", "contentment peaceful calm satisfied"),
    **_words("impressed", "awe awed admiration"),
    **_words("confident", "confidence determined"),
    **_words("anticipating", "anticipation"),
    **_words("caring", "compassionate affectionate loving"),
    **_words("trusting", "trust"),
    **_words("faithful", "loyal loyalty"),
    **_words("lonely", "alone isolated"),
}
"""Our additions to the first hop."""

WORDS_TO_32: Mapping[str, str] = {**ADDED_WORDS, **BASELINE_WORDS, **{label: label for label in EMOTIONS_32}}


def _to_7(**groups: str) -> dict[str, str]:
    return {label: seven for seven, members in groups.items() for label in members.split()}


_HAPPY = "anticipating caring confident content excited faithful grateful hopeful joyful proud trusting"

MAPS_TO_7: Mapping[str, Mapping[str, str]] = {
    "paper": _to_7(
        happy=f"{_HAPPY} prepared",
        sad="anxious ashamed disappointed embarrassed guilty lonely nostalgic sad sentimental",
        fear="afraid apprehensive terrified",
        angry="angry annoyed furious",
        surprised="surprised impressed devastated",
        disgusted="disgusted",
        contempt="jealous",
    ),
    "e3rg_recognition": _to_7(
        happy=f"{_HAPPY} prepared",
        sad="anxious ashamed devastated disappointed guilty lonely nostalgic sad sentimental",
        fear="afraid apprehensive terrified",
        angry="angry annoyed furious",
        surprised="surprised impressed",
        disgusted="disgusted embarrassed",
        contempt="jealous",
    ),
    "e3rg_face": _to_7(
        happy=_HAPPY,
        sad="ashamed guilty lonely sad sentimental",
        fear="afraid anxious apprehensive terrified",
        angry="angry annoyed furious",
        surprised="surprised impressed devastated",
        disgusted="disgusted embarrassed",
        contempt="disappointed jealous",
        neutral="nostalgic prepared",
    ),
}
"""Second hop: the released baseline's (with its missing key `sad`), and the two that E3RG uses for recognition and for
faces. E3RG counts in 8 classes: what it calls neutral is none of the 7 and gets `UNKNOWN`."""


def normalise(word: str) -> str:
    """Lower case, no surrounding blanks, quotes or full stop; inner blanks and underscores become one hyphen."""
    return "-".join(word.strip().strip("\"'.,;!").lower().replace("_", " ").split())


@overload
def emotion32(word: str, *, strict: Literal[True]) -> str: ...
@overload
def emotion32(word: str, *, strict: bool = False) -> str | None: ...
def emotion32(word: str, *, strict: bool = False) -> str | None:
    """First hop: a free word → one of the 32 labels.

    Args:
        word: the released field `speaker_emotion`, or what a model wrote between `<emo>` and `</emo>`.
        strict: raise on a word outside the table instead of returning None.

    Raises:
        UserError: `strict`, and the word is not in the table.
    """
    label = WORDS_TO_32.get(normalise(word))
    if label is None and strict:
        raise UserError(f"emotion {word!r} is unknown; expected one of {', '.join(sorted(EMOTIONS_32))}, or a synonym")
    return label


def emotion7(label: str, table: str = "paper") -> str:
    """Second hop: one of the 32 labels → one of the 7 (or `neutral` with the table `e3rg_face`).

    Raises:
        UserError: the label is none of the 32, or the table is none of `MAPS_TO_7`.
    """
    if table not in MAPS_TO_7:
        raise UserError(f"emotion table {table!r} is unknown; expected one of {', '.join(MAPS_TO_7)}")
    if label not in MAPS_TO_7[table]:
        raise UserError(f"{label!r} is none of the 32 emotion labels; take a free word through the first hop before")
    return MAPS_TO_7[table][label]


def emotion_ids(word: str, *, strict: bool = False, table: str = "paper") -> tuple[int, int]:
    """Both hops at once: a free word → (class of 32, class of 7), each `UNKNOWN` where the word does not reach it."""
    label = emotion32(word, strict=strict)
    if label is None:
        return UNKNOWN, UNKNOWN
    seven = emotion7(label, table)
    return EMOTIONS_32.index(label), EMOTIONS_7.index(seven) if seven in EMOTIONS_7 else UNKNOWN


def _index(word: str, what: str, *vocabularies: tuple[str, ...]) -> int:
    found = normalise(word)
    for vocabulary in vocabularies:
        if found in vocabulary:
            return vocabulary.index(found)
    expected = "; or ".join(", ".join(vocabulary) for vocabulary in vocabularies)
    raise UserError(f"{what} {word!r} is outside the vocabulary; expected one of {expected}")


def age_id(word: str) -> int:
    """Class of an age (`AGES`). Raises `UserError` outside the vocabulary, as do the functions below."""
    return _index(word, "age", AGES)


def gender_id(word: str) -> int:
    """Class of a gender (`GENDERS`)."""
    return _index(word, "gender", GENDERS)


def tone_id(word: str) -> int:
    """Class of a tone, in either vocabulary (`TIMBRES`, `TONES`)."""
    return _index(word, "timbre", TIMBRES, TONES)


PROFILES = len(AGES) * len(GENDERS) * len(TIMBRES)
"""Number of profiles: 24."""


def profile_id(age: str, gender: str, timbre: str) -> int:
    """Number of a combination: age · 6 + gender · 3 + tone."""
    return age_id(age) * 6 + gender_id(gender) * 3 + tone_id(timbre)


def profile_words(number: int) -> tuple[str, str, str]:
    """The combination (age, gender, timbre) with this number. Raises `UserError` outside 0–23."""
    if not 0 <= number < PROFILES:
        raise UserError(f"profile {number} does not exist; expected 0 to {PROFILES - 1}")
    return AGES[number // 6], GENDERS[number // 3 % 2], TIMBRES[number % 3]
