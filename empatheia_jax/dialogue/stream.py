"""The receiver's end of one reply: a queue of its events. The engine fills it; whoever asked for the reply empties it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from empatheia_jax.dialogue.events import Done, Event, Failed, Frames, Instead, TextPiece

FRAMES_AHEAD = 64
"""Drawn frames that a receiver may leave untaken before drawing for it pauses."""


class Stream(Iterator[Event]):
    """The events of one reply, as they come. Leaving its block, or `close`, cancels what is not made yet.

    Args:
        generation: the reply's id, which every event carries.
        cancel: called with the id by `close`.
        frames_taken: called after drawn frames were taken, so that drawing can go on.
    """

    def __init__(self, generation: str, *, cancel: Callable[[str], object], frames_taken: Callable[[], object]):
        self.generation = generation
        self._cancel, self._frames_taken = cancel, frames_taken
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._frames = 0
        self._taken = ""

    # ------------------------------------------------------------------------------------------------ for the receiver

    def __next__(self) -> Event:
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event; None where the last one was given. Raises `TimeoutError` where none comes within `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._events or self._ended, timeout):
                raise TimeoutError(f"no event within {timeout} s")
            if not self._events:
                return None
            event = self._events.popleft()
            if isinstance(event, Frames):
                self._frames -= len(event.rgb)
            elif isinstance(event, TextPiece):
                self._taken += event.text
            elif isinstance(event, Instead):
                self._taken = ""
        if isinstance(event, Frames):
            self._frames_taken()
        return event

    def close(self) -> None:
        """Cancels the reply where it is not complete; nothing but its end is delivered after that."""
        self._cancel(self.generation)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ for the engine

    @property
    def full(self) -> bool:
        """Whether so many frames wait to be taken that drawing shall pause."""
        return self._frames >= FRAMES_AHEAD

    def put(self, event: Event) -> None:
        """Delivers an event, unless the stream has ended."""
        with self._changed:
            if self._ended:
                return
            self._events.append(event)
            if isinstance(event, Frames):
                self._frames += len(event.rgb)
            self._ended = isinstance(event, Done | Failed)
            self._changed.notify_all()

    def drop_untaken(self) -> str:
        """Drops the events that were not taken yet, so that only an end is still delivered.

        Returns:
            The text that was taken.
        """
        with self._changed:
            if not self._ended:
                self._events.clear()
                self._frames = 0
            return self._taken
