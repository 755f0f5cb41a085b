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

MAX_SECONDS = 600.0
"""Longest recording that `read_audio` accepts unless told otherwise. An utterance of a dialogue lasts seconds."""

_RATES = range(1_000, 768_001)
# A file that ends long before its header says is a broken copy. Headers of compressed formats are estimates, so a
# few per cent are no proof.
_TRUNCATED_BELOW = 0.9


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file's headers say. `seconds` is None where the headers do not say it."""

    seconds: float | None
    rate: int
    channels: int


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    """Opens a file's first sound track; everything that libav may object to becomes one `UserError`."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}; expected a sound file (wav, m4a, mp4 …)")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes); expected a sound file (wav, m4a, mp4 …)")
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise UserError(f"{path} has no sound track; expected a file with one")
            stream = container.streams.audio[0]
            if stream.rate not in _RATES or stream.channels < 1:
                raise UserError(f"{path}: {stream.rate} Hz with {stream.channels} channels is not a usable sound track")
            yield container, stream
    except (av.FFmpegError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{path} cannot be decoded as sound ({reason}); the file is corrupt or not a sound file"
        ) from None


def _header_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and container.duration > 0:
        return container.duration / av.time_base
    return None


def audio_info(path: str | os.PathLike) -> AudioInfo:
    """Reads length, rate and channel count from the headers, decoding nothing. Raises `UserError` as `read_audio`."""
    with _opened(Path(path)) as (container, stream):
        return AudioInfo(_header_seconds(container, stream), stream.rate, stream.channels)


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
        UserError: missing, empty, corrupt, truncated, without sound, with NaN or infinite samples, or too long.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        expected = _header_seconds(container, stream)
        if max_seconds is not None and expected is not None and expected > max_seconds:
            raise _too_long(path, expected, max_seconds)
        source_rate, channels = stream.rate, stream.channels
        # Channels are averaged here, not by libav: its float downmix of stereo is a sum scaled by 0.707.
        to_float = av.AudioResampler(format="fltp", layout=stream.layout, rate=source_rate)
        layout = "mono" if mono or channels == 1 else stream.layout
        to_rate = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        limit = None if max_seconds is None else int(max_seconds * source_rate)
        chunks: list[np.ndarray] = []
        decoded = 0

        def resampled(frame: av.AudioFrame | None) -> None:
            chunks.extend(piece.to_ndarray() for piece in to_rate.resample(frame))

        for frame in container.decode(stream):
            if frame.rate != source_rate or frame.layout.nb_channels != channels:
                raise UserError(f"{path} changes its rate or channels midway; re-encode it as a plain wav")
            for piece in to_float.resample(frame):
                samples = piece.to_ndarray()
                decoded += samples.shape[1]
                if limit is not None and decoded > limit:
                    raise _too_long(path, decoded / source_rate, max_seconds)
                if not np.isfinite(samples).all():
                    raise UserError(f"{path} holds NaN or infinite samples near {decoded / source_rate:.2f} s")
                if layout == "mono":
                    samples = samples.mean(axis=0, keepdims=True, dtype=np.float32)
                plain = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
                plain.rate = source_rate
                resampled(plain)
        if decoded == 0:
            raise UserError(f"{path} holds no samples; expected a recording")
        resampled(None)
    if expected is not None and decoded / source_rate < _TRUNCATED_BELOW * expected:
        raise UserError(
            f"{path} ends after {decoded / source_rate:.2f} s but its header promises {expected:.2f} s; "
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
            temporary = stack.enter_context(replacing(self.path))
            stack.push(self._check)
            self._file = stack.enter_context(
                soundfile.SoundFile(temporary, "w", self.rate, channels=1, subtype="PCM_16", format="WAV")
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._stack.__exit__(kind, error, trace)

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
