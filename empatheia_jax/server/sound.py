"""Speech in the formats that clients ask for."""

from __future__ import annotations

import io
from typing import Literal, get_args

import numpy as np
import soundfile
from jaxtyping import Float

from empatheia_jax.media import lossy
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
_CODECS = {"mp3": lossy.MP3, "opus": lossy.OPUS, "aac": lossy.AAC}


def encode(samples: Float[np.ndarray, " samples"], rate: int, form: Format) -> bytes:
    """Mono samples (±1) at `rate` → a file in memory; pcm16 is the bare samples, little-endian."""
    if form == "pcm16":
        return to_pcm16(samples).astype("<i2").tobytes()
    if form in ("wav", "flac"):
        target = io.BytesIO()
        soundfile.write(target, to_pcm16(samples), rate, format=form.upper(), subtype="PCM_16")
        return target.getvalue()
    return lossy.encode(to_pcm16(samples), rate, _CODECS[form])
