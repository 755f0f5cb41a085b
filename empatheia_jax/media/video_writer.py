"""Writes films: H.264 + AAC files that a browser plays."""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing
from empatheia_jax.media.video import frames_for


class VideoWriter:
    """Writes frames as they come into an mp4 (H.264 yuv420p, optional AAC, `+faststart`), whole or not at all.

        with VideoWriter("reply.mp4", fps=25, size=(256, 256), audio=speech, audio_rate=24_000) as video:
            for batch in frames:
                video.write(batch)

    Sound is encoded along with the frames, so nothing piles up. Leaving the block by an exception leaves no file.

    Args:
        path: the mp4 to write.
        fps: frames per second.
        size: (height, width), both even (4:2:0 colour halves them).
        audio: mono float32 samples, or None for a silent film.
        audio_rate: their rate in Hz.
        crf: x264's quality (0 lossless … 51).

    Raises:
        UserError: odd size, or the place cannot be written.
        ValueError: frames of another size or type; on leaving the block: no frames, or sound and pictures whose
            lengths differ by more than one frame.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float | Fraction,
        size: tuple[int, int],
        audio: Float[np.ndarray, " samples"] | None = None,
        audio_rate: int = 24_000,
        crf: int = 18,
    ):
        height, width = size
        if height < 2 or width < 2 or height % 2 or width % 2:
            raise UserError(f"video size {height}x{width} cannot be written as H.264 4:2:0; expected even numbers")
        if audio is not None:
            audio = np.asarray(audio, np.float32)
            if audio.ndim != 1 or audio.size == 0 or not np.isfinite(audio).all():
                raise ValueError(f"expected finite mono samples (n,), n > 0; found shape {audio.shape}")
        self.path, self.size, self.fps = Path(path), (height, width), Fraction(fps).limit_denominator(1001)
        self.frames = 0
        self._audio, self._audio_rate, self._sent = audio, audio_rate, 0
        self._crf = crf
        self._stack: contextlib.ExitStack | None = None

    def __enter__(self) -> VideoWriter:
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._container = av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"})
            stack.callback(self._container.close)
            self._pictures = self._container.add_stream("libx264", rate=self.fps)
            self._pictures.height, self._pictures.width = self.size
            self._pictures.pix_fmt = "yuv420p"
            self._pictures.options = {"crf": str(self._crf), "preset": "veryfast"}
            self._sound = None
            if self._audio is not None:
                self._sound = self._container.add_stream("aac", rate=self._audio_rate, layout="mono")
                self._sound.bit_rate = 96_000
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind, error, trace) -> None:
        stack, self._stack = self._stack, None
        if stack is None:
            raise ValueError("VideoWriter was left without being entered")
        if kind is not None:
            stack.__exit__(kind, error, trace)  # tells `replacing`, which then removes the file
            return
        with stack:
            self._finish()

    def write(self, frames: UInt8[np.ndarray, "*frames height width 3"]) -> None:
        """Appends one frame (H, W, 3) or a batch (N, H, W, 3) of RGB uint8."""
        if self._stack is None:
            raise ValueError("VideoWriter is written to inside its `with` block")
        frames = np.asarray(frames)
        if frames.ndim == 3:
            frames = frames[None]
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (*self.size, 3):
            raise ValueError(
                f"expected uint8 frames (N, {self.size[0]}, {self.size[1]}, 3); found {frames.dtype} {frames.shape}"
            )
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = self.frames, 1 / self.fps
            self._container.mux(self._pictures.encode(frame))
            self.frames += 1
            self._send_sound(round(self.frames / self.fps * self._audio_rate))

    def _send_sound(self, until: int) -> None:
        """Encodes the sound up to sample `until`, in the frame size of AAC."""
        if self._sound is None or self._audio is None:
            return
        step = 1024
        until = min(until, self._audio.size)
        while self._sent < until and (self._sent + step <= until or until == self._audio.size):
            piece = self._audio[self._sent : min(self._sent + step, until)]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece[None]), format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = self._audio_rate, self._sent, Fraction(1, self._audio_rate)
            self._container.mux(self._sound.encode(frame))
            self._sent += piece.size

    def _finish(self) -> None:
        if self.frames == 0:
            raise ValueError(f"no frame was written to {self.path}")
        if self._sound is not None and self._audio is not None:
            pictures, sound = self.frames / float(self.fps), self._audio.size / self._audio_rate
            if abs(pictures - sound) > 1 / float(self.fps) + 1e-6:
                raise ValueError(
                    f"{self.frames} frames last {pictures:.3f} s but the sound {sound:.3f} s; "
                    f"write {frames_for(sound, float(self.fps))} frames"
                )
            self._send_sound(self._audio.size)
            self._container.mux(self._sound.encode(None))
        self._container.mux(self._pictures.encode(None))
