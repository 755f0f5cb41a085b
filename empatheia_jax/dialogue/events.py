"""What a reply is made of while it is made: `Engine.stream` yields these, in this order.

    ChainStep*  the steps of the Chain of Empathy, each when it is complete
    TextPiece*  the words of the response, as they are written
    Instead?    what was written so far does not count: the text of a file follows (`care`)
    SpeechPiece the sound of one piece of the response (a sentence, or several short ones)
    Motion, Frames  the face to that sound; `start` goes on where the last event of the same kind ended
    Done | Failed   exactly one of them, and always the last

Text events may come between the others: the next sentence is written while the last one is spoken. Every event says which
generation it belongs to, so that a receiver can drop what it no longer wants. `start` counts samples or frames from the
beginning of the reply's sound, so positions do not drift; the times of words are seconds from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.errors import UserError

Word = tuple[str, float, float]
"""A word as it is written, and the seconds at which it begins and ends."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """generation: which reply it belongs to (`Stream.generation`)."""

    generation: str


@dataclass(frozen=True, kw_only=True)
class ChainStep(Event):
    """One step of the chain. name: a field of `Answer` ("event_scenario", "speaker_emotion", …); value: its text."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class TextPiece(Event):
    """New words of the response. All pieces, one after the other, are its text."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Instead(Event):
    """From here on the text of a file is said, not the model's: chain and text before it do not count any more.

    kind: why (`care.rules.Kind`). notice: a line to show beside the text.
    """

    kind: str
    notice: str


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeechPiece(Event):
    """The sound of one piece of the response; it begins where the last piece ended, without a gap.

    samples: float32 from −1 to 1, at `rate` samples a second; the pause before the words is part of it. words: what is said
    and when. sentence: the number of the piece, from 0. start: the position of its first sample in the whole reply.
    """

    samples: Float[np.ndarray, " samples"]
    rate: int
    words: tuple[Word, ...]
    sentence: int
    start: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion(Event):
    """The face as data: 64 coefficients of expression and 9 of pose for each frame (what `dreamtalk.Animator.render` draws).

    start: the number of the first frame in the whole reply; rate: frames a second.
    """

    coefficients: Float[np.ndarray, "T 73"]
    rate: int
    start: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames(Event):
    """Drawn frames of the face, RGB. start: the number of the first frame in the whole reply; rate: frames a second.

    The renderer looks half a second ahead: the last frames of a piece come with the next piece, or at the end.
    """

    rgb: UInt8[np.ndarray, "T H W 3"]
    rate: int
    start: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Done(Event):
    """The end of a reply.

    answer: its fields. finished: False where it was cancelled or interrupted: the answer is then what was written by then.
    emotion: the speaker's, as understood ("written", "of_32", "of_7", "classified"). shown: what face and voice show, one of
    the 7 or neutral, and how strongly. profile: who answered. heard: the kinds of recordings that it answers to. text: all
    that the model wrote. seconds: of speech. timings: seconds since the request, by name ("wait", "first_step",
    "first_text", "text", "first_sound", "first_motion", "first_frame", "end"), where they happened; and two counts:
    "prompt_tokens" that the model read, "tokens" that it wrote. instead: why the text of a file was said (`Instead`).
    """

    answer: Answer
    emotion: Mapping[str, str | None]
    timings: Mapping[str, float]
    finished: bool
    shown: tuple[str, float] = ("neutral", 1.0)
    profile: Profile | None = None
    heard: tuple[str, ...] = ()
    text: str = ""
    seconds: float = 0.0
    instead: str = ""


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The reply could not be made. reason: one line for the user. fault: True where the program is wrong, not the request."""

    reason: str
    fault: bool = False

    @property
    def error(self) -> Exception:
        """What an interface without events raises."""
        return RuntimeError(self.reason) if self.fault else UserError(self.reason)
