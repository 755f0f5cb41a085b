"""The animator: any length under one compilation, its two entries for Empatheia, and the film it writes."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest
from dreamtalk_sizes import DENOISER, WHOLE, build
from flax import nnx
from PIL import Image

from empatheia_jax import tiny, weights
from empatheia_jax.dreamtalk import features
from empatheia_jax.dreamtalk import speech as speech_features
from empatheia_jax.dreamtalk.animator import Animator
from empatheia_jax.dreamtalk.model import KIND
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import audio_info
from empatheia_jax.media.video import read_frames, video_info
from empatheia_jax.media.video_writer import VideoWriter

RATE = 16_000


def speech(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).normal(size=round(seconds * RATE))).astype(np.float32)


def picture(side: int = 32) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    return build(WHOLE)


@pytest.fixture(scope="module")
def animator(model):
    return Animator(model, motion_piece=8, render_batch=4)


def test_speech_of_any_length_moves_the_face_under_one_compilation(animator):
    for seconds, frames in ((0.2, 4), (0.7, 17), (1.0, 24)):
        moves = animator.motion(speech(seconds))
        assert moves.shape == (frames, 19) and moves.dtype == np.float32 and np.isfinite(moves).all()
        np.testing.assert_array_equal(moves[:, 10:], [WHOLE.rest_pose] * frames)
    assert animator._sample.traces == 1 and animator._content.traces == 1


def test_the_seed_decides_and_longer_speech_begins_like_shorter(animator):
    content = animator.content(speech(0.8))
    assert content.shape == (19, DENOISER.window_slots, DENOISER.d_model)
    moves = animator.motion(content, seed=3)
    np.testing.assert_array_equal(animator.motion(content, seed=3), moves)
    np.testing.assert_allclose(animator.motion(content[:10], seed=3), moves[:10], atol=1e-6)
    assert np.abs(animator.motion(content, seed=4) - moves).max() > 1e-4


def test_the_speech_features_of_frames_become_the_content_of_the_sound(animator):
    waves = [speech(0.8), speech(0.5)]
    for frames, content in zip(animator.speech_frames(waves), animator.contents(waves), strict=True):
        assert frames.shape == (len(content), 2, DENOISER.audio_feature_dim)
        found = animator.content_of(frames)
        whole = len(content) - DENOISER.window_radius  # the last windows may see a row that fills no frame
        np.testing.assert_allclose(found[:whole], content[:whole], atol=1e-6)
        assert found.shape == content.shape


def test_content_and_style_may_come_from_elsewhere(animator):
    clip = np.random.default_rng(2).normal(size=(12, 10)).astype(np.float32)
    code = animator.style_of(clip)
    assert code.shape == (DENOISER.d_model,)
    wave = speech(0.4)
    by_clip, by_code = animator.motion(wave, clip), animator.motion(animator.content(wave), code)
    np.testing.assert_array_equal(by_clip, by_code)
    assert np.abs(by_clip - animator.motion(wave)).max() > 1e-5  # the null style is another one
    assert np.abs(by_clip - animator.motion(wave, clip, guidance=3.0)).max() > 1e-5
    np.testing.assert_array_equal(animator.style_of(None), animator.style_of(np.zeros((16, 10), np.float32)))
    long = np.concatenate([clip, clip])
    np.testing.assert_array_equal(animator.style_of(long), animator.style_of(long[:16]))


def test_frames_come_in_batches_under_one_compilation(animator):
    moves = np.random.default_rng(3).normal(size=(10, 19)).astype(np.float32)
    batches = list(animator.render(picture(), moves))
    assert [len(b) for b in batches] == [4, 4, 2] and all(b.dtype == np.uint8 for b in batches)
    np.testing.assert_array_equal(np.concatenate(list(animator.render(picture(), moves))), np.concatenate(batches))
    assert next(animator.render(picture(200), moves[:1])).shape == (1, 32, 32, 3)
    assert animator._render.traces == 1


def test_pictures_and_sound_are_as_long_for_every_number_of_samples():
    """From 0.2 s to 10 min: all lengths of the first second, and as many around each of a thousand later ones."""
    near = [
        np.arange(3200, 2 * RATE),
        *(s + np.arange(-3, 700) for s in np.linspace(2 * RATE, 600 * RATE, 1000, dtype=int)),
    ]
    for samples in np.unique(np.concatenate(near)):
        assert abs(samples / RATE - features.frames_of(int(samples)) / 25) <= 1 / 25 + 1e-9


@pytest.mark.parametrize("seconds", [0.2, 0.3449, 1.0, 7.777])
def test_a_film_has_its_speech_and_differs_from_it_by_a_frame_at_most(animator, tmp_path, seconds):
    wave = speech(seconds)
    moves = animator.motion(wave, steps=1)
    path = tmp_path / "film.mp4"
    assert animator.film(path, wave, picture(48), moves) == len(moves)
    fits(path, seconds, frames=len(moves))
    assert read_frames(path, count=2).std() > 1


def fits(path, seconds: float, frames: int) -> None:
    """A film has these pictures, 25 a second, and its sound lasts as long as the speech."""
    info = video_info(path)
    assert info.frames == frames and info.fps == 25 and (info.height, info.width) == (32, 32)
    assert abs(seconds - info.frames / 25) <= 1 / 25 + 1e-9
    assert audio_info(path).seconds == pytest.approx(seconds, abs=0.07)


# `slow`: the writer does the same for each of the minutes, and the film of one is the quick test of the claim.
@pytest.mark.parametrize("seconds", [60.0, pytest.param(600.0, marks=pytest.mark.slow)])
def test_a_film_of_minutes_has_its_speech(tmp_path, seconds):
    """A film is written as its frames come; here they are drawn beforehand, so that only the writing takes time."""
    path = tmp_path / "film.mp4"
    frames = features.frames_of(round(seconds * RATE))
    batch = np.zeros((250, 32, 32, 3), np.uint8)
    with VideoWriter(path, fps=25, size=(32, 32), audio=speech(seconds), audio_rate=RATE) as film:
        for begin in range(0, frames, len(batch)):
            film.write(batch[: frames - begin])
    fits(path, seconds, frames)


SPEECH = dataclasses.replace(
    tiny.HUBERT, model_type="wav2vec2", width=DENOISER.audio_feature_dim, mlp=24, conv_channels=(12,) * 7
)


def test_with_wav2vec2_the_content_follows_the_network_and_not_its_padding():
    animator = Animator(build(dataclasses.replace(WHOLE, speech=SPEECH)), motion_piece=8, render_batch=4)
    wave = speech(0.7)
    rows = animator.features(wave)
    assert rows.shape == (34, SPEECH.width)
    network = tiny.made_up(lambda: Wav2Vec2(SPEECH, rngs=nnx.Rngs(0)))
    alone = speech_features.SpeechFeatures(network, SPEECH.width, bucket=1)(wave)
    padded = speech_features.SpeechFeatures(network, SPEECH.width, bucket=4000)(wave)
    np.testing.assert_allclose(padded, alone, atol=2e-5)
    assert animator.content(wave).shape == (17, DENOISER.window_slots, DENOISER.d_model)
    moves = animator.motion(wave)
    assert moves.shape == (17, 19) and np.isfinite(moves).all()
    assert np.abs(moves - animator.motion(2 * wave)).max() < 1e-3  # loudness is standardised away
    assert np.abs(moves - animator.motion(wave[::-1].copy())).max() > 1e-4  # what is said is not


def test_long_speech_is_read_in_pieces_that_overlap():
    network, margin, piece = tiny.made_up(lambda: Wav2Vec2(SPEECH, rngs=nnx.Rngs(0))), 5, 320 * 40
    read = speech_features.SpeechFeatures(network, SPEECH.width, piece=piece, margin=margin, bucket=piece)
    graph, state = nnx.split(network)
    last = jax.jit(lambda wave, length: nnx.merge(graph, state)(wave, lengths=length).last)
    wave = features.standardise(speech(2.5))
    rows = read(wave)
    assert rows.shape == (features.rows_of(len(wave)), SPEECH.width)
    for begin in (0, 30, 60, 90):  # 40 rows a piece, of which 30 count
        first = max(0, begin - margin)
        part = np.zeros(piece, np.float32)
        given = wave[first * features.HOP :][:piece]
        part[: len(given)] = given
        want = np.asarray(last(part[None], np.asarray([len(given)])))[0, begin - first :][:30]
        np.testing.assert_allclose(rows[begin : begin + 30], want[: len(rows) - begin], atol=2e-5)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda a: a.motion(np.zeros(10, np.float32)), "shorter"),
        (lambda a: a.motion(np.full(RATE, np.nan, np.float32)), "NaN"),
        (lambda a: a.motion(np.zeros((4, 5, 7), np.float32)), "content of shape"),
        (lambda a: a.motion(speech(0.2), np.zeros(7, np.float32)), "style code of shape"),
        (lambda a: a.style_of(np.zeros((0, 10), np.float32)), "no frames"),
        (lambda a: a.style_of(np.zeros((5, 64), np.float32)), "style clip of shape"),
        (lambda a: a.motion(speech(0.2), steps=7), "divisor"),
        (lambda a: a.render(picture(), np.zeros((3, 73), np.float32)), "motion of shape"),
        (lambda a: a.render(picture().astype(float), np.zeros((3, 19), np.float32)), "portrait of float64"),
        (lambda a: a.portrait_for(1, 0, 1), "no portraits"),
    ],
)
def test_bad_input_is_refused_in_one_line(animator, call, reason):
    with pytest.raises(UserError, match=reason) as error:
        call(animator)
    assert "\n" not in str(error.value)


def test_silence_is_spoken_with_a_closed_sentence_not_with_nan(animator):
    assert np.isfinite(animator.motion(np.zeros(RATE, np.float32))).all()


def test_a_weights_folder_brings_portraits_and_head_movements(model, animator, tmp_path):
    people = {"boy.png": (0, 0, 1), "woman.png": (1, 1, 1), "elder.png": (3, 1, 2)}
    listing = [dict(zip(("file", "age", "gender", "tone"), (name, *codes))) for name, codes in people.items()]
    pose = np.arange(18, dtype=np.float32).reshape(2, 9)
    files = {"portraits.json": json.dumps(listing).encode()}
    for shade, name in enumerate(people):
        Image.fromarray(np.full((32, 32, 3), 10 + shade, np.uint8)).save(tmp_path / name)
        files[name] = tmp_path / name
    np.save(tmp_path / "pose.npy", pose)
    files["pose.npy"] = tmp_path / "pose.npy"
    folder = tmp_path / "whole"
    weights.save(folder, model, WHOLE, KIND, {}, files)

    loaded = Animator.load(folder, motion_piece=8, render_batch=4)
    assert loaded.config == WHOLE
    moves = loaded.motion(speech(0.3))
    np.testing.assert_array_equal(moves[:, 10:], pose[np.minimum(np.arange(len(moves)), 1)])
    np.testing.assert_array_equal(moves[:, :10], animator.motion(speech(0.3))[:, :10])
    shades = {codes: loaded.portrait_for(*codes)[0, 0, 0] for codes in ((0, 0, 1), (1, 1, 0), (3, 1, 0), (3, 0, 1))}
    assert list(shades.values()) == [10, 11, 12, 10]
