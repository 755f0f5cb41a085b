"""The same words in one spelling: what the rules of `care.rules` read.

People in distress write fast, speak with breaks, or learn the language. "im gonna", "I'm going to" and "i i am um going to"
mean the same, so they become the same. Nothing here decides anything.
"""

from __future__ import annotations

import re
import unicodedata

_QUOTED = re.compile(r"[\"“„«]([^\"”“»]{1,300})[\"”“»]")
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")

_ENDLESS = re.compile(r"(\w{60})(?=\w)")
"""No word of a phrase is that long. A pattern that begins with any word tries each letter of one, so that one word of 20,000
letters took seconds."""

_SPELLINGS = (
    (r"[’‘ʼ`´]", "'"),
    (r"\bsu[i1!*]c[i1!*]d", "suicid"),
    (r"\bk[i1!*]ll", "kill"),
    (r"\bkms\b", "kill myself"),
    (r"\bkys\b", "kill yourself"),
    (r"\bunaliv(?:e|ing)\b", "kill"),
    (r"\bmy self\b", "myself"),
    (r"\bany more\b", "anymore"),
    (r"\b(?:wanna|want a(?= die| live))\b", "want to"),
    (r"\bgonna\b", "going to"),
    (r"\bgotta\b", "have to"),
    (r"\b(?:cuz|cause|coz)\b", "because"),
    (r"\bur\b", "your"),
    (r"\bu\b", "you"),
    (r"\b(?:mama|mommy|mummy|mum|mom)\b", "mum"),
    (r"\b(?:daddy|papa|dad)\b", "dad"),
    (r"\b(?:till|til)\b", "until"),
)
_CONTRACTIONS = (
    (r"\bim\b", "i am"),
    (r"\bive\b", "i have"),
    (r"\b(he|she|that|it)s\b(?=\s+(?:a|an|the|not|so|my|going|angry|bad|here|mean)\b)", r"\1 is"),
    (r"\bhes\b", "he is"),
    (r"\bshes\b", "she is"),
    (r"\bwon'?t\b", "will not"),
    (r"\b(?:can'?t|cannot)\b", "can not"),
    (r"\b(do|does|did|is|are|was|were|have|has|had|would|could|should|must)n'?t\b", r"\1 not"),
    (r"\bi'm\b", "i am"),
    (r"(\w)'re\b", r"\1 are"),
    (r"(\w)'ve\b", r"\1 have"),
    (r"(\w)'ll\b", r"\1 will"),
    (r"(\w)'d\b", r"\1 would"),
    (r"\b(he|she|it|that|there|who|what|nobody|everybody|everyone|somebody|someone)'s\b", r"\1 is"),
)
_FILLERS = (
    r"\b(?:um+|uh+|er+m?|hmm+|you know|i mean|i swear to god|i swear|like(?= (?:die|dying|alive|ending|i|oh)\b)),?\s*"
)


def plain(text: str) -> str:
    """`text` in lower case, without fillers and stammers, its short forms written out: "I'm gonna" → "i am going to"."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).lower()
    text = _ENDLESS.sub(r"\1 ", text)
    for pattern, spelling in (*_SPELLINGS, *_CONTRACTIONS):
        text = re.sub(pattern, spelling, text)
    text = re.sub(_FILLERS, "", text)
    text = re.sub(r"\b(\w+(?: \w+){0,2}),?(?: \1\b)+", r"\1", text)  # "he he", "i want i want"
    return re.sub(r"[^\S\n]+", " ", text).strip()


def sentences(text: str) -> list[str]:
    """The sentences of a plain text. What has no marks, as a transcription, is one."""
    return [part.strip() for part in re.split(r"[.!?;\n…]+", text) if part.strip()]


def without_quotations(text: str) -> str:
    """`text` with a gap where words stand in quotation marks."""
    return _QUOTED.sub(" ~ ", text)
