"""Replies in the making: a thread takes the engine's events, and any number of answers read along.

The words, the sound and the motion are lines of JSON; frames and sound are also a film. Both are kept for a while, so that a
reply can be downloaded, and a reader that comes late reads from the beginning.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

import numpy as np

from empatheia_jax.dialogue.engine import Busy, Engine
from empatheia_jax.dialogue.events import Done, Event, Failed, Frames, SpeechPiece
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.session import Session
from empatheia_jax.dialogue.stream import Stream
from empatheia_jax.errors import UserError
from empatheia_jax.provenance.marks import Marks
from empatheia_jax.server.film import FilmWriter
from empatheia_jax.server.metrics import Metrics
from empatheia_jax.server.refusals import Refusal

KEPT = 24
"""Replies that are kept after their end."""
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Growing(Generic[T]):
    """A list that one thread makes longer, and that coroutines read along, each from the beginning."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop, self._items, self._ended = loop, list[T](), False
        self._changed = asyncio.Event()

    def add(self, item: T) -> None:
        """Appends, from any thread."""
        self._items.append(item)
        self._notify()

    def end(self) -> None:
        """There will be no more, from any thread."""
        self._ended = True
        self._notify()

    def _notify(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    @property
    def so_far(self) -> list[T]:
        """What is there."""
        return list(self._items)

    async def read(self) -> AsyncIterator[T]:
        """All items, as they come."""
        place = 0
        while True:
            changed, ended = self._changed, self._ended
            while place < len(self._items):
                yield self._items[place]
                place += 1
            if ended:
                return
            await changed.wait()


class Turn:
    """One reply."""

    def __init__(self, turns: Turns, session: Session, request: Request, interface: str):
        self.session, self.request, self.interface = session, request, interface
        loop = asyncio.get_running_loop()
        self.events: Growing[Event] = Growing(loop)
        self.film: Growing[bytes] = Growing(loop)
        self.sound: list[np.ndarray] = []
        self.rate = 24_000
        self.done: Done | None = None
        self.began = int(time.time())
        self.ended = asyncio.Event()
        self._turns, self._loop = turns, loop
        self._writer: FilmWriter | None = None
        self.stream = turns.begin(self)
        self.id = self.stream.generation
        threading.Thread(target=self._run, name=f"turn-{self.id[:8]}", daemon=True).start()

    def cancel(self) -> None:
        """Ends the reply where it is not complete."""
        self._turns.engine.cancel(self.id)

    async def whole(self) -> Done:
        """Waits for the end. Raises `Refusal` where the reply failed."""
        await self.ended.wait()
        last = self.events.so_far[-1]
        if isinstance(last, Failed):
            raise Refusal(500, "the server made a mistake; see its log") if last.fault else Refusal(400, last.reason)
        if self.done is None:
            raise Refusal(500, "the reply was lost; see the server's log")
        return self.done

    @property
    def samples(self) -> np.ndarray:
        """The sound so far."""
        return np.concatenate(self.sound) if self.sound else np.zeros(0, np.float32)

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            self._take()
        except Exception:
            _log.exception("a reply was lost")
            self.cancel()
            self.events.add(Failed(generation=self.id, reason="the server made a mistake", fault=True))
        finally:
            self.events.end()
            self.film.end()
            self._turns.ended(self)
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self.ended.set)

    def _take(self) -> None:
        for event in self.stream:
            if isinstance(event, SpeechPiece):
                event = dataclasses.replace(event, samples=self._turns.marks.sound(event.samples, event.rate))
                self.sound.append(event.samples)
                self.rate = event.rate
            self._filmed(event)
            if isinstance(event, Done):
                self.done = event
            self.events.add(event)

    def _filmed(self, event: Event) -> None:
        if "video" not in self.request.modalities:
            return
        if isinstance(event, SpeechPiece):
            if self._writer is None:
                size = self._turns.engine.responder.animator.image_size
                self._writer = FilmWriter((size, size), 25, event.rate)
            self._writer.sound(event.samples)
        elif isinstance(event, Frames) and self._writer is not None:
            self._writer.frames(event.rgb)
        elif isinstance(event, Done | Failed) and self._writer is not None:
            self._writer.close()
        if self._writer is not None and (content := self._writer.take()):
            self.film.add(content)


def busy(error: Busy) -> Refusal:
    """The refusal of a server whose places are all taken."""
    wait = {"retry-after": str(max(1, round(error.retry_after)))}
    return Refusal(429, str(error), code="rate_limit_exceeded", headers=wait)


class Turns:
    """Begins replies, and keeps the last ones."""

    def __init__(
        self, engine: Engine, marks: Marks, metrics: Metrics, saved: Callable[[Session], None] = lambda session: None
    ):
        self.engine, self.marks, self.metrics, self.saved = engine, marks, metrics, saved
        self._known: OrderedDict[str, Turn] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, session: Session, request: Request, interface: str) -> Turn:
        """Begins a reply; to be called in the event loop. Raises `Refusal` where it is not taken."""
        turn = Turn(self, session, request, interface)
        with self._lock:
            self._known[turn.id] = turn
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return turn

    def get(self, session: Session | None, id: str) -> Turn:
        """A reply by its id. Raises `Refusal` where it is not kept any more, or belongs to another session."""
        with self._lock:
            turn = self._known.get(id)
        if turn is None or (session is not None and turn.session is not session):
            raise Refusal(404, "this reply is not there any more; ask again", code="reply")
        return turn

    def begin(self, turn: Turn) -> Stream:
        """The engine's stream of a reply. Raises `Refusal`."""
        try:
            return self.engine.stream(turn.session, turn.request)
        except Busy as error:
            raise busy(error) from None
        except UserError as error:
            raise Refusal(400, str(error)) from None

    def ended(self, turn: Turn) -> None:
        """Counts a reply and saves its session."""
        last = turn.events.so_far[-1] if turn.events.so_far else None
        if isinstance(last, Done):
            self.metrics.ended(turn.interface, "complete" if last.finished else "cancelled", last.timings)
        else:
            self.metrics.ended(turn.interface, "failed", {})
        try:
            self.saved(turn.session)
        except UserError as error:
            _log.error("a session was not saved: %s", error)
