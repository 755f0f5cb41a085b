"""The check of a reply while it is written: what is found does not depend on how its words come."""

from __future__ import annotations

from empatheia_jax.care.answers import CrisisAnswer, CrisisAnswers
from empatheia_jax.dialogue.reading import sentence_ends


class Watch:
    """Looks at a reply that grows.

    A sentence is judged when it is complete, since its end may take away what its beginning seems to say ("you should die" of
    "you should diet"). Until then, words behind which something is found are held back.

    Attributes:
        shown: how many characters of the reply were let through.
    """

    def __init__(self, care: CrisisAnswers):
        self._care = care
        self._judged = 0
        self.shown = 0

    def read(self, response: str, said: str, *, ended: bool) -> tuple[CrisisAnswer | None, str]:
        """(what is said instead of the reply or None, the words that may be shown now).

        Args:
            response: all words so far.
            said: the user's words of the dialogue.
            ended: nothing follows.
        """
        ends = sentence_ends(response, self._judged)
        for end in [*ends, len(response)] if ended else ends:
            if (crisis := self._care.after(response[:end], said)) is not None:
                return crisis, ""
            self._judged = end
        if not ended and self._care.after(response, said) is not None:
            return None, ""
        words = response[self.shown :]
        self.shown = len(response)
        return None, words
