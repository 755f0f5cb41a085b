"""`check` before a reply, over what the user typed or said; `check_reply` after it, over what the model wrote.

Both are rules without a network: they are quick, say why they found something, and find the same thing every time. They miss
what they have no words for; `docs/care.md` has the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from empatheia_jax.care import rules, wording
from empatheia_jax.care.rules import KINDS, Kind, Rule

LONGEST = 20_000
"""Characters that are read: of a longer text, its beginning and its end."""
_OWN = ("self-harm", "diagnosis")
"""Kinds that a game or an accident among others says nothing about."""
_NOT = re.compile(r"\b(?:not|never|no|nobody|none|without|nothing)\b(?! only| just)")
_WEAK_NOT = re.compile(
    r"\b(?:can not (?:stop|control|help|resist)|not know|i do not (?:care|like)|no more|when i say no|no longer|"
    r"never (?:wake|come back|been born)|without (?:me|i want|(?:my )?clothes|food|money)|no (?:clothes|food)|"
    r"(?:no one|nobody) (?:would|will)|(?:must|do|should) not tell)\b"
)
"""A "not" that takes no meaning away: it is part of what is looked for, or only stands beside it."""


@dataclass(frozen=True)
class Finding:
    """What was found.

    kind: self-harm, violence, abuse, danger-to-a-child; of a reply also diagnosis and hurtful. reason: what the words mean.
    matched: the words, as the rules read them; they are the user's, so a log must not hold them.
    """

    kind: Kind
    reason: str
    matched: str


def check(text: str, locale: str = "en") -> Finding | None:
    """Whether somebody is in danger, by what a user typed or what was heard; None where nothing is found.

    Args:
        text: the words. What a control token of ours looks like is only text here.
        locale: of the user. The rules are English; they are applied in every locale.
    """
    del locale
    return _first(text, rules.RULES)


def check_reply(text: str, locale: str = "en", *, said: str = "") -> Finding | None:
    """Whether what the model wrote must not be said: it encourages harm, makes a diagnosis, itself speaks of a danger, or is
    a mistake that hurts.

    Args:
        text: the reply.
        locale: the user's, as in `check`.
        said: the user's words of the dialogue; what they hold may be said back.
    """
    del locale
    return _first(text, rules.REPLY_RULES) or _hurtful(text[-LONGEST:], said[-LONGEST:])


def _hurtful(text: str, said: str) -> Finding | None:
    reply, words = wording.plain(text), wording.plain(said)
    for rule in rules.HURTFUL:
        if matched := rule.found(reply, words):
            return Finding("hurtful", rule.reason, matched)
    return None


def _first(text: str, tried: Iterable[Rule]) -> Finding | None:
    """The finding that counts most: `KINDS` has their order."""
    if len(text) > LONGEST:
        text = text[: LONGEST // 2] + "\n" + text[-LONGEST // 2 :]
    plain = wording.plain(text)
    story = rules.STORY.search(plain) is not None
    if story:
        plain = wording.without_quotations(plain)
    harmless = rules.HARMLESS.search(plain) is not None
    parts = [_without_idioms(part) for part in wording.sentences(plain)]
    found: dict[Kind, Finding] = {}
    for rule in tried:
        if rule.kind in found or (story and _told_in_story(rule)) or (harmless and rule.kind not in _OWN):
            continue
        for part in parts:
            if matched := _match(rule, part):
                found[rule.kind] = Finding(rule.kind, rule.reason, matched)
                break
    return next((found[kind] for kind in KINDS if kind in found), None)


def _without_idioms(sentence: str) -> str:
    for idiom in rules.IDIOMS:
        sentence = idiom.sub(" ~ ", sentence)
    return sentence


def _told_in_story(rule: Rule) -> bool:
    """Whether a rule does not count in a story: it speaks of others, or of violence, which games and films have of their own."""
    return rule.other or rule.kind == "violence"


def _match(rule: Rule, sentence: str) -> str | None:
    """The words that a rule finds; None where there are none, or where they are denied."""
    for match in rule.pattern.finditer(sentence):
        if rule.kind == "diagnosis" and rules.NO_DIAGNOSIS.search(sentence):
            continue
        if rule.denied:
            before = " ".join(sentence[: match.start()].split()[-3:])
            words = _WEAK_NOT.sub(" ", f"{before} {match[0]}")
            if _NOT.search(words):
                continue
        return match[0].strip()
    return None
