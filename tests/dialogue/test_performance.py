"""Sound and face that are made piece by piece: one sound without gaps, one film beside it, and those that are made at once."""

from __future__ import annotations

import numpy as np
import pytest

from empatheia_jax.dialogue.events import Frames, Motion
from empatheia_jax.dialogue.performance import FRAME_RATE, Performance, Role
from empatheia_jax.dialogue.reading import Sentences
from empatheia_jax.dialogue.responder import DEFAULT_LISTENER, Blend
from empatheia_jax.styletts2.joins import FADE, SAMPLE_RATE
from tests.dialogue.scripted import REPLY, ScriptedTexts

SHOWN = ("sad", 0.7)


def role(responder, blend=None, **changes) -> Role:
    style = np.random.default_rng(3)
    speech = style.standard_normal(256).astype(np.float32)
    video = style.standard_normal(responder.animator.config.denoiser.d_model).astype(np.float32)
    values = {
        "people": ((DEFAULT_LISTENER, 1.0),),
        "shows": ((SHOWN, 1.0),),
        "speech_style": speech,
        "video_style": video,
    }
    return Role(**{**values, "blend": blend or Blend.of(0.5, 0.5), "seed": 3} | changes)


def performed(responder, text=REPLY, draws=True, **options):
    """(pieces of sound, motions, frames) of a reply."""
    performance = Performance(responder, "a", role(responder, **options), draws=draws)
    texts = ScriptedTexts(responder.model.core.config.hidden_size)
    signals = responder.signals(texts.states("a", None, len(text)))
    pieces = Sentences().cut(text, ended=True)
    sound, motions, frames = [], [], []
    for number, (piece, _) in enumerate(pieces):
        ended = number == len(pieces) - 1
        if (said := performance.say(piece, signals)) is not None:
            sound.append(said)
        motion = performance.move(signals, ended=ended)
        motions += [motion] if motion else []
        frames += list(performance.draw(ended=ended)) if draws else []
    return sound, motions, frames, performance


@pytest.fixture(scope="module")
def whole(responder):
    return performed(responder)


def test_the_sound_has_no_gap_and_its_words_are_in_order(whole):
    sound, *_ = whole
    assert len(sound) == 4
    at = 0
    for number, piece in enumerate(sound):
        assert (piece.sentence, piece.start, piece.rate) == (number, at, SAMPLE_RATE)
        at += len(piece.samples)
    words = [word for piece in sound for word in piece.words]
    assert [word for word, _, _ in words] == REPLY.split()
    assert all(a <= b for _, a, b in words) and all(x[2] <= y[1] for x, y in zip(words, words[1:]))
    assert words[-1][2] <= at / SAMPLE_RATE


def test_pieces_join_in_silence(whole):
    """Every piece begins and ends with a fade to zero, so a join neither clicks nor jumps in level."""
    samples = np.concatenate([piece.samples for piece in whole[0]])
    loudest = np.abs(samples).max()
    at = 0
    for piece in whole[0][:-1]:
        at += len(piece.samples)
        around = samples[at - 3 : at + 3]
        assert np.abs(around).max() < 0.01 * loudest
        before = np.abs(samples[at - FADE : at])
        assert before[-FADE // 4 :].max() <= 0.3 * loudest


@pytest.mark.parametrize("kind", [Motion, Frames])
def test_the_face_covers_the_sound_to_a_frame(whole, kind):
    found = whole[1] if kind is Motion else whole[2]
    at = 0
    for event in found:
        assert (event.start, event.rate) == (at, FRAME_RATE)
        at += len(event.coefficients if kind is Motion else event.rgb)
    seconds = sum(len(piece.samples) for piece in whole[0]) / SAMPLE_RATE
    assert abs(at / FRAME_RATE - seconds) <= 1 / FRAME_RATE


def test_what_is_drawn_piece_by_piece_is_the_film_of_the_whole_motion(responder, whole):
    moves = np.concatenate([motion.coefficients for motion in whole[1]])
    portrait = responder.faces.portrait(DEFAULT_LISTENER)
    at_once = np.concatenate(list(responder.animator.render(portrait, moves)))
    np.testing.assert_array_equal(np.concatenate([event.rgb for event in whole[2]]), at_once)


def test_motion_from_any_frame_on_is_that_of_the_whole(responder):
    animator = responder.animator
    config = animator.config.denoiser
    content = np.random.default_rng(0).standard_normal((150, config.window_slots, config.d_model)).astype(np.float32)
    whole = animator.motion(content, seed=4)
    assert np.isfinite(whole).all()
    parts = [animator.motion(content[a:b], seed=4, start=a) for a, b in ((0, 1), (1, 63), (63, 65), (65, 150))]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_the_same_reply_is_the_same_sound_and_face_again(responder, whole):
    again = performed(responder, draws=False)
    for one, other in zip(whole[0] + whole[1], again[0] + again[1]):
        for name in ("samples", "coefficients"):
            if hasattr(one, name):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_half_an_hour_drifts_by_no_frame_and_keeps_nothing(responder, monkeypatch):
    """Places are counted, so length adds no error; sound and motion that are done with are let go."""
    speaker = responder.speaker
    short = next(iter(speaker.stream("Yes.", style=np.zeros(256, np.float32))))
    long = np.resize(short.samples, 613 * 600)  # 15.325 s: no whole number of frames

    def stream(text, **_):
        durations = np.resize([1, 612], 2)
        yield type(short)(long, "ɛ.", np.zeros(2, np.int32), durations, short.style)

    monkeypatch.setattr(type(speaker), "stream", lambda self, text, **options: stream(text))
    monkeypatch.setattr(type(speaker), "token_ids", lambda self, text: np.zeros(2, np.int32))
    animator = responder.animator
    width = animator.config.denoiser
    monkeypatch.setattr(
        type(animator), "content", lambda self, wave, frames: np.zeros((frames, width.window_slots, width.d_model))
    )
    monkeypatch.setattr(type(animator), "motion", lambda self, content, *_, **__: np.zeros((len(content), 73)))
    performance = Performance(responder, "a", role(responder, Blend.of(0.0, 0.0)), draws=False)
    frames = samples = count = 0
    while samples < 1800 * SAMPLE_RATE:
        samples += len(performance.say("Yes.", None).samples)
        count += 1
        motion = performance.move(None, ended=False)
        assert motion.start == frames
        frames += len(motion.coefficients)
        assert frames == samples // 960
        assert len(performance._heard) < 20 * SAMPLE_RATE and len(performance._moves) < 500
    assert performance.samples == samples and count > 100


def test_two_people_and_two_feelings_share_voice_and_face(responder):
    other = DEFAULT_LISTENER.parse("elderly male gentle")
    none = Blend.of(0.0, 0.0)

    def voice(people, shows):
        performance = Performance(responder, "a", role(responder, none, people=people, shows=shows))
        return performance._voiced(20)

    young, old = (voice(((who, 1.0),), ((SHOWN, 1.0),)) for who in (DEFAULT_LISTENER, other))
    half = voice(((DEFAULT_LISTENER, 0.5), (other, 0.5)), ((SHOWN, 1.0),))
    np.testing.assert_allclose(half[0], (young[0] + old[0]) / 2, atol=1e-6)
    assert half[1].pitch == pytest.approx((young[1].pitch * old[1].pitch) ** 0.5)
    mixed = role(responder, people=((DEFAULT_LISTENER, 0.3), (other, 0.7)))
    assert mixed.who == other


def test_what_cannot_be_spoken_is_left_out(responder):
    sound, motions, frames, _ = performed(responder, "Come in, and sit down. … ")
    assert len(sound) == 1 and motions and frames
    assert performed(responder, "…") [:3] == ([], [], [])  # fmt: skip
