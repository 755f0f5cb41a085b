"""The engine: events in order, replies that end when they are told to, requests that share the device and stay apart."""

from __future__ import annotations

import random
import threading
import time

import jax
import numpy as np
import pytest

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.answer import one_line
from empatheia_jax.conversation.schema import Profile, Utterance
from empatheia_jax.core.slots import Wrote
from empatheia_jax.dialogue.engine import Busy, Engine
from empatheia_jax.dialogue.events import ChainStep, Done, Failed, Frames, Instead, Motion, SpeechPiece, TextPiece
from empatheia_jax.dialogue.request import CHAIN, DecodingChoice, Mix, Request
from empatheia_jax.dialogue.session import Session
from empatheia_jax.dialogue.stream import FRAMES_AHEAD
from empatheia_jax.dialogue.texts import SlotTexts
from empatheia_jax.dialogue.writer import Question, Writer
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2 import synthesis
from empatheia_jax.styletts2.speaker import Speech
from tests.dialogue import scripted
from tests.dialogue.scripted import REPLY, ScriptedTexts

ALL = ("text", "speech", "motion", "video")
TEXT = ("text",)
SOON = 60.0


def scripted_engine(responder, *replies, queue=32, **options) -> Engine:
    texts = ScriptedTexts(responder.model.core.config.hidden_size, *replies, **options)
    return Engine(responder, queue=queue, texts=texts)


@pytest.fixture
def engine(responder):
    engine = scripted_engine(responder)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def real(responder):
    """With the tiny core itself."""
    engine = Engine(responder, places=4)
    yield engine
    engine.close()


def text_of(events) -> str:
    return "".join(event.text for event in events if isinstance(event, TextPiece))


def ended(events) -> Done:
    assert isinstance(events[-1], Done) and events[-1].finished, events[-1]
    return events[-1]


def test_in_a_crisis_the_text_of_a_file_is_said_and_the_model_is_not_asked(responder):
    texts = ScriptedTexts(responder.model.core.config.hidden_size)
    texts.begin = lambda *arguments: pytest.fail("the model was asked")
    care = scripted.care()
    engine, session, words = Engine(responder, texts=texts, care=care), Session(), "I want to kill myself tonight."
    try:
        heard = []
        reply = engine.reply(session, Request(words), heard.append)
        assert text_of(heard) == reply.answer.response == care.before(words).text.strip()
        assert len(reply.speech) > 0 and session.turns[-1].said == words
        again = list(engine.stream(session, Request(modalities=TEXT)))
        assert text_of(again) == text_of(heard)
    finally:
        engine.close()


FIRST = "It sounds as though you had a very long and hard day."


@pytest.mark.parametrize("early", [True, False])
def test_what_the_model_may_not_say_is_not_spoken_and_the_text_of_a_file_is(responder, early):
    texts = ScriptedTexts(responder.model.core.config.hidden_size, f"{FIRST} Just kill yourself then.", pace=6)
    care = scripted.care()
    engine, session, heard = Engine(responder, texts=texts, care=care), Session(), []
    try:
        expected = care.after("Just kill yourself then.").text
        reply = engine.reply(session, Request("This deadline is killing me.", early=early), heard.append)
        assert reply.instead == "self-harm" and reply.answer.response == reply.text == expected
        place = next(n for n, event in enumerate(heard) if isinstance(event, Instead))
        assert text_of(heard[place:]) == expected and "yourself" not in text_of(heard[:place])
        assert expected == scripted.HELP
        words = [word for event in heard if isinstance(event, SpeechPiece) for word, _, _ in event.words]
        assert words == (FIRST.split() if early else []) + expected.split()
        assert session.turns[0].reply.heard == expected
        texts.replies[:] = [FIRST]
        assert engine.reply(session, Request("Well.")).instead == ""
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (f"{FIRST} You should diet slowly.", ""),
        (f"{FIRST} Nobody would miss your old job.", ""),
        (f"{FIRST} You have depression, your doctor said. Rest.", ""),
        (f"{FIRST} You have depression. Rest, your doctor said.", "diagnosis"),
        (f"{FIRST} You should die", "self-harm"),
    ],
)
def test_what_is_found_in_a_reply_does_not_depend_on_how_many_words_come_at_once(responder, said, kind):
    for pace in (1, 5, 1000):
        texts = ScriptedTexts(responder.model.core.config.hidden_size, said, pace=pace)
        engine = Engine(responder, texts=texts, care=scripted.care())
        try:
            heard = list(engine.stream(Session(), Request("Well.", modalities=TEXT)))
        finally:
            engine.close()
        done = ended(heard)
        assert (done.instead, done.answer.response) == (kind, scripted.HELP if kind else said)
        place = next((n for n, event in enumerate(heard) if isinstance(event, Instead)), 0)
        assert text_of(heard[place:]) == done.answer.response
        assert not any(word in text_of(heard[:place]) for word in ("die", "depression"))


def test_words_in_doubt_are_no_part_of_a_reply_that_is_cancelled(responder):
    said = f"{FIRST} You should die for a cause {'that is a good one ' * 20}"
    texts = ScriptedTexts(responder.model.core.config.hidden_size, said, pace=1)
    engine, session = Engine(responder, texts=texts, care=scripted.care()), Session()
    try:
        stream = engine.stream(session, Request("Well."))
        job, began = engine._jobs[stream.generation], time.monotonic()
        while "cause" not in job.answer.response and time.monotonic() < began + SOON:
            time.sleep(0.001)
        assert engine.cancel(stream.generation)
        done = list(stream)[-1]
        assert done.answer.response == f"{FIRST} You should di" and not done.finished
        given = engine.recite(session, Request("Well."), FIRST)
        assert engine.cancel(given.generation) and list(given)[-1].answer.response == FIRST
    finally:
        engine.close()


def test_a_reply_that_hurts_by_mistake_is_replaced_unless_it_says_the_user_s_words_back(responder):
    texts = ScriptedTexts(responder.model.core.config.hidden_size, "They hate you. What happened?")
    engine, session = Engine(responder, texts=texts, care=scripted.care()), Session()
    try:
        done = ended(list(engine.stream(session, Request("I waited at the window.", modalities=TEXT))))
        assert (done.instead, done.answer.response) == ("hurtful", scripted.HELP)
        for said in ("They all hate me there.", "Nothing else."):  # what was said in the turn before counts too
            assert ended(list(engine.stream(session, Request(said, modalities=TEXT)))).instead == ""
    finally:
        engine.close()


def test_an_edited_step_is_checked_as_what_is_typed(responder):
    engine = Engine(responder, texts=ScriptedTexts(responder.model.core.config.hidden_size), care=scripted.care())
    try:
        session = Session()
        edits = {"event_scenario": "I want to kill myself tonight."}
        list(engine.stream(session, Request("Hello.", modalities=TEXT)))
        events = list(engine.stream(session, Request(chain_edits=edits, modalities=TEXT)))
        assert isinstance(events[0], Instead) and ended(events).instead == "self-harm"
    finally:
        engine.close()


def test_events_come_in_order_and_make_one_reply(engine):
    session = Session()
    stream = engine.stream(session, Request("I lost my keys.", modalities=ALL))
    events = list(stream)
    assert {event.generation for event in events} == {stream.generation}
    done = ended(events)
    assert sum(isinstance(event, Done | Failed) for event in events) == 1
    steps = [(event.name, event.value) for event in events if isinstance(event, ChainStep)]
    assert steps == [(name, getattr(scripted.CHAIN, name)) for name in CHAIN]
    assert text_of(events) == REPLY == done.answer.response
    places = {
        kind: [n for n, event in enumerate(events) if isinstance(event, kind)] for kind in (TextPiece, SpeechPiece)
    }
    # The first sentence is spoken while the last ones are not written yet.
    assert places[SpeechPiece][0] < places[TextPiece][-1]
    for kind, size in ((SpeechPiece, "samples"), (Motion, "coefficients"), (Frames, "rgb")):
        at, found = 0, [event for event in events if isinstance(event, kind)]
        for event in found:
            assert event.start == at
            at += len(getattr(event, size))
        assert abs(at / found[0].rate - done.seconds) <= 1 / 25
    timings = [
        done.timings[name] for name in ("wait", "first_step", "first_text", "first_sound", "first_motion", "end")
    ]
    assert timings == sorted(timings)
    assert [each.text for each in session.history()[0]] == ["I lost my keys.", REPLY]


def test_a_reply_is_the_collected_stream(engine):
    reply = engine.reply(Session(), Request("I lost my keys.", seed=3, early=False))
    events = list(engine.stream(Session(), Request("I lost my keys.", seed=3, early=False, modalities=ALL)))
    sound = np.concatenate([event.samples for event in events if isinstance(event, SpeechPiece)])
    np.testing.assert_array_equal(reply.speech, sound)
    drawn = np.concatenate([event.rgb for event in events if isinstance(event, Frames)])
    np.testing.assert_array_equal(np.concatenate(list(reply.frames)), drawn)
    assert reply.frame_count == len(drawn) and reply.answer.response == REPLY


def test_only_what_is_asked_for_is_made(engine):
    kinds = {TEXT: {ChainStep, TextPiece, Done}, ("speech",): {ChainStep, TextPiece, SpeechPiece, Done}}
    for modalities, expected in kinds.items():
        assert {type(event) for event in engine.stream(Session(), Request("Hello.", modalities=modalities))} == expected


def quick(text: str, **_):
    """A sound without synthesis: silence, 50 ms a symbol. What is tested with it is who gets it, and when."""
    count = len(text) + 2
    durations = np.full(count, 2)
    yield Speech(
        np.zeros(1200 * count, np.float32), text, np.zeros(count, np.int32), durations, np.zeros(256, np.float32)
    )


def test_a_hundred_interruptions_leave_no_stale_event_and_at_most_one_word_of_error(responder, monkeypatch):
    """A reply is cancelled at any moment; its receiver is another thread, as in a server."""
    monkeypatch.setattr(type(responder.speaker), "stream", lambda self, text, **options: quick(text, **options))
    engine, chance = scripted_engine(responder), random.Random(0)
    session, stale, reports = Session(), [], 0
    try:
        for number in range(100):
            stream = engine.stream(session, Request(f"Question {number}.", modalities=("text", "speech")))
            taken, cancelled = [], threading.Event()

            def receive(stream=stream, taken=taken, cancelled=cancelled):
                while True:
                    over = cancelled.is_set()  # before the event is asked for
                    if (event := stream.get(SOON)) is None:
                        return
                    taken.append(event)
                    if event.generation != stream.generation or (over and not isinstance(event, Done)):
                        stale.append(event)

            receiver = threading.Thread(target=receive)
            receiver.start()
            wanted, deadline = chance.randrange(0, 12), time.monotonic() + SOON
            while len(taken) < wanted and receiver.is_alive() and time.monotonic() < deadline:
                time.sleep(0.001)
            complete = not engine.cancel(stream.generation)
            if not complete:
                cancelled.set()
            receiver.join(SOON)
            assert isinstance(taken[-1], Done) and taken[-1].finished == complete
            words = [word for event in taken if isinstance(event, SpeechPiece) for word in event.words]
            played = chance.uniform(0, words[-1][2]) if words else 0.0
            heard = session.heard(stream.generation, played).split()
            expected = [word for word, _, end in words if end <= played]
            assert abs(len(heard) - len(expected)) <= 1 and REPLY.split()[: len(heard)] == heard
            reports += bool(heard)
        assert not stale and reports > 10
        assert engine.state()["writing"] == engine.state()["performing"] == engine.state()["waiting"] == 0
        assert text_of(list(engine.stream(session, Request("And now?", modalities=TEXT)))) == REPLY
    finally:
        engine.close()


def test_text_that_was_not_taken_was_not_read(engine):
    session = Session()
    stream = engine.stream(session, Request("Hello.", modalities=TEXT))
    first = next(event for event in stream if isinstance(event, TextPiece))
    stream.close()
    assert session.turns[0].reply.heard == first.text.strip() and isinstance(list(stream)[-1], Done)


def test_a_new_question_ends_the_reply_before_it_and_other_sessions_go_on(engine):
    session, other = Session(), Session()
    first, beside = (engine.stream(each, Request("One.", modalities=TEXT)) for each in (session, other))
    second = engine.stream(session, Request("Two.", modalities=TEXT))
    assert not list(first)[-1].finished
    assert text_of(list(second)) == text_of(list(beside)) == REPLY
    assert engine._texts.asked[second.generation] == ["One. Two."]  # nothing of the first reply was heard


def test_waiting_sessions_take_turns(responder):
    """One session asks for much and another for little: the little one does not wait behind all of it."""
    engine = scripted_engine(responder, places=1)
    try:
        with engine._lock:  # nothing begins before all of it is asked for
            many = [engine.stream(Session(id="many"), Request("A.", modalities=TEXT)) for _ in range(5)]
            one = engine.stream(Session(id="one"), Request("B.", modalities=TEXT))
        for stream in (*many, one):
            ended(list(stream))
        assert engine._texts.began.index(one.generation) == 1
    finally:
        engine.close()


def test_beyond_the_queue_it_says_when_to_come_again(responder):
    engine = scripted_engine(responder, queue=2, places=1)
    try:
        with engine._lock:
            streams = [engine.stream(Session(), Request("A.", modalities=TEXT)) for _ in range(2)]
            session = Session()
            with pytest.raises(Busy) as caught:
                engine.stream(session, Request("A.", modalities=TEXT))
        assert caught.value.retry_after >= 1 and not session.turns
        for stream in streams:
            ended(list(stream))
        ended(list(engine.stream(session, Request("A.", modalities=TEXT))))
    finally:
        engine.close()


def test_who_does_not_take_his_frames_stops_nobody_and_fills_no_memory(responder, monkeypatch):
    monkeypatch.setattr(type(responder.speaker), "stream", lambda self, text, **options: quick(text, **options))
    engine = scripted_engine(responder)
    try:
        slow = engine.stream(Session(), Request("Hello.", modalities=ALL))
        done = ended(list(engine.stream(Session(), Request("Hello.", modalities=("text", "speech")))))
        assert done.seconds > 5
        deadline = time.monotonic() + SOON
        while not slow.full and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        batch = responder.animator.render_batch
        assert FRAMES_AHEAD <= slow._frames < FRAMES_AHEAD + 2 * batch
        frames = sum(len(event.rgb) for event in slow if isinstance(event, Frames))
        assert abs(frames / 25 - done.seconds) <= 2 / 25
    finally:
        engine.close()


def test_what_goes_wrong_fails_one_reply_alone(engine, responder, monkeypatch):
    begin = engine._texts.begin

    def failing(generation, question, request, steps):
        if question.history[-1].text == "Boom.":
            raise RuntimeError("a fault")
        if question.history[-1].text == "Too long.":
            raise UserError("it does not fit")
        begin(generation, question, request, steps)

    monkeypatch.setattr(engine._texts, "begin", failing)
    for text, fault in (("Boom.", True), ("Too long.", False)):
        session = Session()
        (event,) = engine.stream(session, Request(text, modalities=TEXT))
        assert isinstance(event, Failed) and event.fault == fault and not session.turns
        with pytest.raises(RuntimeError if fault else UserError):
            engine.reply(session, Request(text))
    ended(list(engine.stream(Session(), Request("Fine.", modalities=TEXT))))


def test_a_closed_engine_ends_what_it_has_and_takes_nothing(responder):
    engine = scripted_engine(responder)
    stream = engine.stream(Session(), Request("Hello.", modalities=ALL))
    engine.close()
    assert not list(stream)[-1].finished
    with pytest.raises(RuntimeError, match="closed"):
        engine.stream(Session(), Request("Hello."))


# ---------------------------------------------------------------- with the core itself


def test_one_alone_and_many_together_say_the_same(real):
    """The same seed gives the same words, whoever writes beside it."""

    def said(streams):
        return [ended(list(stream)).text for stream in streams]

    asked = [Request(f"Question {number}.", seed=number, modalities=TEXT) for number in range(5)]
    alone = [said([real.stream(Session(), request)])[0] for request in asked]
    together = said([real.stream(Session(), request) for request in asked])
    assert together == alone and len(set(alone)) == 5
    assert real.state()["writing"] == 0 and real._texts.free


def test_with_early_false_the_states_are_those_of_the_writer(real, responder):
    """What the bridge is given is what `Writer.write`, and so training's order of things, gives it."""
    session = Session(Profile.parse("elderly male gentle"), seed=responder.writer.seed)
    kept = {}
    states = SlotTexts.states

    def keep(self, generation, answer, upto):
        kept["written"] = states(self, generation, answer, upto)
        return kept["written"]

    SlotTexts.states = keep
    try:
        done = ended(list(real.stream(session, Request("I lost my keys.", modalities=TEXT, early=False))))
    finally:
        SlotTexts.states = states
    question = Question(*session.history(before=None), session.profile)
    question = type(question)(question.history[:1], question.media, question.listener)
    expected = responder.writer.write([question])[0]
    assert done.answer == expected.answer
    for name in ("response", "signals"):
        np.testing.assert_allclose(getattr(kept["written"], name), getattr(expected, name), atol=2e-3)


def test_what_a_free_answer_says_behind_its_end_is_no_part_of_it(responder, monkeypatch):
    """However many tokens are written at once."""
    writer = Writer(
        responder.model, responder.writer.tokenizer, None,
        settings=responder.writer.settings, policy=responder.policy, form=None,
    )  # fmt: skip
    texts, tokenizer = SlotTexts(writer, places=1), writer.tokenizer
    tokens = np.asarray(tokenizer.encode("Step-5 empathetic response: I see.</response> And more words follow."))
    hidden = np.zeros((len(tokens), responder.model.core.config.hidden_size), np.float32)
    found = []
    for size in (1, 7, len(tokens)):
        places = iter(range(0, len(tokens), size))
        grew, name = [], f"of {size}"

        def step(steps, size=size, places=places):
            part = slice(start := next(places), start + size)
            return [Wrote(0, tokens[part], np.full(len(tokens[part]), -1), hidden[part], False)]

        texts.begin(name, Question([Utterance(0, "speaker", "Hello.")]), Request("Hello."), {})
        monkeypatch.setattr(texts._decoder, "step", step)
        while not grew or not grew[-1][-1]:
            texts.step(lambda *told, grew=grew: grew.append(told))
        found.append(grew[-1][1:])
        texts._drop()
    assert found[0][0].endswith("I see.</response>") and found == [found[0]] * 3


def test_an_edited_step_stays_what_comes_before_and_writes_the_rest_anew(real):
    session = Session(seed=2)
    first = ended(list(real.stream(session, Request("I lost my keys.", modalities=TEXT)))).answer
    edits = {"emotion_cause": "The <emo> keys </emo> were\nher mother's."}
    events = list(real.stream(session, Request(chain_edits=edits, modalities=TEXT)))
    second = ended(events).answer
    assert second.event_scenario == one_line(first.event_scenario)
    assert second.speaker_emotion == first.speaker_emotion
    assert second.emotion_cause == "The <emo> keys </emo> were her mother's."
    assert second.goal_to_response and second.response and second != first
    assert [event.name for event in events if isinstance(event, ChainStep)] == list(CHAIN)
    assert len(session.turns) == 1 and session.turns[0].reply.answer == second
    # A synonym becomes its label; without an earlier chain the steps before an edit are not known.
    third = ended(list(real.stream(session, Request(chain_edits={"speaker_emotion": "worried"}, modalities=TEXT))))
    assert third.emotion["of_32"] == "anxious" and third.answer.event_scenario == second.event_scenario
    (failed,) = real.stream(Session(), Request("Hello.", chain_edits=edits, modalities=TEXT))
    assert isinstance(failed, Failed) and "event_scenario" in failed.reason


def test_the_pipeline_has_no_chain_and_takes_nothing_of_the_core(real, monkeypatch):
    for name in ("speech_content", "video_content"):
        monkeypatch.setattr(real.responder, name, lambda *_: pytest.fail("features of the core"))
    events = list(real.stream(Session(), Request("I lost my keys.", pipeline=True)))
    done = ended(events)
    assert done.answer.event_scenario is None and done.answer.speaker_emotion in labels.EMOTIONS_32
    assert done.shown == ("neutral", 1.0) and any(isinstance(event, Motion) for event in events)


def test_settings_of_one_request(real):
    short = Request("Hello.", decoding=DecodingChoice(response_tokens=3), modalities=TEXT)
    assert len(ended(list(real.stream(Session(), short))).answer.response.encode()) <= 3 * 4
    greedy = Request("Hello.", decoding=DecodingChoice(temperature=0.0), modalities=TEXT)
    texts = {ended(list(real.stream(Session(seed=seed), greedy))).text for seed in range(2)}
    assert len(texts) == 1
    drawn = {
        ended(list(real.stream(Session(), Request("Hello.", seed=seed, modalities=TEXT)))).text for seed in range(3)
    }
    assert len(drawn) == 3


def test_an_emotion_is_shown_and_styles_are_mixed(real):
    shown = Request("Hello.", emotion="happy", modalities=("speech", "motion"), seed=1)
    assert ended(list(real.stream(Session(), shown))).shown == ("happy", 1.0)

    def voice(mix):
        events = list(real.stream(Session(), Request("Hello.", mix=mix, modalities=("speech", "motion"), seed=1)))
        ended(events)
        return [
            np.concatenate([getattr(event, name) for event in events if isinstance(event, kind)])
            for kind, name in ((SpeechPiece, "samples"), (Motion, "coefficients"))
        ]

    other = Profile.parse("elderly male gentle")
    plain, none, much = (voice(mix) for mix in (None, Mix("joyful", 0.0, other, 0.0), Mix("joyful", 1.0, other, 1.0)))
    for mine, same, others in zip(plain, none, much):
        assert np.isfinite(mine).all()
        assert mine.shape == same.shape and np.allclose(mine, same, atol=1e-4)
        assert mine.shape != others.shape or not np.allclose(mine, others, atol=1e-3)


def test_a_second_request_compiles_nothing(real, monkeypatch):
    """Nothing is compiled after the warm-up, whatever is asked then. (These replies are short; so is the warm-up.)"""
    monkeypatch.setattr(synthesis, "WARM_FRAMES", (208,))
    monkeypatch.setattr(synthesis, "TOKENS", (128,))
    real.warm()
    compiled = []

    def listen(name, *_, **__):
        if "backend_compile" in name:
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for seed, text in enumerate(("Hello.", "I lost my keys, and my bag too. " * 4)):
            ended(list(real.stream(Session(seed=seed), Request(text, modalities=ALL))))
        ended(list(real.stream(Session(), Request("Hello.", pipeline=True, modalities=ALL))))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled
