"""Reads moving pictures: facts about any video file, and its frames by time. `media.video_writer` writes films."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from jaxtyping import UInt8

from empatheia_jax.errors import UserError
from empatheia_jax.media.container import PICTURE_CODECS, opened, require_codec

MAX_SECONDS = 600.0
"""Longest video that `read_frames` accepts unless told otherwise."""
MAX_SIDE = 8192
"""Most pixels a side: one decoded frame of this size takes 200 MB."""
THREADS = min(4, os.cpu_count() or 1)
"""That decode one film. Each keeps frames of its own, 12 MB at 4K: as many as a large machine has cores take gigabytes."""
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails


@dataclass(frozen=True)
class VideoInfo:
    """Facts of a video's film. `frames` is counted from the packets, not taken from a header.

    `height` and `width` are those of square pixels, before the film is turned upright.
    """

    seconds: float
    fps: float
    frames: int
    height: int
    width: int
    has_audio: bool


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Opens a file's first film. Raises `UserError` as `container.opened`, and where no usable track is there."""
    with opened(path, "a video file (mp4 …)", "video") as container:
        # Taggers put the cover of an album before the film: a track of one attached picture.
        films = [each for each in container.streams.video if not each.disposition & _PICTURES]
        if not films:
            raise UserError(f"{path} has no picture track; expected a video file (mp4 …)")
        stream = films[0]
        require_codec(path, stream, PICTURE_CODECS)
        context = stream.codec_context
        if not (0 < context.width <= MAX_SIDE and 0 < context.height <= MAX_SIDE):
            raise UserError(f"{path} is {context.width} × {context.height} pixels; at most {MAX_SIDE} a side are read")
        yield container, stream


def _display(stream: av.VideoStream, height: int, width: int) -> tuple[int, int]:
    """(height, width) with square pixels: where a file says that its pixels are wide or narrow, the width follows."""
    ratio = stream.sample_aspect_ratio
    if not ratio or ratio <= 0 or ratio == 1:
        return height, width
    wide = round(width * ratio)
    return (height, wide) if 1 <= wide <= MAX_SIDE else (height, width)


@dataclass(frozen=True)
class _Held:
    """How a film says that its frames are to be shown: rows and columns exchanged, then turned over."""

    exchanged: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    @classmethod
    def of(cls, path: Path) -> _Held:
        """By the display matrix of the first frame: quarter turns, and the mirror images that front cameras write. Other angles
        count as the nearest quarter turn.
        """
        matrix = _display_matrix(path)
        # A frame whose side data was asked for refers to itself. It would keep its picture and its decoder until Python looks for
        # such circles: so one frame alone is asked, of a decoder without threads, and Python looks at what is new.
        gc.collect(1)
        if matrix is None:
            return cls()
        # (x, y) is shown at (a x + c y, b x + d y); y goes down.
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(np.int64)
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, bool(d < 0), bool(a < 0))
        return cls(True, bool(b < 0), bool(c < 0))

    def upright(self, picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "tall wide 3"]:
        """The picture as it is to be shown."""
        picture = picture.swapaxes(0, 1) if self.exchanged else picture
        return picture[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]


def _display_matrix(path: Path) -> bytes | None:
    """The display matrix of a film's first frame, if it has one."""
    with _opened(path) as (container, stream):
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            side_data: Any = frame.side_data  # its types know names alone
            found = side_data.get(SideData.DISPLAYMATRIX)
            return None if found is None else bytes(found)
    return None


@dataclass(frozen=True)
class _Timeline:
    stamps: list[int]  # presentation stamps of all frames, ascending
    starts: np.ndarray  # seconds from the first frame
    seconds: float  # end of the last frame
    fps: float


def _timeline(path: Path, max_seconds: float | None) -> tuple[_Timeline, VideoInfo]:
    """Lists the frames' times by reading packets, which needs no decoding."""
    with _opened(path) as (container, stream):
        rate = float(stream.average_rate or stream.base_rate or stream.guessed_rate or 25)
        if max_seconds is not None and stream.duration is not None and stream.time_base is not None:
            promised = float(stream.duration * stream.time_base)
            if promised > max_seconds:
                raise UserError(
                    f"{path} lasts {promised:.0f} s; at most {max_seconds:.0f} s are accepted; cut the video"
                )
        size = _display(stream, stream.codec_context.height, stream.codec_context.width)
        has_audio = bool(container.streams.audio)
        stamps, last = [], 0
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None:
                raise UserError(f"{path} has frames without a time; put it in a container, for instance mp4")
            stamps.append(packet.pts)
            last = packet.duration or last
            if max_seconds is not None and len(stamps) > max_seconds * max(rate, 1) + 1:
                raise UserError(f"{path} lasts more than {max_seconds:.0f} s; cut the video")
        base = stream.time_base
    if not stamps or base is None:
        raise UserError(f"{path} has no frames; expected a video with at least one")
    stamps.sort()
    starts = np.array([float((stamp - stamps[0]) * base) for stamp in stamps])
    seconds = float(starts[-1]) + (float(last * base) if last else 1 / rate)
    line = _Timeline(stamps, starts, seconds, rate)
    return line, VideoInfo(seconds, rate, len(stamps), *size, has_audio)


def video_info(path: str | os.PathLike) -> VideoInfo:
    """Counts frames and reads size, rate and length without decoding. Raises `UserError` as `read_frames`."""
    return _timeline(Path(path), None)[1]


def _choose(line: _Timeline, count: int | None, fps: float | None) -> np.ndarray:
    """Index of the frame on screen at each wanted time."""
    if count is not None:
        times = (np.arange(count) + 0.5) * line.seconds / count  # the middles of `count` equal spans
    elif fps is not None:
        times = np.arange(max(1, round(line.seconds * fps))) / fps
    else:
        return np.arange(len(line.stamps))
    # A stamp is rounded to the stream's time base: a frame that starts within half a millisecond counts as started.
    return np.clip(np.searchsorted(line.starts, times + 5e-4, side="right") - 1, 0, len(line.stamps) - 1)


def read_frames(
    path: str | os.PathLike,
    count: int | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    max_seconds: float | None = MAX_SECONDS,
    reduce: Callable[[UInt8[np.ndarray, "height width 3"]], np.ndarray] | None = None,
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Decodes frames of a film as RGB: with square pixels, turned upright where the file says how it was held.

    Args:
        count: this many frames, uniformly in time (a short clip repeats frames).
        fps: one frame each 1/fps seconds, the one on screen at that time. With neither `count` nor `fps`: all frames.
        size: (height, width) to scale to; None keeps the video's.
        max_seconds: refuse longer videos; None accepts any length.
        reduce: applied to each frame as soon as it is decoded. Frames of a 4K film take 25 MB each, so give it wherever a
            smaller picture is enough; the result holds what it returns.

    Only the chosen frames are kept in memory.

    Raises:
        UserError: missing, empty, corrupt, without frames, or too long.
        ValueError: both `count` and `fps` given, or not positive.
    """
    if count is not None and fps is not None:
        raise ValueError("give count or fps, not both")
    if (count is not None and count < 1) or (fps is not None and not fps > 0):
        raise ValueError(f"count and fps must be positive; found count={count}, fps={fps}")
    path = Path(path)
    line, _ = _timeline(path, max_seconds)
    chosen = _choose(line, count, fps)
    wanted = {line.stamps[index] for index in chosen}
    last = max(wanted)
    pictures: dict[int, np.ndarray] = {}
    sizes: set[tuple[int, int]] = set()
    held = _Held.of(path)
    with _opened(path) as (container, stream):
        stream.thread_type, stream.codec_context.thread_count = "AUTO", THREADS
        for frame in container.decode(stream):
            if frame.pts not in wanted or frame.pts in pictures:
                continue
            sizes.add((frame.height, frame.width))
            if len(sizes) > 1:
                raise UserError(f"{path} changes its picture size midway ({sorted(sizes)}); re-encode it")
            if size is None:
                height, width = _display(stream, frame.height, frame.width)
            else:
                height, width = size[::-1] if held.exchanged else size
            picture = held.upright(frame.to_ndarray(format="rgb24", width=width, height=height))
            if frame.pts is None:
                raise UserError(f"{path} has a frame without a time; re-encode it")
            pictures[frame.pts] = picture if reduce is None else np.array(reduce(picture))
            if frame.pts == last and len(pictures) == len(wanted):
                break
    if len(pictures) < len(wanted):
        missing = len(wanted) - len(pictures)
        raise UserError(f"{path}: {missing} of {len(wanted)} wanted frames cannot be decoded; the file is corrupt")
    return np.stack([pictures[line.stamps[index]] for index in chosen])


def frames_for(seconds: float, fps: float = 25) -> int:
    """Number of video frames that accompany `seconds` of sound: the nearest, at least one."""
    return max(1, round(seconds * fps))
