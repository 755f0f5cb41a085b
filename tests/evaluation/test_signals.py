"""What is measured without a network: lips against loudness, the pitch of a voice."""

from __future__ import annotations

import numpy as np
import pytest

from empatheia_jax.errors import UserError
from evaluation import lip_loudness, voice


def test_lips_that_follow_the_sound_are_found_with_their_lag():
    rng = np.random.default_rng(0)
    loud = np.convolve(rng.normal(size=80), np.ones(4) / 4, "valid")[:70]
    pixels = loud[5:65, None] * rng.normal(size=(1, 50)) + rng.normal(0, 0.3, (60, 50))
    aligned = lip_loudness.score(pixels, loud[5:65])
    late = lip_loudness.score(pixels, loud[2:62])
    assert aligned.offset == 0 and late.offset == -3 and aligned.confidence > 20
    assert lip_loudness.score(rng.normal(size=(60, 50)), loud[5:65]).confidence < 5
    with pytest.raises(UserError, match="at least 8"):
        lip_loudness.score(pixels[:5], loud[:5])


@pytest.mark.parametrize("hertz", [90.0, 137.0, 210.0, 330.0])
def test_the_pitch_of_a_voice_is_found(hertz):
    time = np.arange(12_000) / 16_000
    tone = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 9))
    found = voice.describe(0.2 * tone, 16_000)
    assert found.f0 == pytest.approx(hertz, rel=0.01) and found.voiced == 1.0 and found.f0_range < 0.2
    assert np.isnan(voice.describe(np.zeros(8000), 16_000).f0)
