"""Sound files: real ones decode to the known samples, broken ones are refused in one line, wavs are written whole."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from empatheia_jax.errors import UserError
from empatheia_jax.media import lossy
from empatheia_jax.media.audio import WavWriter, audio_info, read_audio, to_pcm16, write_wav
from tests.full_disk import files_end_at


def tone(seconds: float, rate: int, hertz: float = 220.0) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def refusal(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_audio(path, 16_000, **options)
    message = str(caught.value)
    assert "\n" not in message and path.name in message
    return message


def test_the_m4a_decodes_to_the_stored_wav_within_one_lsb(shared):
    decoded = to_pcm16(read_audio(shared / "media/audio/acknowledgement_english.m4a", 16_000))
    stored, rate = soundfile.read(shared / "media/reference_run/acknowledgement_english_16k.wav", dtype="int16")
    assert rate == 16_000 and decoded.shape == stored.shape == (265_195,)
    assert np.abs(decoded.astype(int) - stored).max() <= 1


def test_wavs_at_their_own_rate_come_back_exactly(shared):
    paths = sorted((shared / "media/audio").glob("*.wav"))
    assert len(paths) == 14
    for path in paths:
        stored, rate = soundfile.read(path, dtype="float32")
        assert rate == 16_000
        np.testing.assert_array_equal(read_audio(path, rate), stored)


def test_facts_of_the_media_readme(shared):
    info = audio_info(shared / "media/audio/German1.wav")
    assert (info.rate, info.channels) == (16_000, 1) and info.seconds == pytest.approx(8.712, abs=5e-4)
    info = audio_info(shared / "media/audio/acknowledgement_english.m4a")
    assert (info.rate, info.channels) == (48_000, 1) and info.seconds == pytest.approx(16.62, abs=5e-3)
    talking = read_audio(shared / "media/talking_head/acknowledgement_english.mp4", 16_000)
    assert len(talking) / 16_000 == pytest.approx(16.575, abs=0.07)


def test_writing_and_reading_is_exact_to_the_bit(tmp_path):
    pcm = np.arange(-32768, 32768, 7).astype(np.int16)
    write_wav(tmp_path / "x.wav", pcm / 32768.0)
    info = soundfile.info(tmp_path / "x.wav")
    assert (info.samplerate, info.channels, info.subtype) == (24_000, 1, "PCM_16")
    np.testing.assert_array_equal(to_pcm16(read_audio(tmp_path / "x.wav", 24_000)), pcm)


def test_loud_samples_are_clipped_not_wrapped():
    np.testing.assert_array_equal(to_pcm16(np.array([2.0, 1.0, -1.0, -3.0])), [32767, 32767, -32768, -32768])


def test_stereo_is_averaged_or_kept(tmp_path):
    left, right = tone(0.5, 16_000), np.zeros(8_000, np.float32)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], 1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "s.wav", 16_000), left / 2, atol=1e-7)
    both = read_audio(tmp_path / "s.wav", 16_000, mono=False)
    np.testing.assert_array_equal(both, np.stack([left, right], 1))


@pytest.mark.parametrize("source,wanted", [(8_000, 24_000), (48_000, 16_000), (44_100, 24_000)])
def test_resampling_keeps_length_pitch_and_level(tmp_path, source, wanted):
    soundfile.write(tmp_path / "t.wav", tone(1.0, source), source, subtype="FLOAT")
    samples = read_audio(tmp_path / "t.wav", wanted)
    assert abs(len(samples) - wanted) <= 1
    inner = slice(wanted // 10, -wanted // 10)
    np.testing.assert_allclose(samples[inner], tone(1.0, wanted)[: len(samples)][inner], atol=2e-3)


def test_bad_files_are_refused_in_one_line(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.wav")
    assert "folder" in refusal(tmp_path)
    empty = tmp_path / "empty.wav"
    empty.touch()
    assert "0 bytes" in refusal(empty)
    noise = tmp_path / "noise.wav"
    noise.write_bytes(np.random.default_rng(0).bytes(4_000))
    assert "corrupt" in refusal(noise)
    hollow = tmp_path / "hollow.wav"
    soundfile.write(hollow, np.zeros(0, np.float32), 16_000)
    assert "no samples" in refusal(hollow)
    for value in (np.nan, np.inf):
        broken = tmp_path / "nan.wav"
        samples = tone(0.1, 16_000)
        samples[100] = value
        soundfile.write(broken, samples, 16_000, subtype="FLOAT")
        assert "NaN" in refusal(broken)


def test_a_truncated_copy_is_refused(tmp_path, shared):
    whole = (shared / "media/audio/acknowledgement_english.m4a").read_bytes()
    cut = tmp_path / "cut.m4a"
    cut.write_bytes(whole[: len(whole) // 2])
    refusal(cut)


def test_the_length_that_libav_guesses_of_a_bare_stream_is_not_believed(tmp_path):
    rng = np.random.default_rng(0)
    late = np.concatenate([np.zeros(9 * 24_000), 0.3 * rng.standard_normal(3 * 24_000)]).astype(np.float32)
    for codec in (lossy.AAC, lossy.MP3):
        path = tmp_path / f"late.{codec.container}"
        path.write_bytes(lossy.encode(late, 24_000, codec, 64_000))
        assert len(read_audio(path, 24_000, max_seconds=13.0)) / 24_000 == pytest.approx(12.0, abs=0.2)
        assert audio_info(path).seconds is None or audio_info(path).seconds == pytest.approx(12.0, abs=0.2)
    content = path.read_bytes()  # the MP3 says its length itself
    assert audio_info(path).seconds is not None
    path.write_bytes(content[: len(content) // 2])
    assert "truncated" in refusal(path)


def test_a_three_hour_utterance_is_refused_by_its_header(tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(3 * 3600 * 1_000, np.int16), 1_000)

    def no_decoding(*args, **kwargs):
        raise AssertionError("decoding started")

    monkeypatch.setattr("empatheia_jax.media.audio.av.AudioResampler", no_decoding)
    assert "10800 s" in refusal(path)


def test_the_length_limit_is_the_callers(tmp_path):
    path = tmp_path / "two.wav"
    soundfile.write(path, tone(2.0, 16_000), 16_000)
    assert "at most 1 s" in refusal(path, max_seconds=1.0)
    assert len(read_audio(path, 16_000, max_seconds=2.0)) == 32_000
    assert len(read_audio(path, 16_000, max_seconds=None)) == 32_000


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    write_wav(tmp_path / "x.wav", tone(0.1, 24_000))
    before = (tmp_path / "x.wav").read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("empatheia_jax.media.audio.soundfile.SoundFile.write", fail)
    with pytest.raises(OSError, match="disk full"):
        write_wav(tmp_path / "x.wav", tone(0.2, 24_000))
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]
    assert (tmp_path / "x.wav").read_bytes() == before


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros((2, 3)), np.array([0.0, np.nan])])
def test_samples_that_are_no_sound_are_not_written(tmp_path, samples):
    with pytest.raises(ValueError):
        write_wav(tmp_path / "x.wav", samples)
    assert not list(tmp_path.iterdir())


def test_a_wav_can_be_written_piece_by_piece(tmp_path):
    whole = tone(1.0, 24_000)
    with WavWriter(tmp_path / "x.wav") as wav:
        for piece in np.array_split(whole, 7):
            wav.write(piece)
    np.testing.assert_array_equal(to_pcm16(read_audio(tmp_path / "x.wav", 24_000)), to_pcm16(whole))
    with pytest.raises(RuntimeError), WavWriter(tmp_path / "y.wav") as wav:
        wav.write(whole)
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]


@pytest.mark.parametrize("size", [10, 5_000])
def test_a_wav_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, size):
    with (
        files_end_at(size),
        pytest.raises(UserError, match="x.wav cannot be written .*; make room on its disk") as caught,
    ):
        write_wav(tmp_path / "x.wav", tone(1, 24_000))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_writing_over_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        write_wav(tmp_path, tone(0.1, 24_000))
