"""Sound through a lossy codec and back."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from empatheia_jax.media.audio import read_audio, to_pcm16
from empatheia_jax.media.lossy import AAC, MP3, OPUS, encode

TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)
"""A second at 48 kHz."""


@pytest.mark.parametrize("codec", [MP3, AAC, OPUS], ids=lambda codec: codec.encoder)
@pytest.mark.parametrize("bits", [0, 32_000])
@pytest.mark.parametrize("samples", [TONE, to_pcm16(TONE)], ids=["float", "int16"])
def test_a_tone_comes_back_as_loud_and_as_high(tmp_path, codec, bits, samples):
    content = encode(samples, 48_000, codec, bits)
    (tmp_path / "tone").write_bytes(content)
    sound = read_audio(tmp_path / "tone", 24_000)
    assert abs(len(sound) / 24_000 - 1) < 0.12  # codecs pad
    middle = sound[6_000:18_000]
    peak = np.abs(np.fft.rfft(middle)).argmax() * 24_000 / len(middle)
    assert peak == pytest.approx(440, abs=3) and np.abs(middle).max() == pytest.approx(0.3, rel=0.15)


def test_the_bits_a_second_are_those_that_were_asked_for():
    def size(bits):
        return len(encode(np.random.default_rng(0).normal(0, 0.1, 96_000).astype(np.float32), 24_000, MP3, bits))

    assert size(64_000) == pytest.approx(2 * size(32_000), rel=0.1)
    with av.open(io.BytesIO(encode(TONE, 48_000, OPUS, 24_000))) as file:
        assert file.streams.audio[0].codec.name in ("opus", "libopus")
