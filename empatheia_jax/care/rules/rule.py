"""One rule, and the kinds of danger."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["self-harm", "violence", "abuse", "danger-to-a-child", "diagnosis", "hurtful"]
KINDS: tuple[Kind, ...] = ("danger-to-a-child", "self-harm", "violence", "abuse", "diagnosis", "hurtful")
"""In the order in which they count where a text has several: a child comes first."""


@dataclass(frozen=True)
class Rule:
    """One phrase.

    reason: what it means, in words for a log or a person who looks at it. pattern: as it is searched in a sentence. denied: a
    "not" within or just before it takes its meaning. other: it speaks of somebody else, and means nothing in a story.
    """

    kind: Kind
    reason: str
    pattern: re.Pattern[str]
    denied: bool = True
    other: bool = False


def of_kind(kind: Kind, entries: Iterable[tuple[str, str]], *, denied: bool = True, other: bool = False) -> list[Rule]:
    """Rules of one kind from pairs (reason, pattern); `denied` and `other` hold for all of them (`Rule`)."""
    return [Rule(kind, reason, re.compile(pattern), denied, other) for reason, pattern in entries]
