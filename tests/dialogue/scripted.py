"""Texts that say what they are told, a few words at a step, with states that are made up: for what comes after the text."""

from __future__ import annotations

import numpy as np

from empatheia_jax.care.answers import CrisisAnswers
from empatheia_jax.care.rules import KINDS
from empatheia_jax.care.texts import KEYS, Texts
from empatheia_jax.conversation import answer
from empatheia_jax.conversation.schema import ChainOfEmpathy
from empatheia_jax.dialogue.writer import Written
from empatheia_jax.tokens import SIGNALS
from tests.answers import target

CHAIN = ChainOfEmpathy("sad", "A loss.", "The keys are gone.", "Comfort.")
REPLY = (
    "I am so sorry to hear that. It must have been a long day for you, and nobody saw it. "
    "Let us look for them together. I will stay with you until they are found."
)


HELP = "Please call somebody you trust now."


def care(locale: str = "en") -> CrisisAnswers:
    """The checks as they are, with short texts: speaking the ones that come along takes tiny networks long."""
    said = {key: HELP if key in KINDS else f"The notice {key}." for key in KEYS}
    return CrisisAnswers(Texts({"en": said, "en-GB": {**said, "self-harm": "Please call 999 now."}}), locale)


class ScriptedTexts:
    """The contract of `dialogue.texts.Texts`. `replies`: what is said, in turn; `pace`: characters a step."""

    early = True

    def __init__(self, width: int, *replies: str, places: int = 4, pace: int = 25):
        self.width, self.replies, self.places, self.pace = width, list(replies) or [REPLY], places, pace
        self.began: list[str] = []
        self.asked: dict[str, list[str]] = {}
        self._texts: dict[str, list] = {}

    @property
    def free(self) -> bool:
        return len(self._texts) < self.places

    def begin(self, generation, question, request, steps):
        text = target(CHAIN, self.replies[len(self.began) % len(self.replies)], steps=not request.pipeline)
        self.began.append(generation)
        self.asked[generation] = [each.text for each in question.history]
        self._texts[generation] = [text[: text.index(answer.END) + len(answer.END)], 0]

    def step(self, grew):
        for generation, state in list(self._texts.items()):
            state[1] += self.pace
            text, done = state
            ended = done >= len(text)
            grew(generation, text[:done], done, ended)
            if ended:
                self._texts.pop(generation, None)

    def states(self, generation, said, upto):
        random = np.random.default_rng(upto)
        drawn = random.standard_normal((8 + 2 * SIGNALS, self.width)).astype(np.float32)
        return Written(said, "", (), (), drawn[:8], drawn[8:], drawn)

    def heard(self, generation):
        return ()

    def prompt_tokens(self, generation):
        return sum(len(text.split()) for text in self.asked[generation])

    def stop(self, generation):
        self._texts.pop(generation, None)

    def warm(self):
        pass
