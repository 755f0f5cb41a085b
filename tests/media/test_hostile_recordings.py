"""Recordings that are not what their names say: one line each, and never a crash, a wait or another file's bytes."""

from __future__ import annotations

import os
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from empatheia_jax.encoders.clip_image import ClipPreprocessor
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import audio_info, read_audio
from empatheia_jax.media.video import read_frames, video_info
from tests.media.hostile import film, four_colours, wav, with_cover, with_display_matrix


def refusal(reader, path, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        reader(path, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("channels", [1, 2, 6, 7, 8, 9, 16, 64])
def test_sound_of_any_number_of_channels_is_averaged(tmp_path, channels):
    rng = np.random.default_rng(channels)
    samples = rng.uniform(-0.5, 0.5, (1600, channels)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "x.wav", 16_000), samples.mean(1), atol=1e-6)
    np.testing.assert_array_equal(read_audio(tmp_path / "x.wav", 16_000, mono=False), samples)


def test_more_channels_than_a_resampler_takes_are_refused(tmp_path):
    wav(tmp_path / "x.wav", 0.1, channels=100)
    assert "100 channels" in refusal(read_audio, tmp_path / "x.wav", 16_000)


@pytest.mark.parametrize("bits", [0, 1, 3, 17, 40, 255, 65535])
def test_an_absurd_bit_depth_is_one_line(tmp_path, bits):
    refusal(read_audio, wav(tmp_path / "x.wav", 0.2, bits=bits), 16_000)


def test_a_recording_shorter_than_its_header_says_is_truncated(tmp_path):
    for claims in (32_100, 15_000_000):
        wav(tmp_path / "claims.wav", claims=claims)
        for reader, arguments in ((read_audio, (16_000,)), (audio_info, ())):
            assert "truncated" in refusal(reader, tmp_path / "claims.wav", *arguments)
    blob = wav(tmp_path / "a.wav", 4).read_bytes()
    for share in (0.5, 0.95, 0.999):
        (tmp_path / "half.wav").write_bytes(blob[: int(share * len(blob))])
        assert "truncated" in refusal(read_audio, tmp_path / "half.wav", 16_000)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 64_000)
    for kind, rate in {**dict.fromkeys(("flac", "aiff", "rf64", "w64", "caf", "au"), 16_000), "ogg": 48_000}.items():
        form = {"format": kind, "subtype": "OPUS" if kind == "ogg" else "PCM_16"}
        soundfile.write(tmp_path / f"a.{kind}", samples, rate, **form)
        blob = (tmp_path / f"a.{kind}").read_bytes()
        assert len(read_audio(tmp_path / f"a.{kind}", rate)) == 64_000
        (tmp_path / f"half.{kind}").write_bytes(blob[: int(0.93 * len(blob))])
        refusal(read_audio, tmp_path / f"half.{kind}", 16_000)
    blob = film(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(blob[:-40])
    assert "truncated" in refusal(video_info, tmp_path / "half.mp4")


def test_a_recording_cut_anywhere_inside_its_header_is_one_line(tmp_path):
    path = tmp_path / "a.wav"
    for streamed in (False, True):  # a streamed file's header says no length
        blob = wav(path, streamed=streamed).read_bytes()
        for length in range(44):
            path.write_bytes(blob[:length])
            refusal(read_audio, path, 16_000)
            path.write_bytes(blob[:4] + bytes(4) + blob[8:length])
            refusal(audio_info, path)


def test_a_streamed_wav_of_unknown_length_is_read(tmp_path):
    assert len(read_audio(wav(tmp_path / "a.wav", streamed=True), 16_000)) == 16_000


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "dangling link"])
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, kind):
    path = tmp_path / "talk.wav"
    {
        "fifo": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "dangling link": lambda: path.symlink_to(tmp_path / "gone.wav"),
    }[kind]()
    for reader, arguments in ((read_audio, (16_000,)), (audio_info, ()), (read_frames, ()), (video_info, ())):
        assert "expected a" in refusal(reader, path, *arguments)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile neighbour.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nneighbour.wav\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "[playlist]\nFile1=neighbour.wav\nNumberOfEntries=1\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    ],
    ids=["ffconcat", "hls", "hls-of-a-path", "pls", "sdp"],
)
def test_a_list_of_other_files_is_no_recording(tmp_path, text):
    wav(tmp_path / "neighbour.wav")
    for name in ("list.wav", "list.mp4", "list.m3u8"):
        (tmp_path / name).write_text(text)
        refusal(read_audio, tmp_path / name, 16_000)
        refusal(read_frames, tmp_path / name)


def test_a_picture_is_no_film(tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "frame1.png")
    refusal(read_frames, tmp_path / "frame1.png")


@pytest.mark.parametrize(
    "name", ["12:30 talk.wav", "http:talk.wav", "%05d.wav", "pipe:0", os.fsdecode(b"\xff.wav"), "-.wav"]
)
def test_a_name_is_a_name_and_nothing_else(tmp_path, monkeypatch, name):
    wav(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read_audio(name, 16_000)) == 16_000


def test_the_cover_of_a_film_is_not_the_film(tmp_path):
    tagged = with_cover(film(tmp_path / "a.mp4"), tmp_path / "b.mp4")
    assert video_info(tagged) == video_info(tmp_path / "a.mp4")
    np.testing.assert_array_equal(read_frames(tagged, count=5), read_frames(tmp_path / "a.mp4", count=5))


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    wide = film(tmp_path / "wide.mp4", 3, 64, 96, pixel=Fraction(4, 3))
    info = video_info(wide)
    assert (info.height, info.width) == (64, 128)
    frames = read_frames(wide)
    assert frames.shape == (3, 64, 128, 3)
    dark = (frames[2].mean(axis=(0, 2)) < 14).mean()
    assert dark == pytest.approx(0.5, abs=0.03)  # the left half is still a half


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),  # as front cameras write it
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda p: p[::-1, ::-1].swapaxes(0, 1)),
        ((0.9925, 0.1219, -0.1219, 0.9925), lambda p: p),  # seven degrees
    ],
)
def test_a_film_is_shown_as_its_camera_was_held(tmp_path, matrix, shown):
    plain = four_colours(tmp_path / "plain.mp4")
    turned = with_display_matrix(plain, tmp_path / "turned.mp4", *matrix)
    np.testing.assert_array_equal(read_frames(turned)[0], shown(read_frames(plain)[0]))
    height, width = shown(np.zeros((32, 48))).shape
    assert read_frames(turned, size=(height // 2, width // 2))[0].shape == (height // 2, width // 2, 3)


def test_a_sound_that_was_not_divided_by_its_full_scale_is_one_line(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 1600).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples * 32768, 16_000, subtype="FLOAT")
    assert "32768" in refusal(read_audio, tmp_path / "x.wav", 16_000)
    soundfile.write(tmp_path / "x.wav", samples * 4, 16_000, subtype="FLOAT")  # loud is no fault
    np.testing.assert_array_equal(read_audio(tmp_path / "x.wav", 16_000), samples * 4)


def test_frames_are_reduced_as_they_are_decoded(tmp_path):
    clip = ClipPreprocessor.from_source({"crop_size": 64, "size": 72, "image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    path = film(tmp_path / "large.mp4", 25, 720, 1280)
    expected = clip(read_frames(path, count=24))
    tracemalloc.start()
    frames = read_frames(path, count=24, reduce=clip.crop_images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(clip.pixels(frames), expected)
    assert peak < 30e6  # a frame has 2.8 MB; 24 of them in float64 had 530


def test_the_memory_of_a_resize_does_not_grow_with_the_image():
    clip = ClipPreprocessor.from_source({"crop_size": 64, "size": 64, "image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    for shape in ((2160, 3840, 3), (2, 8192, 3), (8192, 3, 3)):
        image = np.zeros(shape, np.uint8)
        tracemalloc.start()
        assert clip(image).shape == (64, 64, 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < image.nbytes + 60e6, shape
