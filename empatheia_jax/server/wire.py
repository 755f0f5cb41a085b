"""Events as lines of JSON: what the page reads."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue.events import (
    ChainStep,
    Done,
    Event,
    Failed,
    Frames,
    Instead,
    Motion,
    SpeechPiece,
    TextPiece,
)
from empatheia_jax.dialogue.request import CHAIN
from empatheia_jax.dialogue.session import Session
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION, MOTION
from empatheia_jax.media.audio import to_pcm16

DRAWN = (*sorted(ACTIONS.values()), *range(EXPRESSION, MOTION))
"""The coefficients that a drawn face shows; the others are not sent."""


def encoded(event: Event) -> dict[str, Any]:
    """An event as JSON: sound as base64 of 16-bit samples, motion as base64 of half floats, a row of `DRAWN` a frame.

    Frames themselves travel in the film; here only their number is told.
    """
    match event:
        case ChainStep():
            return {"type": "step", "name": event.name, "value": event.value}
        case TextPiece():
            return {"type": "text", "text": event.text}
        case SpeechPiece():
            words = [[word, round(begin, 3), round(end, 3)] for word, begin, end in event.words]
            pcm = base64.b64encode(to_pcm16(event.samples).astype("<i2").tobytes()).decode()
            place = {"sentence": event.sentence, "start": event.start, "rate": event.rate}
            return {"type": "speech", **place, "words": words, "pcm": pcm}
        case Motion():
            rows = np.ascontiguousarray(event.coefficients[:, list(DRAWN)]).astype("<f2")
            values = base64.b64encode(rows.tobytes()).decode()
            return {"type": "motion", "start": event.start, "rate": event.rate, "frames": len(rows), "values": values}
        case Frames():
            return {"type": "frames", "start": event.start, "rate": event.rate, "frames": len(event.rgb)}
        case Done():
            answer = event.answer
            return {
                "type": "done",
                "finished": event.finished,
                "response": answer.response,
                "chain": steps(answer),
                "emotion": dict(event.emotion),
                "shown": {"emotion": event.shown[0], "intensity": event.shown[1]},
                "profile": profile(event.profile),
                "heard": list(event.heard),
                "seconds": round(event.seconds, 3),
                "timings": {name: round(float(value), 4) for name, value in event.timings.items()},
            }
        case Failed():
            reason = "the server made a mistake; see its log" if event.fault else event.reason
            return {"type": "failed", "reason": " ".join(reason.split())}
        case Instead():
            return {"type": "instead", "kind": event.kind, "notice": event.notice}
    raise TypeError(f"{type(event).__name__} is no event of a reply")


def steps(answer: Answer) -> dict[str, str | None]:
    """The four steps of an answer."""
    return {name: getattr(answer, name) for name in CHAIN}


def profile(value: Profile | None) -> dict[str, str] | None:
    """A profile in words: age, gender and tone."""
    if value is None:
        return None
    age, gender, tone = value.ids
    return {"age": labels.AGES[age], "gender": labels.GENDERS[gender], "tone": labels.TONES[tone]}


def session(value: Session) -> dict[str, Any]:
    """A session: who answers, and what was said; a reply with the words of it that were heard."""
    turns = []
    for turn in value.turns:
        reply = turn.reply
        turns.append(
            {
                "said": turn.said or "",
                "recordings": sorted(turn.media),
                "reply": reply
                and {
                    "generation": reply.generation,
                    "response": reply.answer.response,
                    "heard": reply.heard,
                    "finished": reply.finished,
                    "chain": steps(reply.answer),
                },
            }
        )
    return {"id": value.id, "profile": profile(value.profile), "turns": turns}
