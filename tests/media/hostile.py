"""Recordings made to be awkward: written byte by byte, since no library writes them."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def wav(
    path: Path,
    seconds: float = 1.0,
    *,
    channels: int = 1,
    rate: int = 16_000,
    bits: int = 16,
    claims: int | None = None,
    streamed: bool = False,
) -> Path:
    """A PCM wav with a header that says what it is told to: `claims` = bytes of samples, `streamed` = of unknown length."""
    samples = (np.random.default_rng(0).standard_normal((int(rate * seconds), channels)) * 3000).astype("<i2").tobytes()
    size = 0xFFFFFFFF if streamed else len(samples) if claims is None else claims
    block = (channels * bits // 8) & 0xFFFF
    path.write_bytes(
        b"RIFF"
        + struct.pack("<I", min(36 + size, 0xFFFFFFFF))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
        + b"data"
        + struct.pack("<I", size)
        + samples
    )
    return path


def film(path: Path, frames: int = 25, height: int = 64, width: int = 96, *, pixel: Fraction | None = None) -> Path:
    """A grey film that gets brighter; `pixel` = width of a pixel over its height."""
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = pixel
        for number in range(frames):
            picture = np.full((height, width, 3), min(255, 10 * number), np.uint8)
            picture[:, : width // 2] //= 2
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def with_cover(source: Path, path: Path) -> Path:
    """A copy of an mp4 with a cover picture, as taggers write it: it becomes the first picture track."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", len(content) + 8, kind) + content

    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (255, 0, 0)).save(buffer, "JPEG")
    cover = box(b"ilst", box(b"covr", box(b"data", struct.pack(">II", 13, 0) + buffer.getvalue())))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    tags = box(b"udta", box(b"meta", bytes(4) + handler + cover))
    raw, out, place = source.read_bytes(), b"", 0
    while place < len(raw):  # `moov` lies after `mdat` here, so no offset changes
        size, kind = struct.unpack(">I4s", raw[place : place + 8])
        out += box(b"moov", tags + raw[place + 8 : place + size]) if kind == b"moov" else raw[place : place + size]
        place += size
    path.write_bytes(out)
    return path


def four_colours(path: Path) -> Path:
    """Two frames, 32 × 48, whose quarters differ: no turn or mirror image of them is another."""
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24, 0], picture[:16, 24:, 1], picture[16:, :24, 2], picture[16:, 24:] = 255, 255, 255, 255
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv444p"
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def with_display_matrix(source: Path, path: Path, a: float, b: float, c: float, d: float) -> Path:
    """A copy of an mp4 that says: show (x, y) at (a x + c y, b x + d y)."""

    def matrix(*numbers: float) -> bytes:
        a, b, c, d = (round(number * 65536) & 0xFFFFFFFF for number in numbers)
        return struct.pack(">9I", a, b, 0, c, d, 0, 0, 0, 0x40000000)

    raw = source.read_bytes()
    place = raw.index(matrix(1, 0, 0, 1), raw.index(b"tkhd"))
    path.write_bytes(raw[:place] + matrix(a, b, c, d) + raw[place + 36 :])
    return path
