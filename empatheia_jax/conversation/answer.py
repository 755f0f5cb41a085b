"""What the model writes: its form, built from a chain and a reply, and read back into fields.

    Step-1 event scenario: …
    Step-2 user's emotion: <emo> anxious </emo>
    Step-3 emotion cause: …
    Step-4 goal to response: …
    Step-5 empathetic response: …</response>[AUD0]…[AUD15][VID0]…[VID15]

Without the chain (an ablation) it is `<emo> anxious </emo>` and the reply.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import ChainOfEmpathy
from empatheia_jax.tokens import AUDIO_SIGNALS, TAGS, VIDEO_SIGNALS

END = TAGS[-1]
"""Closes the reply."""
STOP = VIDEO_SIGNALS[-1]
"""The last token of every answer."""
EMOTION, RESPONSE = "speaker_emotion", "response"

_STEPS = (
    ("event_scenario", "Step-1 event scenario:"),
    (EMOTION, "Step-2 user's emotion:"),
    ("emotion_cause", "Step-3 emotion cause:"),
    ("goal_to_response", "Step-4 goal to response:"),
    (RESPONSE, "Step-5 empathetic response:"),
)

FIELDS = tuple(key for key, _ in _STEPS)
"""The fields of an answer, in the order of the steps."""

Part = tuple[str, bool]
"""A text, and whether control tokens written in it are meant (`core.tokenizer.Tokenizer.encode_parts`)."""


@dataclass(frozen=True)
class Slot:
    """A place of the form that the model fills: the field of `Answer` that it becomes."""

    key: str


def one_line(text: str) -> str:
    """Blanks and line breaks → one blank: what is said cannot begin a line of its own."""
    return " ".join(text.split())


def form(*, steps: bool = True, chain: bool = True) -> tuple[tuple[str | Slot, ...], ...]:
    """The fixed words of an answer and the slots between them, in the three parts that are tokenised apart: what comes
    before the reply, the reply, what closes it (without the signal tokens).

    Args:
        steps: False = the ablation without the chain of empathy.
        chain: False = an unlabelled dialogue: the reply alone.
    """
    before: list[str | Slot] = []
    for key, title in _STEPS[:-1]:
        if not chain or not (steps or key == EMOTION):
            continue
        opening, closing = ("<emo> ", " </emo>") if key == EMOTION else ("", "")
        before += [("\n" if before else "") + (f"{title} " if steps else "") + opening, Slot(key), closing]
    before.append(("\n" if before else "") + (_STEPS[-1][1] if steps else ""))
    return tuple(before), (" ", Slot(RESPONSE)), (END,)


def target_parts(chain: ChainOfEmpathy | None, response: str, *, steps: bool = True) -> tuple[list[Part], ...]:
    """The text that the model learns to write after the prompt, in three parts that are tokenised separately: what stands before
    the reply, the reply, and what follows it up to the last signal token.

    Args:
        chain: the first four steps; None (an unlabelled dialogue) leaves them out.
        response: the listener's reply.
        steps: False = the ablation without the chain: `<emo> x </emo>` and the reply.
    """

    def said(piece: str | Slot) -> Part:
        if isinstance(piece, str):
            return piece, True
        return one_line(response if piece.key == RESPONSE else getattr(chain, piece.key)), False

    before, reply, after = ([said(piece) for piece in part] for part in form(steps=steps, chain=chain is not None))
    return before, reply, [*after, ("".join(AUDIO_SIGNALS + VIDEO_SIGNALS), True)]


@dataclass(frozen=True)
class Answer:
    """What a model wrote, as fields. None = that step is absent; `complete` = the reply was closed by `</response>`."""

    event_scenario: str | None
    speaker_emotion: str | None
    emotion_cause: str | None
    goal_to_response: str | None
    response: str
    complete: bool

    @property
    def emotion32(self) -> str | None:
        """The label of 32 that the model's word reaches, or None."""
        return None if self.speaker_emotion is None else labels.emotion32(self.speaker_emotion)

    @property
    def chain(self) -> ChainOfEmpathy | None:
        """The four steps, or None unless all are there."""
        emotion, scenario, cause, goal = (
            self.speaker_emotion,
            self.event_scenario,
            self.emotion_cause,
            self.goal_to_response,
        )
        if emotion is None or scenario is None or cause is None or goal is None:
            return None
        return ChainOfEmpathy(emotion, scenario, cause, goal)

    def lacks(self, *, steps: bool = True) -> tuple[str, ...]:
        """What the form asks for and this answer does not have."""
        wanted = (key for key, _ in _STEPS if steps or key in (EMOTION, RESPONSE))
        return (*(key for key in wanted if not getattr(self, key)), *(() if self.complete else (END,)))


_STEP_PATTERN = re.compile(r"[^\S\n]*Step-([1-5])\b[^:\n]*:[^\S\n]*")
_EMOTION_PATTERN = re.compile(r"<emo>\s*(.*?)\s*</emo>", re.DOTALL)
_SIGNAL_PATTERN = re.compile(r"\[(?:AUD|VID)\d+\]")


def _titles(text: str) -> list[re.Match[str]]:
    """The titles of the steps. They come in order: what looks like an earlier one, or follows the fifth, is a part of what is
    said ("Let us go slowly. Step-1: breathe.").
    """
    titles: list[re.Match[str]] = []
    for found in _STEP_PATTERN.finditer(text):
        if int(found[1]) > (int(titles[-1][1]) if titles else 0):
            titles.append(found)
    return titles


def parse_reply(text: str) -> Answer:
    """Reads an answer back into fields; the inverse of `target_parts`. Never raises: what is absent is None or "".

    The reply is what follows the fifth step's title (or, without steps, `</emo>`), up to `</response>`, or to the end
    where a model never closes it.
    """
    text = _SIGNAL_PATTERN.sub("", text)
    body, closed, _ = text.partition(END)
    emotion = _EMOTION_PATTERN.search(body)
    titles = _titles(body)
    if emotion and titles and emotion.start() < titles[0].start():
        # There is no chain, and the titles are what the reply says, unless they are the form's own.
        titles = [title for title in titles if _STEPS[int(title[1]) - 1][1] in title[0]]
    found: dict[str, str] = {}
    for title, following in zip(titles, [*titles[1:], None]):
        value = body[title.end() : following.start() if following else len(body)]
        found[_STEPS[int(title[1]) - 1][0]] = value.strip()
    if RESPONSE in found:
        response = found[RESPONSE]
    elif titles:  # steps began, the fifth never came
        response = ""
    else:
        response = body[emotion.end() :] if emotion else body
    step_2 = found.get(EMOTION)
    word = emotion.group(1) if emotion else (step_2 or None)
    return Answer(
        event_scenario=found.get("event_scenario") or None,
        speaker_emotion=word or None,
        emotion_cause=found.get("emotion_cause") or None,
        goal_to_response=found.get("goal_to_response") or None,
        response=response.strip(),
        complete=bool(closed),
    )


def response_begun(text: str, *, steps: bool = True) -> bool:
    """Whether an answer that is still written has come to its response: behind the fifth step's title, or, without steps,
    behind `</emo>`.
    """
    if steps:
        return any(title[1] == "5" for title in _titles(text))
    return _EMOTION_PATTERN.search(text) is not None


@runtime_checkable
class Decoder(Protocol):
    """What `reply_positions` needs of a tokenizer."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of some ids."""


def token_spans(tokenizer: Decoder, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Which characters of the decoded text each token wrote: begin and end. Of a character that several tokens write
    together (the bytes of an emoji, say), each of them wrote it.
    """
    whole = tokenizer.decode(ids)
    spans, begin = [], 0
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:count])
        # Bytes that are no character yet decode to marks that the whole text does not have there.
        end = max(begin, len(os.path.commonprefix([text, whole])))
        spans.append((begin, end + 1 if text != whole[: len(text)] else end))
        begin = end
    return spans


def reply_positions(tokenizer: Decoder, ids: Sequence[int], response: str, upto: int | None = None) -> list[int]:
    """Which tokens of an answer wrote its response, or the first `upto` characters of it: those that hold one of them. The
    blank before the response is none, be it a token of its own (`▁` of SentencePiece) or the beginning of one. Training's
    `reply_mask` marks the same tokens.
    """
    first = tokenizer.decode(ids).rfind(response)
    last = first + (len(response) if upto is None else upto)
    return [place for place, (begin, end) in enumerate(token_spans(tokenizer, ids)) if begin < last and end > first]
