"""Lips against what was learned from recordings: other recordings come before a system, and what does not fit is seen."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from empatheia_jax.dreamtalk import drawn_face
from empatheia_jax.dreamtalk.drawn_face import visemes
from empatheia_jax.errors import UserError
from evaluation import films, learned_lips, lip_loudness
from evaluation.speech_judges import Absent

SOUNDS, SIZE, RATE = 20, 64, learned_lips.RATE
PEOPLE, TESTED = 6, 2
FORMANTS = {"ɑ": (730, 1090), "i": (270, 2290), "u": (300, 870), "m": (250, 250), "s": (), " ": ()}


def speech(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A voice that says sounds at random, each as loud as chance will, and what the mouth of its speaker does."""
    rng = np.random.default_rng([7, seed])
    symbols, seconds = rng.choice(list(FORMANTS), SOUNDS), rng.uniform(0.1, 0.16, SOUNDS)
    pitch, parts = rng.uniform(100, 220), []
    for symbol, length in zip(symbols, seconds, strict=True):
        time = np.arange(int(length * RATE)) / RATE
        wave = np.diff(rng.normal(0, 0.3, len(time) + 1)) if symbol == "s" else np.zeros(len(time))
        for hertz in np.arange(1, 3500 // pitch) * pitch:
            loud = sum(1 / (1 + ((hertz - formant) / 120) ** 2) for formant in FORMANTS[symbol])
            wave += loud * np.sin(2 * np.pi * hertz * time)
        parts.append(rng.uniform(0.2, 1) * wave * np.minimum(1, np.minimum(time, time[::-1]) / 0.01))
    mouth = visemes.from_phonemes(symbols.tolist(), seconds.tolist(), round(25 * seconds.sum()))
    return (0.1 * np.concatenate(parts)).astype(np.float32), mouth


def filmed(person: int, mouth: dict[str, np.ndarray]) -> np.ndarray:
    """A drawn person in the one size of films, without its codec."""
    motion = drawn_face.perform("neutral", len(mouth["jaw_open"]), seed=person, intensity=1.0, mouth=mouth)
    pictures = np.concatenate(list(drawn_face.draw_batches(drawn_face.sample_identity(person), motion, SIZE)))
    return np.stack([films.centre_square(each) for each in pictures])


@pytest.fixture(scope="module")
def recorded():
    """(film, sound) of `PEOPLE` who speak, to learn from, and other words of the first `TESTED` of them."""
    said = map(speech, range(PEOPLE + TESTED))
    return [(filmed(each % PEOPLE, mouth), wave) for each, (wave, mouth) in enumerate(said)]


@pytest.fixture(scope="module")
def takes(recorded):
    """What is learned from, each from a dialogue of its own."""
    return [learned_lips.take(str(person), *recorded[person]) for person in range(PEOPLE)]


@pytest.fixture(scope="module")
def lips(takes):
    """What they show."""
    return learned_lips.learn(takes)


@pytest.fixture(scope="module")
def tested(recorded):
    """The films and sounds that were not learned from."""
    return recorded[PEOPLE:]


def scores(lips, pairs):
    return np.array([lips(*each).score for each in pairs])


def loudness(film: np.ndarray, wave: np.ndarray) -> float:
    """The other measure."""
    return lip_loudness.score(lip_loudness.mouth(film), lip_loudness.loudness(wave, RATE, len(film))).confidence


def flapping(person: int, wave: np.ndarray, frames: int) -> np.ndarray:
    """A film of a system whose mouth opens and closes with the loudness, and does nothing else."""
    closed = {name: np.zeros(frames, np.float32) for name in visemes.SPEECH_ACTIONS}
    return filmed(person, closed | {"jaw_open": 1 + lip_loudness.loudness(wave, RATE, frames) / 40})


def test_recordings_come_before_a_mouth_that_follows_the_loudness_alone(lips, tested):
    system = [(flapping(person, wave, len(film)), wave) for person, (film, wave) in enumerate(tested)]
    assert scores(lips, tested).min() > scores(lips, system).max() + 10
    assert np.mean([loudness(*each) for each in system]) > np.mean(
        [loudness(*each) for each in tested]
    )  # which sees loudness


def test_recordings_come_before_shuffled_and_still_ones(lips, tested):
    own = scores(lips, tested)
    shuffled = scores(lips, [(film, tested[k - 1][1]) for k, (film, _) in enumerate(tested)])
    still = scores(lips, [(np.repeat(film[:1], len(film), axis=0), wave) for film, wave in tested])
    assert own.min() > 50 and shuffled.max() < 20 and np.abs(still).max() < 10


@pytest.mark.parametrize("frames", [-4, 3, 9])
def test_a_shifted_sound_is_found_at_its_offset(lips, tested, frames):
    shifted = [lips(film, np.roll(wave, frames * RATE // films.RATE)) for film, wave in tested]
    assert [each.offset for each in shifted] == [-frames] * TESTED
    assert [lips(*each).offset for each in tested] == [0] * TESTED
    assert max(each.score for each in shifted) < scores(lips, tested).min() - 20


def test_a_mouth_that_moves_twice_as_much_or_half_as_much_scores_less(lips, tested):
    found = [learned_lips.take("", *each) for each in tested]
    own, twice, half = (
        np.mean([lips.match(dataclasses.replace(each, mouth=factor * each.mouth)).score for each in found])
        for factor in (1, 2, 0.5)
    )
    assert own > twice + 3 and own > half + 3


def test_the_mean_mouth_would_score_more_than_recordings(lips, tested):
    """The limit that the documentation states: who moves exactly as predicted has no mismatch."""
    found = learned_lips.take("", *tested[0])
    said = lips.predicted(found.sound)
    perfect = learned_lips._match(said, said, lips.noise)
    assert perfect.score == pytest.approx(100) and lips.match(found).score < 90


def test_the_score_of_recordings_that_are_left_out_is_told(lips, tested):
    assert lips.recordings == PEOPLE and lips.own_score == pytest.approx(scores(lips, tested).mean(), abs=15)
    assert (lips.correlations >= learned_lips.SEEN).all()


def test_what_cannot_be_learned_from_is_said(takes, recorded):
    with pytest.raises(Absent, match="6 recordings of one dialogue"):
        learned_lips.learn([dataclasses.replace(each, dialogue="1") for each in takes])
    noise = np.random.default_rng(0)
    with pytest.raises(Absent, match="no movement in the lower middle of the picture follows the sound"):
        learned_lips.learn([dataclasses.replace(each, mouth=noise.normal(size=each.mouth.shape)) for each in takes])
    with pytest.raises(UserError, match="a clip of 5 frames; expected at least 8"):
        learned_lips.take("1", recorded[0][0][:5], recorded[0][1])


def test_what_was_learned_is_kept_by_the_content_of_the_recordings(data, tmp_path, monkeypatch):
    first = learned_lips.of_recordings(data, tmp_path)
    (kept,) = tmp_path.iterdir()
    monkeypatch.setattr(learned_lips, "learn", lambda takes: pytest.fail("it learned again"))
    again = learned_lips.of_recordings(data, tmp_path)
    assert again.identity == first.identity and (again.pixels == first.pixels).all()
    assert again.own_score == first.own_score and again.recordings == first.recordings > 1
    monkeypatch.undo()
    kept.write_bytes(kept.read_bytes()[:100])  # a damaged file is made anew
    assert (learned_lips.of_recordings(data, tmp_path).pixels == first.pixels).all()
    with pytest.raises(Absent, match="no training recordings"):
        learned_lips.of_recordings(tmp_path, tmp_path)
    os.utime(learned_lips.chosen(learned_lips.Tree(data))[0].path("video"))  # a new time is no new content
    assert learned_lips.of_recordings(data, tmp_path).identity == first.identity
