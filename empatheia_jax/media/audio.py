"""Sound in and out: any file that libav reads → float32 samples at the wanted rate; float samples → PCM16 wav.

Decoding and resampling are libav's (through PyAV): the same arithmetic as `ffmpeg -ac 1 -ar RATE`, which is what the
released speech pipelines used to prepare their recordings.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
from jaxtyping import Float

from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing
from empatheia_jax.media.container import SOUND_CODECS, opened, require_codec

MAX_SECONDS = 600.0
"""Longest recording that `read_audio` accepts unless told otherwise. An utterance of a dialogue lasts seconds."""

_RATES = range(1_000, 768_001)
MAX_CHANNELS = 64
"""Most channels of a recording: as many as libav's resampler takes."""
_LOUDEST = 64.0
"""A sample of this size is no sound of full scale 1 that overshoots: whoever wrote the file forgot to divide, mostly by 32768."""
# A file that ends long before its header says is a broken copy. These formats say their length exactly; headers of others are
# estimates, so a few per cent are no proof.
_EXACT = ("wav", "flac", "aiff", "caf", "w64", "mov,mp4,m4a,3gp,3g2,mj2")
_TRUNCATED_BELOW = 0.9
# Bare streams have no header. libav guesses their length from the bit rate of their beginning, which is far off where a recording
# begins with silence. An MP3 may begin with a table that says it.
_GUESSED = ("aac", "mp3", "ac3", "eac3", "dts", "amr")
_MP3_TABLES = (b"Xing", b"Info", b"VBRI")


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file's headers say. `seconds` is None where the headers do not say it."""

    seconds: float | None
    rate: int
    channels: int


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    """Opens a file's first sound track. Raises `UserError` as `container.opened`, and where no usable track is there."""
    with opened(path, "a sound file (wav, m4a, mp4 …)", "sound") as container:
        if not container.streams.audio:
            raise UserError(f"{path} has no sound track; expected a file with one")
        stream = container.streams.audio[0]
        require_codec(path, stream, SOUND_CODECS)
        if stream.rate not in _RATES or not 1 <= stream.channels <= MAX_CHANNELS:
            raise UserError(
                f"{path}: {stream.rate} Hz with {stream.channels} channels is not a usable sound track; "
                f"expected {_RATES[0]} to {_RATES[-1]} Hz and 1 to {MAX_CHANNELS} channels"
            )
        yield container, stream


def _header_seconds(path: Path, container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    if container.format.name in _GUESSED and not (container.format.name == "mp3" and _mp3_table(path)):
        return None
    if stream.duration is not None and stream.time_base is not None and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and container.duration > 0:
        return container.duration / av.time_base
    return None


def _mp3_table(path: Path) -> bool:
    """Whether the first frame of an MP3, which follows what ID3 says of it, holds a table with the count of all frames."""
    with path.open("rb") as file:
        tag = file.read(10)
        size = (
            10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0)))
            if tag[:3] == b"ID3"
            else 0
        )
        file.seek(size)
        first = file.read(512)
    return any(name in first for name in _MP3_TABLES)


def audio_info(path: str | os.PathLike) -> AudioInfo:
    """Reads length, rate and channel count from the headers, decoding nothing. Raises `UserError` as `read_audio`."""
    with _opened(Path(path)) as (container, stream):
        return AudioInfo(_header_seconds(Path(path), container, stream), stream.rate, stream.channels)


def _too_long(path: Path, seconds: float, limit: float) -> UserError:
    return UserError(f"{path} lasts {seconds:.0f} s or more; at most {limit:.0f} s are accepted; cut the recording")


def read_audio(
    path: str | os.PathLike, rate: int, mono: bool = True, max_seconds: float | None = MAX_SECONDS
) -> Float[np.ndarray, " samples"] | Float[np.ndarray, "samples channels"]:
    """Decodes the first sound track of a file at `rate` Hz.

    Args:
        path: wav, m4a, mp3, ogg, mp4 … whatever libav decodes.
        rate: wanted samples per second.
        mono: average the channels → (samples,); otherwise (samples, channels).
        max_seconds: refuse longer recordings, by their headers before decoding where those tell, else while decoding.
            None accepts any length.

    Returns:
        float32, full scale = ±1 (a lossy decoder may overshoot a little; nothing is clipped).

    Raises:
        UserError: missing, empty, corrupt, truncated, without sound, with samples that are NaN, infinite or far beyond
            full scale, or too long.
    """
    path = Path(path)
    chunks: list[np.ndarray] = []
    decoded = 0
    with _opened(path) as (container, stream):
        expected, exact = _header_seconds(path, container, stream), container.format.name in _EXACT
        if max_seconds is not None and expected is not None and expected > max_seconds:
            raise _too_long(path, expected, max_seconds)
        source_rate, channels = stream.rate, stream.channels
        # Packed samples lie in one plane; PyAV reads beyond its eight planes where planar sound has more channels.
        to_float = av.AudioResampler(format="flt", layout=stream.layout, rate=source_rate)
        # Channels are averaged here, not by libav: its float downmix of stereo is a sum scaled by 0.707.
        kept = 1 if mono else channels
        to_rate = [av.AudioResampler(format="fltp", layout="mono", rate=rate) for _ in range(kept)]
        limit = None if max_seconds is None else int(max_seconds * source_rate)

        def resampled(rows: Float[np.ndarray, "kept samples"] | None) -> None:
            pieces = []
            for number, resampler in enumerate(to_rate):
                frame = None
                if rows is not None:
                    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(rows[number, None]), "fltp", "mono")
                    frame.rate = source_rate
                pieces.append([piece.to_ndarray() for piece in resampler.resample(frame)])
            if pieces[0]:
                chunks.append(np.concatenate([np.concatenate(each, axis=1) for each in pieces]))

        for frame in container.decode(stream):
            if frame.rate != source_rate or frame.layout.nb_channels != channels:
                raise UserError(f"{path} changes its rate or channels midway; re-encode it as a plain wav")
            for piece in to_float.resample(frame):
                samples = np.ascontiguousarray(piece.to_ndarray().reshape(-1, channels).T)
                decoded += samples.shape[1]
                if limit is not None and max_seconds is not None and decoded > limit:
                    raise _too_long(path, decoded / source_rate, max_seconds)
                if not np.isfinite(samples).all():
                    raise UserError(f"{path} holds NaN or infinite samples near {decoded / source_rate:.2f} s")
                loudest = float(np.max(np.abs(samples), initial=0.0))
                if loudest > _LOUDEST:
                    raise UserError(
                        f"{path} has a sample of {loudest:.0f} near {decoded / source_rate:.2f} s; expected a sound between -1 "
                        "and 1: divide it by its full scale, often 32768, and write it again"
                    )
                resampled(samples.mean(axis=0, keepdims=True, dtype=np.float32) if mono else samples)
        if decoded == 0:
            raise UserError(f"{path} holds no samples; expected a recording")
        resampled(None)
    seconds = decoded / source_rate
    least = 0.0 if expected is None else 0.99 * expected - 0.1 if exact else _TRUNCATED_BELOW * expected
    if seconds < least:
        raise UserError(
            f"{path} ends after {seconds:.2f} s but its header promises {expected:.2f} s; "
            "the file is truncated, copy it again"
        )
    samples = np.concatenate(chunks, axis=1) if chunks else np.zeros((1, 0), np.float32)
    if samples.shape[1] == 0:
        raise UserError(f"{path} is too short to hold one sample at {rate} Hz; expected a recording")
    return np.ascontiguousarray(samples[0] if mono else samples.T)


def to_pcm16(samples: Float[np.ndarray, "*shape"]) -> np.ndarray:
    """Float samples (±1) → int16, rounded, clipped at full scale. Raises `ValueError` on NaN or infinity."""
    samples = np.asarray(samples, np.float32)
    if not np.isfinite(samples).all():
        raise ValueError("samples hold NaN or infinity")
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)


class WavWriter:
    """Writes a mono PCM16 wav as the samples come, whole or not at all.

        with WavWriter("speech.wav") as wav:
            for piece in pieces:
                wav.write(piece)

    Leaving the block by an exception, or without a sample, leaves no file.

    Raises:
        ValueError: samples that are not one-dimensional or hold NaN; on leaving the block: nothing was written.
        UserError: the place cannot be written.
    """

    def __init__(self, path: str | os.PathLike, rate: int = 24_000):
        self.path, self.rate, self.samples = Path(path), rate, 0

    def __enter__(self) -> WavWriter:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._told())
            temporary = stack.enter_context(replacing(self.path))
            stack.push(self._check)
            self._file = stack.enter_context(
                soundfile.SoundFile(temporary, "w", self.rate, channels=1, subtype="PCM_16", format="WAV")
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._stack.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except soundfile.LibsndfileError as error:  # it keeps the reason for itself, which mostly is a full disk
            raise UserError(
                f"{self.path} cannot be written ({error.error_string}); make room on its disk, or choose another place"
            ) from None

    def _check(self, kind, error, trace) -> None:
        if kind is None and not self.samples:
            raise ValueError(f"no sample was written to {self.path}")

    def write(self, samples: Float[np.ndarray, " samples"]) -> None:
        """Appends mono samples, full scale ±1."""
        samples = np.asarray(samples)
        if samples.ndim != 1:
            raise ValueError(f"expected mono samples of shape (n,); found shape {samples.shape}")
        self._file.write(to_pcm16(samples))
        self.samples += len(samples)


def write_wav(path: str | os.PathLike, samples: Float[np.ndarray, " samples"], rate: int = 24_000) -> None:
    """Writes a mono PCM16 wav, whole or not at all. Raises as `WavWriter`."""
    with WavWriter(path, rate) as wav:
        wav.write(samples)
