"""Opening recordings with libav: only regular files, only the containers and codecs named here, and nothing but the file itself.

libav knows hundreds of formats. Some are lists that name other files (HLS, ffconcat), some read addresses, and most are
decoded by code that nobody tests any more. The file is opened here and libav gets its bytes, so that no part of a name
means anything to it: `12:30 talk.wav` is a file and no protocol.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av

from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular

CONTAINERS = "aac,ac3,aiff,amr,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,w64,wav,webm"
"""Demuxers by libav's names; "mov" is mp4, m4a, 3gp and mov."""
SOUND_CODECS = (
    "aac,aac_latm,ac3,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_yamaha,alac,amrnb,amrwb,eac3,flac,gsm,gsm_ms,"
    "libopencore_amrnb,libopencore_amrwb,libopus,mp1float,mp2,mp2float,mp3,mp3float,opus,pcm_alaw,pcm_f32be,pcm_f32le,"
    "pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_s8,pcm_u8,speex,"
    "vorbis,wavpack,wmav1,wmav2,wmapro"
)
PICTURE_CODECS = (
    "av1,dnxhd,dvvideo,ffv1,flv,h263,h264,hevc,huffyuv,libdav1d,libvpx,libvpx-vp9,mjpeg,mpeg1video,mpeg2video,mpeg4,"
    "msmpeg4,msmpeg4v2,png,prores,rawvideo,svq3,theora,vc1,vp8,vp9,wmv1,wmv2,wmv3"
)
_OPTIONS = {
    "format_whitelist": CONTAINERS,
    "codec_whitelist": f"{SOUND_CODECS},{PICTURE_CODECS}",
    "protocol_whitelist": "file",
}
# What PyAV raises on damaged files, beside its own errors.
_ERRORS = (av.FFmpegError, ValueError, RuntimeError, OverflowError, MemoryError, NotImplementedError)
_PCM = 1  # a wav's number of uncompressed samples
_UNKNOWN_SIZE = 0x7FFFF000  # programs that write into a pipe put a number from here on where the size is not known


@contextlib.contextmanager
def opened(path: str | os.PathLike, expected: str, what: str) -> Iterator[av.container.InputContainer]:
    """Opens a recording; everything that libav objects to inside the block becomes one `UserError`.

    Args:
        path: the file.
        expected: what it should be: "a sound file (wav …)".
        what: what it is decoded as: "sound" or "video".

    Raises:
        UserError: no regular file, empty, shorter than its own headers say, in a format that is not read, or broken.
    """
    path = Path(path)
    require_regular(path, expected)
    try:
        with open(path, "rb") as file:
            check_headers(path, file)
            file.seek(0)
            with av.open(file, "r", options=_OPTIONS) as container:
                yield container
    except _ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = " ".join(reason.split())[:200]
        raise UserError(
            f"{path} cannot be decoded as {what} ({reason}); the file is corrupt or not {expected}"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; expected {expected}") from None


def require_codec(path: Path, stream: av.stream.Stream, known: str) -> None:
    """Raises `UserError` where a track's codec is none of those that are read."""
    name = "unknown" if stream.codec_context is None else stream.codec_context.name
    if name not in known.split(","):
        raise UserError(f"{path} holds a track of the kind {name!r}, which is not read; re-encode it")


def check_headers(path: Path, file: BinaryIO) -> None:
    """Compares what a file's headers say with the file: decoders take a truncated wav for a short one.

    Knows RIFF (wav, avi), RF64, W64, AIFF, CAF, AU, Ogg, ISO media (mp4, m4a, mov) and Matroska; others are not judged.

    Raises:
        UserError: bytes are missing, or the header of a PCM wav contradicts itself.
    """
    found = os.fstat(file.fileno()).st_size
    promised = _promised(file, found)
    if promised is not None and found < promised - 1:  # the byte that pads an odd chunk is often left out
        raise UserError(
            f"{path} has {found} bytes and its header promises {promised}; the file is truncated, copy it again"
        )
    for name, place, size in _wav_chunks(file, found):
        if name == b"fmt " and size >= 16:
            file.seek(place)
            head = file.read(16)
            if len(head) < 16:
                raise UserError(f"{path} ends inside its header; the file is truncated, copy it again")
            kind, channels, rate, _, block, bits = struct.unpack("<HHIIHH", head)
            if kind == _PCM and (bits not in (8, 16, 24, 32, 64) or block != channels * bits // 8):
                raise UserError(
                    f"{path} has a header of {channels} channels at {rate} Hz with {bits} bits in {block} bytes, which cannot "
                    "be; the file is corrupt"
                )
            return


def _wav_chunks(file: BinaryIO, found: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, place of the content, size) of the chunks of a wav; nothing for another file."""
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return
    place = 12
    while place + 8 <= found:
        file.seek(place)
        name, size = file.read(4), int.from_bytes(file.read(4), "little")
        yield name, place + 8, size
        place += 8 + size + size % 2


def _promised(file: BinaryIO, found: int) -> int | None:
    """The least number of bytes that the headers speak of, or None where they do not say."""
    head = file.read(24)
    if head[:4] == b"RIFF" and head[8:12] in (b"WAVE", b"AVI "):
        size = int.from_bytes(head[4:8], "little")
        whole = size + 8 if 0 < size < _UNKNOWN_SIZE else 0
        return max(whole, _wav_data_end(file, found)) if head[8:12] == b"WAVE" else whole
    if head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64":
        file.seek(20)
        return int.from_bytes(file.read(8), "little") + 8
    if head[:4] == b"riff" and len(head) == 24:  # W64: a 16-byte name, then the size of everything
        return int.from_bytes(head[16:24], "little")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return int.from_bytes(head[4:8], "big") + 8
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _boxes_end(file, found)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _segment_end(file)
    if head[:4] == b".snd":  # AU
        begin, size = struct.unpack(">II", head[4:12].ljust(8, b"\0"))
        return begin + size if size < _UNKNOWN_SIZE else None
    if head[:4] == b"caff":
        return _caf_end(file, found)
    if head[:4] == b"OggS":
        return _pages_end(file, found)
    return None


def _caf_end(file: BinaryIO, found: int) -> int:
    """Where the last chunk of a CAF file ends, as far as the chunks say."""
    place = 8
    while place + 12 <= found:
        file.seek(place + 4)
        size = int.from_bytes(file.read(8), "big", signed=True)
        if size < 0:  # the samples, to the end of the file
            return place
        place += 12 + size
    return place


def _pages_end(file: BinaryIO, found: int) -> int:
    """Where the last page of an Ogg file ends."""
    place = 0
    while place + 27 <= found:
        file.seek(place)
        head = file.read(27)
        if head[:4] != b"OggS":
            return place
        place += 27 + head[26] + sum(file.read(head[26]))
    return place


def _wav_data_end(file: BinaryIO, found: int) -> int:
    """Where the samples of a wav end by the size of the chunk `data`; 0 where that is unknown."""
    for name, place, size in _wav_chunks(file, found):
        if name == b"data":
            return 0 if size >= _UNKNOWN_SIZE else place + size
    return 0


def _boxes_end(file: BinaryIO, found: int) -> int:
    """Where the last top-level box of an ISO media file ends."""
    place = 0
    while place + 8 <= found:
        file.seek(place)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if not head[4:8].isalnum() or size < 8:  # 0: to the end of the file; else: bytes after the last box
            return place
        place += size
    return place


def _segment_end(file: BinaryIO) -> int | None:
    """Where the segment of a Matroska file ends; None where its size is unknown."""

    def number() -> tuple[int, bool]:
        first = file.read(1)
        if not first or not first[0]:
            return 0, False
        width = 9 - first[0].bit_length()
        rest = file.read(width - 1)
        value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + rest, "big")
        return value, value != 2 ** (7 * width) - 1

    file.seek(4)
    size, known = number()
    if not known:
        return None
    file.seek(size, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return None
    size, known = number()
    return file.tell() + size if known else None
