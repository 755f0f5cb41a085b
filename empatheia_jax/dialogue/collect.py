"""A reply as one object, out of the events of its stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from empatheia_jax.dialogue.events import Done, Event, Failed, Motion, SpeechPiece
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.responder import DEFAULT_LISTENER, Reply, Responder
from empatheia_jax.errors import UserError


def collect(
    events: Iterable[Event], request: Request, responder: Responder, on_event: Callable[[Event], None] | None = None
) -> Reply:
    """Takes all events of a reply with speech and motion; its frames are drawn when they are asked for.

    Args:
        events: of one reply, to their end.
        request: what was asked.
        responder: who performed it.
        on_event: called with each event as it comes.

    Raises:
        UserError: the reply failed for a reason of the user's, or it has no words.
        RuntimeError: it failed for another reason, or was cancelled.
    """
    sound, motion, end = [], [], None
    for event in events:
        if on_event is not None:
            on_event(event)
        if isinstance(event, SpeechPiece):
            sound.append(event.samples)
            rate = event.rate
        elif isinstance(event, Motion):
            motion.append(event.coefficients)
        elif isinstance(event, Failed):
            raise event.error
        elif isinstance(event, Done):
            end = event
    if end is None or not end.finished:
        raise RuntimeError("the reply was cancelled")
    if not motion:
        raise UserError(f"the reply {end.answer.response[:40]!r} has nothing to say; expected words")
    moves = np.concatenate(motion)
    profile, mix = end.profile or DEFAULT_LISTENER, request.mix
    portrait = mix.profile if mix is not None and mix.profile is not None and mix.profile_share > 0.5 else profile
    return Reply(
        answer=end.answer,
        text=end.text,
        emotion=end.emotion,
        shown=end.shown,
        profile=profile,
        heard=end.heard,
        speech=np.concatenate(sound),
        rate=rate,
        frames=responder.animator.render(responder.faces.portrait(portrait), moves),
        frame_count=len(moves),
        size=(responder.animator.image_size,) * 2,
        timings=dict(end.timings),
        instead=end.instead,
    )
