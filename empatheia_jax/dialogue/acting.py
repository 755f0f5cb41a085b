"""Sound and face of one reply, a step at a time, so that the device can serve several replies in turn."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from empatheia_jax.dialogue.casting import cast
from empatheia_jax.dialogue.events import Event
from empatheia_jax.dialogue.job import Job
from empatheia_jax.dialogue.performance import Performance
from empatheia_jax.empatheia import Signals


class Deliver(Protocol):
    """Gives an event of a reply to its receiver; `shown`: False where only the session is told."""

    def __call__(self, job: Job, event: Event, *, shown: bool = True) -> None: ...


def act(job: Job, deliver: Deliver) -> Generator[bool, None, None]:
    """Speaks, moves and draws the pieces of a reply as they come; each step yields True. It ends with the text's last piece.

    Where no piece is there yet, `job.idle` is true until the next step.
    """
    modalities = set(job.request.modalities)
    moves, draws = bool({"motion", "video"} & modalities), "video" in modalities
    signals = None
    while True:
        if not job.pieces:
            if job.text_ended:
                break
            job.idle = True
            yield True
            job.idle = False
            continue
        text, written = job.pieces.popleft()
        signals = None if written is None else job.responder.signals(written)
        if job.performance is None:
            job.performance = cast(job, written, draws=draws)
        piece = job.performance.say(text, signals)
        if piece is not None:
            job.mark("first_sound")
            deliver(job, piece, shown="speech" in modalities)
        yield True
        if moves:
            ended = job.text_ended and not job.pieces
            yield from _face(job, job.performance, signals, deliver, ended=ended, draws=draws)
    if moves and job.performance is not None:
        yield from _face(job, job.performance, signals, deliver, ended=True, draws=draws)


def _face(
    job: Job, performance: Performance, signals: Signals | None, deliver: Deliver, *, ended: bool, draws: bool
) -> Generator[bool, None, None]:
    motion = performance.move(signals, ended=ended)
    if motion is not None:
        job.mark("first_motion")
        if "motion" in job.request.modalities:
            deliver(job, motion)
        yield True
    if draws:
        for frames in performance.draw(ended=ended):
            job.mark("first_frame")
            deliver(job, frames)
            yield True
