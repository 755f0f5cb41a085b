"""Where care for the user and marks of origin are plugged in: four places, and no other code of the server knows of them.

before      the user's words, before anything is generated: an answer to a crisis is spoken verbatim instead of the model's
after       what the model wrote: what may not be said is replaced in the same way
notices     what a user is told at the start of a session, and before microphone or camera open
sound, film the reply's sound before it is encoded, and the finished file: marks of origin
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from empatheia_jax.care.check import Finding, check, check_reply
from empatheia_jax.care.texts import Texts


@dataclasses.dataclass(frozen=True)
class Answered:
    """What is said instead of the model's words. text: verbatim; kind: why, for the monitor; notice: a line beside it."""

    text: str
    kind: str
    notice: str = ""


Check = Callable[[str, str], Answered | None]


def _nothing(text: str, locale: str) -> Answered | None:
    return None


def _same(samples: Float[np.ndarray, " samples"], rate: int) -> Float[np.ndarray, " samples"]:
    return samples


def _unmarked(path: Path) -> None:
    return None


@dataclasses.dataclass(frozen=True)
class Care:
    """The four places. By default nothing is checked and nothing is marked; `of_texts` checks.

    texts: of an institution. before, after: text and locale → what is said instead, or None. sound: samples and their rate →
    marked samples. film: marks a finished file in its place.
    """

    texts: Texts = dataclasses.field(default_factory=Texts.read)
    before: Check = _nothing
    after: Check = _nothing
    sound: Callable[[np.ndarray, int], np.ndarray] = _same
    film: Callable[[Path], Any] = _unmarked

    @classmethod
    def of_texts(cls, texts: Texts) -> Care:
        """Checks the user's words and the model's by the rules of `care.check`, and says the texts' answers."""

        def answer(finding: Finding | None, locale: str) -> Answered | None:
            if finding is None:
                return None
            verified = f"the text of a file; verified: {texts.verified_at(finding.kind, locale)}"
            return Answered(texts.text(finding.kind, locale), finding.kind, verified)

        return cls(
            texts,
            before=lambda text, locale: answer(check(text, locale), locale),
            after=lambda text, locale: answer(check_reply(text, locale), locale),
        )

    def notices(self, locale: str) -> dict[str, str | int]:
        """What a user is told: `ai` at the start and every `every_seconds`, `read` before microphone or camera open."""
        return self.texts.notices(locale)
