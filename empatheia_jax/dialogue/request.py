"""What one reply shall answer, and how: every value is checked when the request is made."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.answer import one_line
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.errors import UserError

Modality = Literal["text", "speech", "motion", "video"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
CHAIN = ("event_scenario", "speaker_emotion", "emotion_cause", "goal_to_response")
"""The steps that a user may edit, in the order in which they are written."""


@dataclass(frozen=True)
class DecodingChoice:
    """How the tokens of one reply are chosen; None = as the run's config says. See `core.decoding.DecodingSettings`."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    response_tokens: int | None = None

    def __post_init__(self):
        rules = (
            ("temperature", "0 to 10", lambda value: 0 <= value <= 10),
            ("top_k", "0 or more", lambda value: value >= 0),
            ("top_p", "above 0, at most 1", lambda value: 0 < value <= 1),
            ("repetition_penalty", "above 0", lambda value: value > 0),
            ("response_tokens", "1 or more", lambda value: value >= 1),
        )
        for name, expected, fits in rules:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and fits(value)):
                raise UserError(f"{name} is {value!r}; expected {expected}")


@dataclass(frozen=True)
class Mix:
    """A second style, and how much of it is in the reply: 0 = none, 1 = all (E and P of the paper, §4.3).

    emotion: one of the 32 labels (or a synonym); E is then mixed with the E of the same answer to somebody who feels that.
    profile: P is mixed with the P of the same answer by this person; voice and portrait follow the larger share.
    """

    emotion: str | None = None
    emotion_share: float = 1.0
    profile: Profile | None = None
    profile_share: float = 1.0

    def __post_init__(self):
        if self.emotion is not None:
            labels.emotion32(self.emotion, strict=True)
        for name in ("emotion_share", "profile_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)!r}; expected 0 to 1")


@dataclass(frozen=True)
class Request:
    """What one reply shall answer, and how.

    text: what the user says now. None, without recordings: the last utterance is answered again (and its reply replaced).
    speech, video: a recording of it; the model hears and sees it, and words are only what stands in `text`. transcript: words
    that somebody heard in the recording and that are not in `text`; they are checked for a crisis. profile: who answers; None =
    the session's. chain_edits: steps of the chain (`CHAIN`) as the user wants them; what comes after the last of them is
    written anew, what comes before it is taken from the reply that is replaced. emotion: what face and voice show, one of
    the 7 or neutral; None = what the understood emotion asks for. mix: a second style. seed: of all draws; None = the
    session's. decoding: how tokens are chosen. modalities: what is made; text always is. pipeline: the baseline of the paper
    (§6.1): no chain, no features from the core, the profile's own voice, a fixed style clip. early: speak every sentence when
    it is written, with the states of the answer so far; False waits for the whole text, as in training.
    """

    text: str | None = None
    speech: str | os.PathLike | None = None
    video: str | os.PathLike | None = None
    profile: Profile | None = None
    chain_edits: Mapping[str, str] = field(default_factory=dict)
    emotion: str | None = None
    mix: Mix | None = None
    seed: int | None = None
    decoding: DecodingChoice = field(default_factory=DecodingChoice)
    modalities: Collection[Modality] = frozenset(("text", "speech", "motion"))
    pipeline: bool = False
    early: bool = True
    transcript: str = ""

    def __post_init__(self):
        asked = frozenset(self.modalities)
        object.__setattr__(self, "modalities", asked)
        if not asked or not asked <= set(MODALITIES):
            raise UserError(f"modalities {sorted(map(str, asked))}; expected some of {', '.join(MODALITIES)}")
        if unknown := [name for name in self.chain_edits if name not in CHAIN]:
            raise UserError(f"the chain has no step {unknown[0]!r}; expected one of {', '.join(CHAIN)}")
        for name, value in self.chain_edits.items():
            if not one_line(value):
                raise UserError(f"the step {name} is empty; expected words")
        if "speaker_emotion" in self.chain_edits:
            labels.emotion32(self.chain_edits["speaker_emotion"], strict=True)
        if self.emotion is not None and self.emotion not in (*labels.EMOTIONS_7, NEUTRAL):
            raise UserError(
                f"emotion {self.emotion!r} cannot be shown; expected one of {', '.join((*labels.EMOTIONS_7, NEUTRAL))}"
            )
        if self.seed is not None and not 0 <= self.seed < 2**31:
            raise UserError(f"seed is {self.seed}; expected 0 to {2**31 - 1}")
        if self.pipeline and (self.chain_edits or self.mix):
            raise UserError("the pipeline has neither a chain nor styles to mix; leave chain_edits and mix out")
        recorded = self.speech is not None or self.video is not None
        if self.text is not None and not self.text.strip() and not recorded:
            raise UserError("there are no words to answer; expected text or a recording")

    @property
    def again(self) -> bool:
        """Whether the last utterance is answered again, instead of a new one."""
        return self.text is None and self.speech is None and self.video is None

    @property
    def speaks(self) -> bool:
        """Whether sound is needed: face and motion follow it."""
        return bool({"speech", "motion", "video"} & set(self.modalities))
