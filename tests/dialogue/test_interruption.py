"""What ends a reply: half a second of voice. A cough, a door and a hum in the room do not."""

from __future__ import annotations

import numpy as np
import pytest

from empatheia_jax.dialogue.interruption import NEEDED, InterruptionDetector

RATE = 16_000


def room(seconds: float, level: float = 0.002) -> np.ndarray:
    return level * np.random.default_rng(1).standard_normal(round(RATE * seconds)).astype(np.float32)


def voice(seconds: float, pitch: float = 140.0, level: float = 0.2) -> np.ndarray:
    """A vowel: harmonics under a falling envelope, its pitch and strength moving as in speech."""
    t = np.arange(round(RATE * seconds)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.04 * np.sin(2 * np.pi * 5 * t))) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, 20)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t) ** 2)
    return (level * wave / np.abs(wave).max()).astype(np.float32)


def cough(level: float = 0.5) -> np.ndarray:
    """A burst of noise that dies away within 0.35 s."""
    t = np.arange(round(0.35 * RATE)) / RATE
    return (level * np.exp(-t / 0.08) * np.random.default_rng(2).standard_normal(len(t))).astype(np.float32)


def heard(*sounds: np.ndarray, piece: int = 480) -> InterruptionDetector:
    detector, whole = InterruptionDetector(RATE), np.concatenate([room(0.5), *sounds, room(0.1)])
    detector.enough = [detector.push(whole[a : a + piece]) for a in range(0, len(whole), piece)]
    return detector


@pytest.mark.parametrize("pitch", [90, 140, 220, 380])
def test_speech_of_more_than_half_a_second_ends_a_reply(pitch):
    assert any(heard(voice(0.8, pitch)).enough)


@pytest.mark.parametrize(
    "sound",
    [cough(), np.concatenate([cough(), room(0.6), cough(), room(0.6), cough()]), voice(0.3), room(3.0, 0.05), room(2.0, 0.0)],
    ids=["cough", "three coughs", "mh", "a loud fan", "silence"],
)  # fmt: skip
def test_a_cough_a_short_sound_and_noise_end_nothing(sound):
    assert not any(heard(sound).enough)


def test_words_with_short_gaps_are_one_speech_and_far_apart_they_are_not():
    assert any(heard(voice(0.3), room(0.15), voice(0.35)).enough)
    assert not any(heard(voice(0.3), room(0.7), voice(0.3), room(0.7), voice(0.3)).enough)


def test_the_size_of_the_pieces_does_not_matter():
    counts = {piece: heard(voice(0.45), piece=piece).seconds for piece in (160, 480, 5000, 10**6)}
    assert len(set(counts.values())) == 1


def test_as_much_speech_is_counted_as_was_spoken():
    assert heard(voice(1.0)).seconds == pytest.approx(1.0, abs=0.1)
    assert heard(cough()).seconds < NEEDED
