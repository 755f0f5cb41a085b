"""Claims about speech on the drawn face."""

import numpy as np
import pytest

from empatheia_jax.dreamtalk.drawn_face import visemes
from empatheia_jax.training.drawn_face.babble import babble


def tone(frequencies, seconds=0.5):
    time = np.arange(int(16_000 * seconds)) / 16_000
    return sum(np.sin(2 * np.pi * f * time) for f in frequencies).astype(np.float32) * 0.1


def test_lips_close_on_a_bilabial_and_open_on_a_vowel():
    mouth = visemes.from_phonemes("mɑmɑ", [0.2, 0.3, 0.2, 0.3])
    jaw, press = mouth["jaw_open"], mouth["lips_press"]
    assert len(jaw) == 25
    assert jaw[8] > 0.6 and press[8] < 0.1
    assert press[14] > 0.8 and jaw[14] < 0.15


def test_spread_and_round_vowels():
    spread, rounded = (visemes.from_phonemes(p, [0.4]) for p in "iu")
    assert spread["lips_stretch"][5] > 0.5 and spread["lips_round"][5] < 0.05
    assert rounded["lips_round"][5] > 0.8 and rounded["lips_stretch"][5] < 0


def test_stress_marks_and_unknown_symbols():
    plain, marked = visemes.from_phonemes("ɑ", [0.4]), visemes.from_phonemes("ɑː", [0.2, 0.2])
    np.testing.assert_allclose(plain["jaw_open"], marked["jaw_open"])
    assert visemes.from_phonemes("?", [0.4])["jaw_open"].max() == 0
    whole, stressed = visemes.from_phonemes("tɑ", [0.2, 0.4]), visemes.from_phonemes("tˈɑ", [0.2, 0.2, 0.2])
    np.testing.assert_allclose(whole["jaw_open"], stressed["jaw_open"])  # a vowel is heard from its stress mark on
    with pytest.raises(ValueError, match="2 phonemes and 1 durations"):
        visemes.from_phonemes("ab", [0.1])


def test_the_mouth_follows_loudness_and_not_the_recording_level():
    time = np.arange(32_000) / 16_000
    wave = tone((700, 1100), 2.0) * (0.02 + np.clip(np.sin(2 * np.pi * 1.5 * time), 0, 1))
    loud, quiet = visemes.from_audio(wave), visemes.from_audio(0.05 * wave + 0.2)
    envelope = np.sqrt(np.mean(wave.reshape(50, 640) ** 2, axis=1))
    assert np.corrcoef(loud["jaw_open"], envelope)[0, 1] > 0.85
    np.testing.assert_allclose(quiet["jaw_open"], loud["jaw_open"], atol=2e-3)


def test_formants_shape_the_lips():
    # First and second formants of "ah", "ee" and "oo"; in "oo" the second is weak.
    waves = (tone((750, 1200)), tone((300, 2300)), tone((320,)) + 0.3 * tone((850,)))
    open_vowel, spread, rounded = (visemes.from_audio(wave) for wave in waves)
    middle = 6
    assert open_vowel["jaw_open"][middle] > spread["jaw_open"][middle] + 0.2
    assert spread["lips_stretch"][middle] > 0.5 > open_vowel["lips_stretch"][middle]
    assert rounded["lips_round"][middle] > 0.4 > spread["lips_round"][middle]


def test_silence_and_empty_sound_keep_the_mouth_shut():
    for wave in (np.zeros(16_000, np.float32), np.full(16_000, 0.3, np.float32), np.zeros(0, np.float32)):
        mouth = visemes.from_audio(wave)
        assert len(mouth["jaw_open"]) == len(wave) // 640
        assert not len(wave) or max(np.abs(v).max() for v in mouth.values()) < 1e-3


def test_babble_is_speech_like():
    wave = babble(np.random.default_rng(1), 6.0)
    assert wave.shape == (96_000,) and np.isclose(np.abs(wave).max(), 0.5, atol=0.01)
    jaw = visemes.from_audio(wave)["jaw_open"]
    assert jaw.max() > 0.5 and jaw.min() < 0.1 and jaw.std() > 0.12
