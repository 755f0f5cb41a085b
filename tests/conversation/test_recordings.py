"""The names of recordings."""

from __future__ import annotations

import pytest

from empatheia_jax.conversation.recordings import SUFFIXES, media_name, parse_name


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_name_that_is_written_is_read_back(kind):
    assert media_name("7170", 3, 9, kind) == f"dia07170utt3_9{SUFFIXES[kind]}"
    assert parse_name(media_name("7170", 3, 9, kind)) == (7170, 3, 9)


def test_the_baselines_names_count_from_one_and_other_files_have_no_place():
    assert parse_name("dia7170utt1.mp4") == (7170, 0, None)
    assert [parse_name(name) for name in ("dia7170utt0.mp4", "readme.txt", "dia1utt2_3_4.wav", "xdia1utt2_3.wav")] == [
        None
    ] * 4
