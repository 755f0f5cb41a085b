"""The watermark is the release's own, and is found where it should be."""

from __future__ import annotations

import importlib
import sys
import types

import numpy as np
import pytest
import soxr
import torch

RATE = 24_000


def voice(seconds=3.0, seed=0):
    """Something with the spectrum of a voice: harmonics of a pitch that moves, in syllables."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 15 * np.sin(2 * np.pi * (0.7 + 0.3 * rng.random()) * t)) / RATE
    sound = sum(np.sin(k * phase + rng.random()) / k for k in range(1, 40))
    envelope = 0.05 + np.clip(np.sin(2 * np.pi * 3 * t), 0, None)
    return (0.1 * envelope * sound + 0.001 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.fixture(scope="module")
def original(perth_file):
    """The release's own networks in PyTorch; its package is not imported as a whole, since that wants torchaudio."""
    place = perth_file.parents[2]  # …/perth/perth_net
    for name, folder in (("perth", place.parent), ("perth.perth_net", place)):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    base = "perth.perth_net.perth_net_implicit.model"
    encoder = importlib.import_module(f"{base}.encoder").Encoder(256, 128)
    decoder = importlib.import_module(f"{base}.decoder").Decoder(256, 128)
    state = torch.load(perth_file, map_location="cpu", weights_only=True)["model"]
    for network, prefix in ((encoder, "encoder."), (decoder, "decoder.")):
        network.load_state_dict({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
    yield encoder.eval(), decoder.eval()
    for name in [name for name in sys.modules if name.split(".")[0] == "perth"]:
        del sys.modules[name]


@pytest.mark.parametrize("frames", [100, 301])
def test_marker_and_detector_agree_with_the_release_on_noise(watermark, original, frames):
    encoder, decoder = original
    levels = np.random.default_rng(frames).uniform(0.2, 0.8, (frames, 1025)).astype(np.float32)
    levels[5:9] = 0.0  # frames that are too quiet to count
    theirs = torch.from_numpy(levels.T.copy())[None]
    with torch.no_grad():
        marked, score = encoder(theirs)[0][0].numpy().T, float(decoder(theirs)[0])
    bands = watermark.config.bands
    from empatheia_jax.provenance.watermark import loud

    ours = levels.copy()
    ours[:, :bands] += watermark._run(watermark._residual, levels[:, :bands]) * loud(levels)[:, None]
    np.testing.assert_allclose(ours, marked, atol=2e-5)
    assert watermark.score_of(levels) == pytest.approx(min(max(score, 0.0), 1.0), abs=2e-5)
    assert watermark.score_of(ours) == pytest.approx(
        float(decoder(torch.from_numpy(ours.T.copy())[None])[0].clip(0, 1)), abs=1e-4
    )


def test_the_transforms_are_those_of_torch(watermark):
    config, sound = watermark.config, np.random.default_rng(0).standard_normal(320 * 40).astype(np.float32)
    window = torch.hann_window(config.n_fft)
    theirs = torch.stft(
        torch.from_numpy(sound), config.n_fft, config.hop_size, window=window, center=True, return_complex=True
    )
    ours = watermark.spectrum(sound)
    np.testing.assert_allclose(ours, theirs.numpy().T, atol=2e-4)
    np.testing.assert_allclose(watermark.sound(ours), sound, atol=1e-5)


def test_a_marked_voice_is_found_and_an_unmarked_one_is_not(watermark):
    sound = voice()
    marked = watermark.mark(sound, RATE)
    assert marked.shape == sound.shape and marked.dtype == np.float32
    assert watermark.found(marked, RATE) and not watermark.found(sound, RATE)


def test_the_mark_survives_another_rate_and_gain_and_stays_below_two_kilohertz(watermark):
    sound = voice(seed=1)
    marked = watermark.mark(sound, RATE)
    assert watermark.found(soxr.resample(marked, RATE, 16_000), 16_000)
    assert watermark.found(marked * 10 ** (-10 / 20), RATE)
    change = np.square(np.abs(np.fft.rfft(marked - sound)))
    high = np.fft.rfftfreq(len(sound), 1 / RATE) > 2_500
    assert change[high].sum() < 0.01 * change.sum()  # what is above the marked band stays


@pytest.mark.parametrize("samples", [0, 1, 500])
def test_a_sound_too_short_to_mark_stays_as_it_is(watermark, samples):
    sound = np.full(samples, 0.1, np.float32)
    assert np.array_equal(watermark.mark(sound, RATE), sound) and not watermark.found(sound, RATE)
    assert not watermark.found(np.zeros(RATE, np.float32), RATE)
