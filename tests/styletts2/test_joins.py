"""Pieces of speech join without clicks, and the frames of every token stay true."""

from __future__ import annotations

import numpy as np
import pytest

from empatheia_jax.styletts2.joins import FADE, FRAME, LEAD, PAUSES, TAIL, declick, fade_edges, finish, pause_after


def spoken(lead: int, words: int, tail: int, level: float = 0.3) -> np.ndarray:
    """Frames of near-silence, a voiced sound, near-silence."""
    random = np.random.default_rng(0)
    quiet = [1e-5 * random.standard_normal(frames * FRAME) for frames in (lead, tail)]
    voice = level * np.sin(2 * np.pi * 150 * np.arange(words * FRAME) / 24_000)
    return np.concatenate([quiet[0], voice, quiet[1]]).astype(np.float32)


def with_pulse(samples: np.ndarray, at: int, size: int = 60) -> np.ndarray:
    samples = samples.copy()
    samples[at : at + size] += 0.5 * np.hanning(size)
    return samples


@pytest.mark.parametrize("at", [0, 30, 600, -60, -50, -700])
def test_a_pulse_in_the_silence_at_either_end_is_muted(at):
    clean = spoken(10, 20, 10)
    at = at % len(clean)
    size = min(60, len(clean) - at)
    assert np.abs(declick(with_pulse(clean, at, size)) - clean).max() < 1e-4


def test_speech_itself_is_left_alone():
    for lead, tail in ((10, 10), (0, 0), (1, 1)):
        sound = spoken(lead, 20, tail)
        np.testing.assert_array_equal(declick(sound), sound)
    # A stop consonant's burst a few milliseconds before the vowel is speech.
    sound = with_pulse(spoken(2, 20, 10), 2 * FRAME - 480)
    np.testing.assert_array_equal(declick(sound), sound)
    np.testing.assert_array_equal(declick(np.zeros(FRAME, np.float32)), np.zeros(FRAME, np.float32))


def test_edges_start_and_end_at_nothing():
    faded = fade_edges(np.ones(1_000, np.float32))
    assert faded[0] == faded[-1] == 0 and np.all(np.diff(faded[:FADE]) > 0)
    np.testing.assert_array_equal(faded[FADE:-FADE], 1)
    assert fade_edges(np.ones(3, np.float32)).shape == (3,)


def test_joins_have_no_steps():
    """The largest step from sample to sample at a join is no larger than inside speech."""
    pieces = [finish(spoken(0, 8, 0), np.array([1, 3, 4])).samples for _ in range(4)]
    inside = np.abs(np.diff(spoken(0, 8, 0))).max()
    joined = np.concatenate(pieces)
    ends = np.cumsum([len(piece) for piece in pieces])[:-1]
    for end in ends:
        assert np.abs(np.diff(joined[end - FADE : end + FADE])).max() <= inside


@pytest.mark.parametrize("lead,tail,pause", [(12, 15, 0), (12, 15, 14), (1, 1, 6), (0, 0, 0)])
def test_silence_is_cut_in_whole_frames_and_durations_follow(lead, tail, pause):
    durations = np.array([lead, 3, 5, tail - tail // 3, tail // 3])
    piece = finish(spoken(lead, 8, tail), durations, pause)
    assert len(piece.samples) == FRAME * piece.durations.sum()
    assert piece.durations[0] == min(lead, LEAD)
    assert piece.durations.sum() == min(lead, LEAD) + 8 + min(tail, TAIL) + pause
    assert piece.durations[1] == 3 and piece.durations[2] == 5
    assert not piece.samples[len(piece.samples) - pause * FRAME :].any()


def test_silence_throughout_is_kept():
    piece = finish(np.zeros(10 * FRAME, np.float32), np.array([4, 2, 4]))
    np.testing.assert_array_equal(piece.durations, [4, 2, 4])


def test_lengths_that_disagree_are_an_error():
    with pytest.raises(ValueError, match="do not fit"):
        finish(np.zeros(FRAME + 1, np.float32), np.array([1]))


def test_pauses_follow_punctuation():
    assert pause_after('wˈɛl."') == PAUSES["."] > pause_after("wˈɛl,") > pause_after("wˈɛl") == 0
