"""The film of a reply while it is made: fragmented MP4, which a browser plays from its first fifth of a second."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.files import replacing

TYPE = 'video/mp4; codecs="avc1.42E01F, mp4a.40.2"'
"""What a browser's MediaSource is told: H.264 baseline and AAC."""
_OPTIONS = {"movflags": "empty_moov+default_base_moof+delay_moov", "frag_duration": "200000"}
_AAC = 1024


class FilmWriter:
    """Encodes frames and sound as they come; `take` gives the bytes that are complete.

    Args:
        size: (height, width), both even.
        rate: frames a second.
        sound_rate: samples a second.
    """

    def __init__(self, size: tuple[int, int], rate: int, sound_rate: int):
        self._sink = _Sink()
        self._file = av.open(self._sink, "w", format="mp4", options=_OPTIONS)
        self._pictures = self._file.add_stream("libx264", rate=rate)
        self._pictures.height, self._pictures.width = size
        self._pictures.pix_fmt = "yuv420p"
        # No frame waits for a later one, and the profile is one that every telephone decodes.
        self._pictures.options = {
            "crf": "20",
            "preset": "veryfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "level": "3.1",
        }
        self._pictures.codec_context.gop_size = rate
        self._sound = self._file.add_stream("aac", rate=sound_rate, layout="mono")
        self._sound.bit_rate = 96_000
        self._rate, self._sound_rate = rate, sound_rate
        self._frames = self._samples = 0
        self._rest = np.zeros(0, np.float32)

    def sound(self, samples: Float[np.ndarray, " samples"]) -> None:
        """Appends sound (±1)."""
        self._rest = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        while len(self._rest) >= _AAC:
            self._encode(self._rest[:_AAC])
            self._rest = self._rest[_AAC:]

    def frames(self, rgb: UInt8[np.ndarray, "frames height width 3"]) -> None:
        """Appends frames."""
        for picture in rgb:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = self._frames, Fraction(1, self._rate)
            self._file.mux(self._pictures.encode(frame))
            self._frames += 1

    def close(self) -> None:
        """Encodes what is left; `take` gives the end of the film after it."""
        if len(self._rest):
            self._encode(self._rest)
            self._rest = self._rest[:0]
        if self._frames:
            self._file.mux(self._pictures.encode(None))
        if self._samples:
            self._file.mux(self._sound.encode(None))
        self._file.close()

    def take(self) -> bytes:
        """The bytes since the last call."""
        return self._sink.take()

    def _encode(self, samples: np.ndarray) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = self._sound_rate, self._samples, Fraction(1, self._sound_rate)
        self._file.mux(self._sound.encode(frame))
        self._samples += len(samples)


class _Sink:
    """A file that can only be written to, and whose content is taken away."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, content: bytes) -> int:
        self._bytes += content
        return len(content)

    def take(self) -> bytes:
        content = bytes(self._bytes)
        self._bytes.clear()
        return content


def finish(fragments: bytes, path: Path) -> None:
    """Writes a streamed film as an ordinary mp4, whose header says its length; nothing is encoded again."""
    with (
        replacing(path) as temporary,
        av.open(io.BytesIO(fragments), "r") as source,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as target,
    ):
        tracks = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream]
                target.mux(packet)
