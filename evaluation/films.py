"""Every film in one form before it is measured: one codec, one frame rate, one crop.

Scores move with the codec as much as they do between systems, so recordings and replies are brought to the same form: decoded,
25 frames per second, the centre square, 256 × 256 pixels, encoded as H.264 and decoded again. `WORDS` says so beside every
score.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.video import read_frames, video_info
from empatheia_jax.media.video_writer import VideoWriter

SIZE, RATE, CRF = 256, 25, 18
WORDS = f"H.264 (x264, crf {CRF}, yuv420p), {RATE} frames/s, centre square scaled to {SIZE} × {SIZE}"


def versions() -> str:
    """Versions of the programs that code and decode films."""
    library = av.library_versions.get("libavcodec", ())
    return f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, library))}"


def centre_square(picture: UInt8[np.ndarray, "H W 3"], size: int = SIZE) -> UInt8[np.ndarray, "S S 3"]:
    """The largest square in the middle, scaled (bicubic)."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC))


def standard(path: Path) -> UInt8[np.ndarray, "N 256 256 3"]:
    """The frames of a film in the one form. Raises `UserError` where it cannot be decoded."""
    frames = read_frames(path, fps=RATE, reduce=centre_square)
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "standard.mp4"
        with VideoWriter(again, RATE, (SIZE, SIZE), crf=CRF) as film:
            film.write(frames)
        return read_frames(again)


def sound(film: Path, speech: Path, rate: int) -> Float[np.ndarray, " N"]:
    """The sound of a film's own track, which its lips shall fit; the speech's where a film is silent."""
    return read_audio(film if video_info(film).has_audio else speech, rate)
