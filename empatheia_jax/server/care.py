"""Where care for the user and marks of origin are plugged in: four places, and no other code of the server knows of them.

before      the user's words, before anything is generated: an answer to a crisis is spoken verbatim instead of the model's
after       what the model wrote: the same check
notices     what a user is told at the start of a session
sound, film the reply's sound before it is encoded, and the finished file: marks of origin
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

AI = "You are talking with a computer program, not with a person. It can be wrong. It is no doctor and no emergency service."
READ = (
    "If you use the microphone or the camera, the program reads emotion from your voice and face. Choose “text only” if you do "
    "not want that."
)
EVERY_SECONDS = 3 * 3600
"""After so long a page says again that this is a program."""


@dataclasses.dataclass(frozen=True)
class Answered:
    """What is said instead of the model's words. text: verbatim; kind: why, for the monitor; notice: a line beside it."""

    text: str
    kind: str
    notice: str = ""


def _nothing(text: str, locale: str) -> Answered | None:
    return None


def _same(samples: Float[np.ndarray, " samples"], rate: int) -> Float[np.ndarray, " samples"]:
    return samples


@dataclasses.dataclass(frozen=True)
class Care:
    """The four places. By default nothing is checked and nothing is marked.

    before, after: text and locale → what is said instead, or None. sound: samples and their rate → marked samples. film: marks a
    finished file in its place.
    """

    before: Callable[[str, str], Answered | None] = _nothing
    after: Callable[[str, str], Answered | None] = _nothing
    sound: Callable[[np.ndarray, int], np.ndarray] = _same
    film: Callable[[Path], None] = lambda path: None

    def notices(self, locale: str) -> dict[str, str | int]:
        """What a user is told: `ai` at the start and every three hours, `read` before microphone or camera open."""
        return {"ai": AI, "read": READ, "locale": "en", "every_seconds": EVERY_SECONDS}
