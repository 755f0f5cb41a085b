"""A given text is spoken verbatim, without the core."""

from __future__ import annotations

import pytest

from configs import debug
from empatheia_jax.dialogue import commands
from empatheia_jax.dialogue.engine import Engine
from empatheia_jax.dialogue.events import Done, Frames, Motion, SpeechPiece, TextPiece
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.session import Session
from empatheia_jax.settings import resolve
from tests.runs import folders

TEXT = "I am a program. Please call somebody who can help you now."


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    config = resolve(debug.get_config())
    engine = Engine(commands.responder(config, folders.untrained(config, tmp_path_factory.mktemp("run")).folder))
    yield engine
    engine.close()


def test_a_recited_text_is_said_as_it_stands_with_sound_and_face(engine):
    session = Session()
    asked = Request("I cannot go on.", modalities=("text", "speech", "motion", "video"))
    events = list(engine.recite(session, asked, TEXT))
    sound = [event for event in events if isinstance(event, SpeechPiece)]
    assert "".join(event.text for event in events if isinstance(event, TextPiece)) == TEXT
    assert [word for event in sound for word, _, _ in event.words] == TEXT.split()
    seconds = sum(len(event.samples) for event in sound) / sound[0].rate
    for kind, count in ((Motion, lambda event: len(event.coefficients)), (Frames, lambda event: len(event.rgb))):
        assert abs(sum(count(event) for event in events if isinstance(event, kind)) / 25 - seconds) <= 1 / 25
    assert isinstance(events[-1], Done) and events[-1].finished and events[-1].answer.response == TEXT
    assert session.turns[-1].said == "I cannot go on." and session.turns[-1].reply.answer.response == TEXT


def test_what_is_recited_again_replaces_the_reply(engine):
    session = Session.of(["Hello.", "A reply that may not be said."])
    events = list(engine.recite(session, Request(None, modalities=("text",)), TEXT))
    assert isinstance(events[-1], Done) and len(session.turns) == 1 and session.turns[0].reply.heard == TEXT
