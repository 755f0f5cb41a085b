"""The speaker with Kokoro's trained weights: the reference's durations, clean edges, a person's voice.

Needs the weights folder `kokoro` (`python -m converters.convert --source=kokoro …`, part of the demo).
"""

from __future__ import annotations

import numpy as np
import pytest
from kokoro_symbols import KOKORO

from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.durations import whole_durations
from empatheia_jax.styletts2.joins import FRAME
from empatheia_jax.styletts2.mel import log_mel
from empatheia_jax.styletts2.speaker import Speaker
from empatheia_jax.styletts2.voices import for_profile


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    try:
        return Speaker.load(weights.find("kokoro"))
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def reference(shared):
    with np.load(shared / "parity/kokoro/kokoro_ref.npz") as arrays:
        return {name.removeprefix("af_heart."): arrays[name] for name in arrays.files if name.startswith("af_heart.")}


@pytest.fixture(scope="module")
def said(speaker, reference):
    return speaker.say(str(reference["phonemes"]), style=reference["style"][0], ipa=True)


def test_durations_of_the_reference_exactly(speaker, reference):
    [(text, _, expected)] = speaker._synthesis.prosody([reference["tokens"][0]], reference["style"])
    np.testing.assert_array_equal(whole_durations(expected, 1.0), reference["float_dur"])
    np.testing.assert_allclose(speaker.content_frames(reference["tokens"][0]), text, atol=1e-5)


def test_two_sentences_sound_as_the_reference_save_for_the_pause(said, reference):
    """Frames of words, in the reference and in ours (which speaks sentence by sentence): same loudness over time."""

    def loud(samples):
        levels = np.sqrt(np.mean(np.square(samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)), 1))
        return np.count_nonzero(levels > 0.05 * levels.max())

    assert loud(said.samples) == pytest.approx(loud(reference["float_audio"]), rel=0.1)

    def bands(samples):
        return np.asarray(log_mel(samples)).mean(0)

    assert np.corrcoef(bands(said.samples), bands(reference["float_audio"]))[0, 1] > 0.97


def test_there_is_no_click_at_the_start_or_the_end(said):
    """Ten milliseconds at the start, at the end and on both sides of the join are 40 dB below the words."""
    loudest = np.abs(said.samples).max()
    assert 0.1 < loudest < 1.0
    assert np.abs(said.samples[:240]).max() < 0.01 * loudest
    assert np.abs(said.samples[-240:]).max() < 0.01 * loudest
    join = FRAME * int(said.durations[: len(KOKORO.pieces(said.token_ids)[0])].sum())
    assert 0 < join < len(said.samples)
    assert np.abs(said.samples[join - 240 : join + 240]).max() < 0.01 * loudest


def test_lengths_are_a_persons(speaker):
    pytest.importorskip("gruut", reason="needs the extra demo")
    text = "My grandmother used to bake bread every Sunday."
    before = speaker.compilations
    seconds = [speaker.say(text, voice=voice).seconds for voice in ("jf_alpha", "jm_kumo")]
    assert all(8 / 4 < s < 8 / 1.5 for s in seconds)  # eight words, 1.5 to 4 a second
    compiled = speaker.compilations
    assert compiled - before <= 2  # one program for each half
    old = speaker.say(text, voice=for_profile("elderly", "male", "gentle"))
    assert old.seconds > 1.1 * seconds[1]
    assert speaker.compilations - compiled <= 1
