"""Speech in the formats that clients ask for."""

from __future__ import annotations

import io
from typing import Literal, cast, get_args

import av
import numpy as np
import soundfile
from jaxtyping import Float

from empatheia_jax.media.audio import to_pcm16

Format = Literal["wav", "mp3", "flac", "opus", "aac", "pcm16"]
FORMATS: tuple[Format, ...] = get_args(Format)
TYPES: dict[Format, str] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "pcm16": "audio/pcm",
}
_CODED = {"mp3": ("mp3", "libmp3lame", 24_000), "opus": ("ogg", "libopus", 24_000), "aac": ("adts", "aac", 24_000)}


def encode(samples: Float[np.ndarray, " samples"], rate: int, form: Format) -> bytes:
    """Mono samples (±1) at `rate` → a file in memory; pcm16 is the bare samples, little-endian."""
    if form == "pcm16":
        return to_pcm16(samples).astype("<i2").tobytes()
    target = io.BytesIO()
    if form in ("wav", "flac"):
        soundfile.write(target, to_pcm16(samples), rate, format=form.upper(), subtype="PCM_16")
        return target.getvalue()
    container, codec, coded_rate = _CODED[form]
    with av.open(target, "w", format=container) as file:
        stream = cast(av.AudioStream, file.add_stream(codec, rate=coded_rate, layout="mono"))
        frame = av.AudioFrame.from_ndarray(to_pcm16(samples)[None], format="s16", layout="mono")
        frame.rate = rate
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=coded_rate, frame_size=stream.frame_size or 1024
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return target.getvalue()
