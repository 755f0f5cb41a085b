"""Voice tables, mixtures and the voice of a profile."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from empatheia_jax.conversation.labels import AGES, GENDERS, TONES
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.voices import Voice, VoiceTable, for_profile

SHIPPED = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")


@pytest.fixture
def table() -> VoiceTable:
    rows = np.arange(510, dtype=np.float32)[:, None, None]
    return VoiceTable({name: rows + np.full((1, 1, 256), 1000.0 * i) for i, name in enumerate(SHIPPED)})


def test_the_row_is_the_phoneme_count_less_one(table):
    assert table.style("jf_alpha", 1)[0] == 0
    assert table.style("jf_alpha", 72)[0] == 71
    assert table.style("jf_alpha", 10_000)[0] == 509
    assert table.style("jf_alpha", 0)[0] == 0
    assert table.style("jf_alpha", 5).shape == (256,)


def test_voices_mix_by_share(table):
    np.testing.assert_allclose(table.style("jf_alpha:1+jm_kumo:3", 1), 3000.0)
    assert Voice.parse("a") == Voice((("a", 1.0),))


@pytest.mark.parametrize("voice", ["nobody", "jf_alpha+nobody", "jf_alpha:x", "jf_alpha:-1", "jf_alpha:nan", "", "+"])
def test_voices_that_do_not_exist_are_refused(table, voice):
    with pytest.raises(UserError) as caught:
        table.style(voice, 10)
    assert "\n" not in str(caught.value)


def test_a_broken_table_is_refused(tmp_path):
    with pytest.raises(UserError, match="finite"):
        VoiceTable({"x": np.full((3, 1, 256), np.nan)})
    with pytest.raises(UserError, match="finite"):
        VoiceTable({"x": np.zeros((3, 1, 128))})
    (tmp_path / "voices.npz").write_bytes(b"no zip")
    with pytest.raises(UserError, match="convert"):
        VoiceTable.read(tmp_path / "voices.npz")
    np.savez(tmp_path / "good.npz", x=np.zeros((3, 1, 256), np.float32))
    assert VoiceTable.read(tmp_path / "good.npz").names == ("x",)


def test_every_profile_has_a_voice_of_its_own_made_of_the_shipped_ones():
    voices = [for_profile(*profile) for profile in itertools.product(AGES, GENDERS, TONES)]
    assert len(set(voices)) == 24
    assert {name for voice in voices for name, _ in voice.mix} <= set(SHIPPED)
    assert all(0.7 < voice.speed < 1.3 and 0.7 < voice.pitch < 1.7 for voice in voices)


def test_children_are_higher_and_the_old_slower():
    assert for_profile("child", "male", "mild").pitch > for_profile("young", "male", "mild").pitch
    assert for_profile("elderly", "female", "mild").speed < for_profile("young", "female", "mild").speed
    assert for_profile("young", "female", "gentle").speed < for_profile("young", "female", "emphatic").speed


def test_tone_and_timbre_are_two_words_for_one_thing():
    for tone, timbre in zip(TONES, ("high", "mid", "low")):
        assert for_profile("young", "male", tone) == for_profile("young", "male", timbre)


@pytest.mark.parametrize("profile", [("baby", "male", "mild"), ("child", "x", "mild"), ("child", "male", "loud")])
def test_unknown_words_of_a_profile_are_refused(profile):
    with pytest.raises(UserError, match="expected one of"):
        for_profile(*profile)
