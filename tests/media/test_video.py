"""Video files: frames by time, films that browsers play, sound and pictures of one length, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.video import frames_for, read_frames, video_info
from empatheia_jax.media.video_writer import VideoWriter
from tests.media import hostile


def ramp(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Grey frames whose brightness tells their index (5 levels apart, which H.264 keeps apart)."""
    return np.broadcast_to((5 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, height, width, 3))


def indices(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 5) for frame in frames]


def film(path, count: int, fps: float = 25, **options):
    with VideoWriter(path, fps, (32, 48), **options) as video:
        video.write(ramp(count))
    return path


def refusal(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_frames(path, **options)
    message = str(caught.value)
    assert "\n" not in message and path.name in message
    return message


def test_facts_of_the_media_readme(shared):
    info = video_info(shared / "media/style_clips/M030_front_angry_level3_001.mp4")
    assert (info.frames, info.fps, info.height, info.width, info.has_audio) == (98, 25.0, 256, 256, False)
    assert info.seconds == pytest.approx(3.92)
    info = video_info(shared / "media/talking_head/acknowledgement_english.mp4")
    assert (info.frames, info.has_audio) == (414, True)
    clip = read_frames(shared / "media/style_clips/M030_front_happy_level3_001.mp4", fps=25)
    assert clip.shape == (94, 256, 256, 3) and clip.dtype == np.uint8


def test_every_frame_comes_back_in_order(tmp_path):
    path = film(tmp_path / "x.mp4", 40)
    assert indices(read_frames(path)) == list(range(40))
    assert indices(read_frames(path, fps=25)) == list(range(40))


def test_frames_are_taken_uniformly_in_time(tmp_path):
    path = film(tmp_path / "x.mp4", 40)
    assert indices(read_frames(path, count=4)) == [5, 15, 25, 35]
    assert indices(read_frames(path, count=1)) == [20]
    assert indices(read_frames(path, fps=5)) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert indices(read_frames(film(tmp_path / "short.mp4", 2), count=5)) == [0, 0, 1, 1, 1]


def test_another_rate_is_converted_by_time(tmp_path):
    path = film(tmp_path / "x.mp4", 45, fps=30)
    frames = read_frames(path, fps=25)
    assert len(frames) == round(45 / 30 * 25)
    assert indices(frames) == [int(k / 25 * 30 + 1e-6) for k in range(len(frames))]


def test_frames_can_be_scaled(tmp_path):
    path = film(tmp_path / "x.mp4", 4)
    assert read_frames(path, count=2, size=(16, 20)).shape == (2, 16, 20, 3)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.33, 3.017])
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_sound_and_pictures_differ_by_at_most_one_frame(tmp_path, seconds, rate):
    sound = (0.4 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
    path = film(tmp_path / "x.mp4", frames_for(seconds), audio=sound, audio_rate=rate)
    with av.open(str(path)) as container:
        picture, voice = container.streams.video[0], container.streams.audio[0]
        assert picture.codec_context.name == "h264" and picture.codec_context.pix_fmt == "yuv420p"
        assert voice.codec_context.name == "aac" and voice.rate == rate
        lengths = [float(stream.duration * stream.time_base) for stream in (picture, voice)]
    assert abs(lengths[0] - lengths[1]) <= 1 / 25
    heard = read_audio(path, rate)[: len(sound)]
    assert len(heard) == len(sound) and np.corrcoef(heard, sound)[0, 1] > 0.99  # in step, not only as long


def test_the_index_stands_before_the_data_so_that_a_browser_starts_at_once(tmp_path):
    blob = film(tmp_path / "x.mp4", 30, audio=np.zeros(28_800, np.float32)).read_bytes()
    assert 0 < blob.find(b"moov") < blob.find(b"mdat")


def test_frames_may_come_one_by_one_or_in_batches(tmp_path):
    frames = ramp(10)
    with VideoWriter(tmp_path / "x.mp4", 25, (32, 48)) as video:
        video.write(frames[0])
        video.write(frames[1:4])
        video.write(frames[4:])
    assert indices(read_frames(tmp_path / "x.mp4")) == list(range(10))


def test_an_exception_midway_leaves_no_file_and_keeps_the_old_one(tmp_path):
    before = film(tmp_path / "x.mp4", 5).read_bytes()
    with pytest.raises(RuntimeError, match="renderer died"), VideoWriter(tmp_path / "x.mp4", 25, (32, 48)) as video:
        video.write(ramp(20))
        raise RuntimeError("renderer died")
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]
    assert (tmp_path / "x.mp4").read_bytes() == before


def test_a_film_without_frames_or_of_two_lengths_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="no frame"), VideoWriter(tmp_path / "x.mp4", 25, (32, 48)):
        pass
    with pytest.raises(ValueError, match="write 50 frames"):
        film(tmp_path / "x.mp4", 48, audio=np.zeros(48_000, np.float32))
    with pytest.raises(ValueError, match="expected uint8"), VideoWriter(tmp_path / "x.mp4", 25, (32, 48)) as video:
        video.write(np.zeros((2, 48, 32, 3), np.uint8))
    with pytest.raises(UserError, match="even"):
        VideoWriter(tmp_path / "x.mp4", 25, (31, 48))
    assert not list(tmp_path.iterdir())


def test_bad_files_are_refused_in_one_line(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.mp4")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert "0 bytes" in refusal(empty)
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(4_000))
    assert "corrupt" in refusal(noise)
    whole = film(tmp_path / "x.mp4", 50)
    assert "at most 1 s" in refusal(whole, max_seconds=1)
    blob = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(blob[: blob.find(b"mdat") + 60])
    assert "the file is truncated" in refusal(cut)
    sound_only = tmp_path / "sound.m4a"
    with av.open(str(sound_only), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "no picture track" in refusal(sound_only)


def test_a_container_whose_picture_track_is_empty_is_refused(tmp_path):
    path = tmp_path / "hollow.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        container.start_encoding()
    assert "no frames" in refusal(path) or "corrupt" in refusal(path)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads")
def test_films_that_were_read_leave_no_threads_behind(tmp_path):
    path = hostile.film(tmp_path / "film.mp4")
    read_frames(path, count=2)
    before = threads()
    for _ in range(5):
        read_frames(path, count=2)
    assert threads() <= before + 2


def threads() -> int:
    """Threads of this process, those of native code too."""
    return len(list(Path("/proc/self/task").iterdir()))
