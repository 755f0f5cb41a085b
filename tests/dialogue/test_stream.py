"""The receiver's end of a reply: what it takes, what it drops, when drawing shall pause."""

from __future__ import annotations

import numpy as np
import pytest

from empatheia_jax.conversation.answer import parse_reply
from empatheia_jax.dialogue.events import Done, Failed, Frames, Instead, TextPiece
from empatheia_jax.dialogue.stream import FRAMES_AHEAD, Stream
from empatheia_jax.errors import UserError


def text(words: str) -> TextPiece:
    return TextPiece(generation="g", text=words)


def stream(**changed) -> Stream:
    return Stream("g", **{"cancel": lambda _: None, "frames_taken": lambda: None, **changed})


END = Done(generation="g", answer=parse_reply(""), emotion={}, timings={}, finished=False)


def test_events_come_in_order_and_nothing_comes_behind_the_end():
    made = stream()
    for event in (text("One."), END, text("Two.")):
        made.put(event)
    assert list(made) == [text("One."), END] and made.get(0) is None


def test_where_nothing_comes_the_wait_ends():
    with pytest.raises(TimeoutError, match=r"no event within 0\.01 s"):
        stream().get(0.01)


def test_what_was_not_taken_is_dropped_and_what_was_replaced_does_not_count_as_read():
    made = stream()
    for event in (text("One. "), text("Two. "), Instead(generation="g", kind="self-harm", notice=""), text("Help.")):
        made.put(event)
    next(made), next(made)
    assert made.drop_untaken() == "One. Two. "
    made.put(Instead(generation="g", kind="self-harm", notice=""))
    made.put(text("Help."))
    next(made), next(made)
    assert made.drop_untaken() == "Help."
    made.put(END)
    assert list(made) == [END]


def test_drawing_pauses_until_frames_are_taken():
    told = []
    made = stream(frames_taken=lambda: told.append(made.full))
    made.put(Frames(generation="g", rgb=np.zeros((FRAMES_AHEAD, 1, 1, 3), np.uint8), rate=25, start=0))
    assert made.full and not told
    next(made)
    assert told == [False]


def test_leaving_its_block_cancels():
    cancelled = []
    with stream(cancel=cancelled.append):
        pass
    assert cancelled == ["g"]


def test_a_failure_says_whose_it_was():
    assert isinstance(Failed(generation="g", reason="no words").error, UserError)
    assert isinstance(Failed(generation="g", reason="a fault", fault=True).error, RuntimeError)
