"""A session keeps what was said and exactly what was heard, and a folder of it survives being stopped at any moment."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.schema import Profile, Utterance
from empatheia_jax.dialogue import session as module
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.session import Session
from empatheia_jax.errors import UserError

REPLY = "I am sorry, my friend. It will get better."
WORDS = [(word, 0.2 + 0.5 * n, 0.6 + 0.5 * n) for n, word in enumerate(REPLY.split())]
STEPS = Answer("a loss", "sad", "keys", "comfort", REPLY, True)


def said(session: Session, text: str, generation: str, *, finished: bool = True, **request) -> None:
    session.begin(Request(text, **request), generation)
    session.wrote(generation, STEPS)
    session.spoke(generation, WORDS)
    if finished:
        session.wrote(generation, STEPS, finished=True)


def texts(session: Session) -> list[tuple[str, str]]:
    return [(each.role, each.text) for each in session.history()[0]]


@given(st.floats(0, 6), st.booleans())
def test_the_history_has_exactly_the_words_that_were_played(seconds, finished):
    session = Session()
    said(session, "Hello.", "a", finished=finished)
    heard = session.heard("a", seconds)
    expected = [word for word, _, end in WORDS if end <= seconds + module.ROUNDING]
    assert heard.split() == expected and REPLY.startswith(heard) and "…" not in heard
    assert texts(session)[1:] == ([("listener", heard)] if heard else [])


def test_the_last_report_counts_and_a_reply_without_one_counts_when_it_is_complete():
    session = Session()
    said(session, "Hello.", "a", finished=False)
    assert texts(session) == [("speaker", "Hello.")]
    session.wrote("a", STEPS, finished=True)
    assert texts(session)[1] == ("listener", REPLY)
    assert session.heard("a", 1.0) == "I" and session.heard("a", 100.0) == REPLY
    assert session.heard("of another session", 1.0) == ""


def test_ten_interruptions_in_a_row_are_one_utterance_and_its_latest_recordings(tmp_path):
    session = Session()
    for number in range(10):
        speech = tmp_path / f"{number}.wav" if number % 2 else None
        said(session, f"Wait {number}.", str(number), finished=False, speech=speech)
        session.heard(str(number), 0.1)
    history, media = session.history()
    assert [each.text for each in history] == [" ".join(f"Wait {number}." for number in range(10))]
    assert media == {0: {"speech": tmp_path / "9.wav"}}


def test_a_reply_that_failed_leaves_the_session_as_it_was():
    session = Session()
    said(session, "Hello.", "a")
    session.begin(Request("And?"), "b")
    session.withdraw("b")
    assert texts(session) == [("speaker", "Hello."), ("listener", REPLY)]
    session.begin(Request(None), "c")
    assert session.known_steps("c")["emotion_cause"] == "keys"
    assert texts(session) == [("speaker", "Hello.")] and session.history(before="c") == session.history()
    session.withdraw("c")
    assert texts(session)[1] == ("listener", REPLY)


@pytest.mark.parametrize("roles", ["ss", "sss", "slls", "slss", "lsls", "sllss", "llsls"])
def test_a_session_of_a_data_set_is_what_training_read_whoever_speaks_twice(tmp_path, roles):
    names = {"s": "speaker", "l": "listener"}
    history = [Utterance(n, names[role], f"This is {n}.") for n, role in enumerate(roles)]
    media = {n: {"speech": tmp_path / f"{n}.wav", "video": tmp_path / f"{n}.mp4"} for n in range(len(roles))}
    session = Session.of_utterances(history, media)
    assert session.history() == (history, media)
    for each in media.values():
        for path in each.values():
            path.write_bytes(path.name.encode())
    assert Session.load(session.save(tmp_path / "kept")).history()[0] == history


def test_a_session_of_a_data_set_keeps_its_recordings(tmp_path):
    history = [Utterance(0, "speaker", "One."), Utterance(1, "listener", "Two."), Utterance(2, "speaker", "Three.")]
    media = {0: {"speech": tmp_path / "a"}, 1: {"video": tmp_path / "b"}, 2: {"speech": tmp_path / "c"}}
    assert Session.of_utterances(history, media).history() == (history, media)


def full_session(folder) -> Session:
    session = Session(Profile.parse("elderly male gentle"), seed=5)
    recording = folder / "said.WAV"
    recording.write_bytes(b"sound")
    said(session, "Hello — “you”.", "a", speech=recording)
    said(session, "", "b", speech=recording, finished=False)
    session.heard("b", 1.3)
    session.turns.append(module.Turn("no reply yet"))
    return session


def test_a_saved_session_is_the_same_when_it_is_loaded(tmp_path):
    session = full_session(tmp_path)
    place = session.save(tmp_path / "kept")
    loaded = Session.load(place)
    assert (loaded.id, loaded.seed, loaded.profile) == (session.id, session.seed, session.profile)
    assert texts(loaded) == texts(session)
    assert [turn.reply for turn in loaded.turns] == [turn.reply for turn in session.turns]
    assert loaded.turns[0].media["speech"].read_bytes() == b"sound"
    assert len(list((place / "media").iterdir())) == 1
    del loaded.turns[1:]
    loaded.turns[0].media = {}
    loaded.save(place)  # onto itself: what nothing needs any more goes
    assert not list((place / "media").iterdir()) and len(Session.load(place).turns) == 1


def test_a_stop_while_it_is_saved_leaves_the_last_state(tmp_path, monkeypatch):
    session = full_session(tmp_path)
    place = session.save(tmp_path / "kept")
    before = texts(Session.load(place))
    said(session, "More.", "d")

    def killed(*_, **__):
        raise KeyboardInterrupt

    for step in ("write_json", "_store"):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, killed)
            with pytest.raises(KeyboardInterrupt):
                session.save(place)
        assert texts(Session.load(place)) == before
    session.save(place)
    assert texts(Session.load(place)) == texts(session)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda value: value.pop("turns"), "damaged"),
        (lambda value: value.update(version=9), "version 9"),
        (lambda value: value["turns"][0].update(media={"speech": "../../etc/passwd"}), "no name of a recording"),
        (lambda value: value["profile"].update(age="ancient"), "ancient"),
        (lambda value: value["turns"][0]["reply"].update(words=[["a", "b", 1]]), "damaged"),
    ],
)
def test_a_damaged_session_is_one_line(tmp_path, damage, message):
    place = full_session(tmp_path).save(tmp_path / "kept")
    value = json.loads((place / "session.json").read_text())
    damage(value)
    (place / "session.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=message) as caught:
        Session.load(place)
    assert "\n" not in str(caught.value)


def test_nothing_was_said_yet():
    with pytest.raises(UserError, match="nothing was said"):
        Session().begin(Request(None), "a")
