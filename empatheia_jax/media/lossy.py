"""Sound through a lossy codec (MP3, AAC, Opus), in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from jaxtyping import Float, Int16


@dataclass(frozen=True)
class Codec:
    """A container and an encoder by libav's names, and the samples a second that are encoded."""

    container: str
    encoder: str
    rate: int


MP3 = Codec("mp3", "libmp3lame", 24_000)
AAC = Codec("adts", "aac", 24_000)
OPUS = Codec("ogg", "libopus", 24_000)


def encode(
    samples: Int16[np.ndarray, " samples"] | Float[np.ndarray, " samples"], rate: int, codec: Codec, bits: int = 0
) -> bytes:
    """Mono samples → the bytes of a file.

    Args:
        samples: int16, or float32 with full scale ±1.
        rate: samples a second.
        codec: what encodes them.
        bits: a second; 0 = as the encoder likes.
    """
    kind = "s16" if samples.dtype == np.int16 else "flt"
    target = io.BytesIO()
    with av.open(target, "w", format=codec.container) as file:
        stream = cast(av.AudioStream, file.add_stream(codec.encoder, rate=codec.rate, layout="mono"))
        if bits:
            stream.bit_rate = bits
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format=kind, layout="mono")
        frame.rate = rate
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=codec.rate, frame_size=stream.frame_size or 1024
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return target.getvalue()
