"""DreamTalk in use: speech, a style and a portrait in; motion and frames out. Any length, in bounded memory.

Frames are independent of one another in the denoiser (each sees its own window of speech) and in the renderer (each sees
its own window of motion), so both run in pieces of a fixed number of frames: one compilation each for all lengths.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from empatheia_jax import weights
from empatheia_jax.dreamtalk import features, motion, windows
from empatheia_jax.dreamtalk import portrait as portraits
from empatheia_jax.dreamtalk.compiled import Compiled
from empatheia_jax.dreamtalk.model import KIND, DreamTalk, DreamTalkConfig
from empatheia_jax.dreamtalk.renderer import normalise_image, to_uint8
from empatheia_jax.dreamtalk.speech import SpeechFeatures
from empatheia_jax.errors import UserError
from empatheia_jax.media.video_writer import VideoWriter

PORTRAITS_FILE = "portraits.json"
POSE_FILE = "pose.npy"
MOTION_PIECE = 64  # frames that the denoiser treats at once
RENDER_BATCH = 8  # frames that the renderer treats at once
SAMPLE_RATE = features.SAMPLE_RATE
WORDS = ("age", "gender", "tone")


@dataclasses.dataclass(frozen=True)
class Portrait:
    """A picture that comes with the weights, and whose it is (codes of AvaMERG's profiles, see `portrait_for`)."""

    file: str
    age: int
    gender: int
    tone: int


class Animator:
    """Runs a DreamTalk.

    Empatheia's entries are `motion(content=C^v, style=S^v)`; its targets are `content` and `style_of`.

    Args:
        model: the networks with their weights.
        folder: the weights folder, where portraits and a pose clip may lie beside the weights.
        motion_piece, render_batch: frames per call of the compiled denoiser and renderer.
    """

    def __init__(
        self,
        model: DreamTalk,
        folder: Path | None = None,
        *,
        motion_piece: int = MOTION_PIECE,
        render_batch: int = RENDER_BATCH,
    ):
        self.config: DreamTalkConfig = model.config
        self.folder = folder
        self.motion_piece, self.render_batch = motion_piece, render_batch
        self.portraits = self._read_portraits()
        self.pose_clip = self._read_pose_clip()
        self._speech = SpeechFeatures(model.speech, model.config.denoiser.audio_feature_dim)
        self._content = Compiled(model.denoiser, _content)
        self._style = Compiled(model.denoiser, _style)
        self._null_style = Compiled(model.denoiser, _null_style)
        self._sample = Compiled(model.denoiser, _sample, static=("steps",))
        self._render = Compiled(model.renderer, _render)

    @classmethod
    def load(cls, folder: str | os.PathLike, **options) -> Animator:
        """The animator of a weights folder (a path, or a name below the root of weights folders)."""
        place = weights.find(folder)
        return cls(weights.restore(place, DreamTalk, DreamTalkConfig, kind=KIND), place, **options)

    @property
    def image_size(self) -> int:
        """Height and width of the frames."""
        return self.config.renderer.image_size

    # ------------------------------------------------------------------------------------------- speech

    def features(self, wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "rows C"]:
        """Speech features, 50 rows per second, of 16 kHz mono samples in [-1, 1]: see `speech.SpeechFeatures`."""
        return self._speech(wave)

    def content(
        self, wave: Float[np.ndarray, " samples"], frames: int | None = None
    ) -> Float[np.ndarray, "frames W D"]:
        """Content tokens of every video frame: the target of Empatheia's stage 2 (and its C^v).

        `frames` None = as many as the speech lasts (`features.frames_of`).
        """
        step = self.config.denoiser.audio_rows_per_frame
        return self._content_of(self.features(wave), features.frames_of(len(wave), step) if frames is None else frames)

    def contents(self, waves: Sequence[Float[np.ndarray, " _"]]) -> list[Float[np.ndarray, "_ W D"]]:
        """`content` of several sounds, whose speech features are computed together."""
        step = self.config.denoiser.audio_rows_per_frame
        return [
            self._content_of(rows, features.frames_of(len(wave), step))
            for wave, rows in zip(waves, self._speech.many(waves), strict=True)
        ]

    def speech_frames(self, waves: Sequence[Float[np.ndarray, " _"]]) -> list[Float[np.ndarray, "_ rows C"]]:
        """Speech features of several sounds by video frame: the other target of Empatheia's C^v (reading U8).

        A last frame whose rows the sound does not fill ends in zeros, as the content encoder sees it.
        """
        step = self.config.denoiser.audio_rows_per_frame
        made = []
        for wave, rows in zip(waves, self._speech.many(waves), strict=True):
            frames = features.frames_of(len(wave), step)
            padded = np.zeros((max(frames * step, len(rows)), rows.shape[1]), np.float32)
            padded[: len(rows)] = rows
            made.append(padded[: frames * step].reshape(frames, step, -1))
        return made

    def content_of(self, speech: Float[np.ndarray, "frames rows C"]) -> Float[np.ndarray, "frames W D"]:
        """Content tokens of speech features by video frame, by the frozen content encoder."""
        return self._content_of(speech.reshape(-1, speech.shape[-1]), len(speech))

    def _content_of(self, rows: Float[np.ndarray, "rows C"], frames: int) -> Float[np.ndarray, "frames W D"]:
        return np.concatenate([self._content_piece(rows, *span) for span in self._pieces(frames)])

    def _content_piece(self, rows: np.ndarray, begin: int, end: int) -> np.ndarray:
        denoiser = self.config.denoiser
        audio = windows.audio_windows(
            rows, end - begin, radius=denoiser.window_radius, start=begin, rows_per_frame=denoiser.audio_rows_per_frame
        )
        return np.asarray(self._content(_padded(audio, self.motion_piece)))[: end - begin]

    def _pieces(self, frames: int) -> Iterator[tuple[int, int]]:
        for begin in range(0, frames, self.motion_piece):
            yield begin, min(begin + self.motion_piece, frames)

    # ------------------------------------------------------------------------------------------- style

    def style_of(self, clip: Float[np.ndarray, "frames C"] | None) -> Float[np.ndarray, " D"]:
        """Style code of an expression clip at 25 fps: the target of Empatheia's stage 3 (and its S^v).

        Of a clip that is longer than the encoder reads, only the beginning is used. None means the null style.

        Raises:
            UserError: the clip is empty, not finite, or of another width.
        """
        if clip is None:
            return np.asarray(self._null_style())[0]
        clip = np.asarray(clip, np.float32)
        width = self.config.denoiser.face3d_dim
        if clip.ndim != 2 or clip.shape[1] != width:
            raise UserError(f"a style clip of shape {clip.shape}; expected (frames, {width})")
        padded, padding, _ = motion.style_clip(clip, self.config.denoiser.style_max_len)
        return np.asarray(self._style(padded[None], padding[None]))[0]

    # ------------------------------------------------------------------------------------------- motion

    def motion(
        self,
        content: Float[np.ndarray, "frames W D"] | Float[np.ndarray, " samples"],
        style: Float[np.ndarray, " D"] | Float[np.ndarray, "n C"] | None = None,
        *,
        seed: int = 0,
        guidance: float = 1.0,
        steps: int = 10,
        pose: Float[np.ndarray, "m 9"] | None = None,
        frames: int | None = None,
        start: int = 0,
    ) -> Float[np.ndarray, "frames motion"]:
        """Expression by DDIM, and pose, of every frame.

        Args:
            content: content tokens (C^v), or 16 kHz speech.
            style: a style code (S^v), an expression clip, or None for the null style.
            seed: of the initial noise; the same seed gives the same beginning for any length.
            guidance: scale of classifier-free guidance; 1 is none and half the work.
            steps: of DDIM; a divisor of the schedule's length.
            pose: a pose clip, whose last pose is held where it is shorter; None takes the one that came with the
                weights, else the still pose.
            frames: number of frames for speech (None: as long as it lasts).
            start: the number of the first frame in a longer motion: made piece by piece, it is the motion made at once.
        """
        content = np.asarray(content)
        if content.ndim == 1:
            content = self.content(content, frames)
        denoiser = self.config.denoiser
        if content.ndim != 3 or content.shape[1:] != (denoiser.window_slots, denoiser.d_model) or not len(content):
            raise UserError(
                f"content of shape {content.shape}; expected (frames, {denoiser.window_slots}, {denoiser.d_model}) "
                "or mono speech (samples,)"
            )
        style = np.asarray(style, np.float32) if style is not None and np.ndim(style) == 1 else self.style_of(style)
        if style.shape != (denoiser.d_model,):
            raise UserError(f"a style code of shape {style.shape}; expected ({denoiser.d_model},)")
        size, stop = self.motion_piece, start + len(content)
        expression = []
        for piece in range(start // size, -(-stop // size)):  # the noise of a frame is that of its place in its piece
            begin, end = max(start, piece * size), min(stop, (piece + 1) * size)
            rows = content[begin - start : end - start]
            expression.append(self._motion_piece(rows, begin - piece * size, style, seed, piece, guidance, steps))
        if pose is None:
            pose = self.pose_clip if self.pose_clip is not None else np.asarray([self.config.rest_pose], np.float32)
        return motion.with_pose(np.concatenate(expression), pose[min(start, len(pose) - 1) :])

    def _motion_piece(self, content, offset, style, seed, piece, guidance, steps) -> np.ndarray:
        rows = np.zeros((self.motion_piece, *content.shape[1:]), np.float32)
        rows[offset : offset + len(content)] = content
        got = self._sample(
            rows,
            style[None],
            np.int32(seed),
            np.int32(piece),
            None if guidance == 1.0 else np.float32(guidance),
            steps=steps,
        )
        return np.asarray(got)[offset : offset + len(content)]

    # ------------------------------------------------------------------------------------------- pictures

    def render(
        self,
        portrait: np.ndarray,
        moves: Float[np.ndarray, "frames motion"],
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[UInt8[np.ndarray, "_ _ _ 3"]]:
        """Frames of a motion, in batches as they are made.

        Args:
            portrait: RGB, uint8 (H, W, 3), cut out and scaled (`portrait.prepare`); another square size is scaled here.
            moves: expression and pose of every frame.
            start, stop: which frames to draw, all by default. What a frame looks like depends on `window_radius` frames of
                motion on either side of it.
        """
        moves = np.asarray(moves, np.float32)
        renderer = self.config.renderer
        if moves.ndim != 2 or moves.shape[1] != renderer.coefficient_dim or not len(moves):
            raise UserError(f"a motion of shape {moves.shape}; expected (frames, {renderer.coefficient_dim})")
        portrait = np.asarray(portrait)
        if portrait.dtype != np.uint8 or portrait.ndim != 3 or portrait.shape[2] != 3:
            raise UserError(f"a portrait of {portrait.dtype} {portrait.shape}; expected uint8 RGB (height, width, 3)")
        source = normalise_image(jnp.asarray(portraits.prepare(portrait, renderer.image_size, crop=False)))[None]
        return self._frames(source, moves, start, len(moves) if stop is None else stop)

    def _frames(self, source, moves: np.ndarray, start: int, stop: int) -> Iterator[np.ndarray]:
        for begin in range(start, stop, self.render_batch):
            end = min(begin + self.render_batch, stop)
            window = windows.motion_windows(moves, radius=self.config.renderer.window_radius, start=begin, stop=end)
            yield np.asarray(self._render(source, _padded(window, self.render_batch)))[: end - begin]

    def film(
        self,
        path: str | os.PathLike,
        wave: Float[np.ndarray, " samples"],
        portrait: np.ndarray,
        moves: Float[np.ndarray, "frames motion"],
        rate: int = SAMPLE_RATE,
    ) -> int:
        """Renders a motion into an mp4 with its speech, streaming; returns the number of frames."""
        frames = self.render(portrait, moves)
        size = (self.image_size, self.image_size)
        with VideoWriter(path, fps=motion.FRAMES_PER_SECOND, size=size, audio=wave, audio_rate=rate) as video:
            for batch in frames:
                video.write(batch)
        return len(moves)

    def portrait_for(self, age: int, gender: int, tone: int) -> UInt8[np.ndarray, "H W 3"]:
        """The portrait among those of the weights folder that fits a profile best.

        Codes are AvaMERG's: age 0 child … 3 elderly, gender 0 male 1 female, tone 0 … 2. Gender counts most, then the
        distance in age, then tone.

        Raises:
            UserError: no portraits came with the weights.
        """
        if self.folder is None or not self.portraits:
            raise UserError(f"{self.folder or 'this model'} has no portraits; give a picture of your own")
        best = min(self.portraits, key=lambda p: (p.gender != gender, abs(p.age - age), p.tone != tone, p.file))
        return np.asarray(Image.open(self.folder / best.file).convert("RGB"))

    def _read_portraits(self) -> Sequence[Portrait]:
        if self.folder is None or not (self.folder / PORTRAITS_FILE).is_file():
            return ()
        return tuple(Portrait(**entry) for entry in json.loads((self.folder / PORTRAITS_FILE).read_text()))

    def _read_pose_clip(self) -> np.ndarray | None:
        if self.folder is None or not (self.folder / POSE_FILE).is_file():
            return None
        return motion.read_pose(self.folder / POSE_FILE)


def _content(denoiser, audio):
    return denoiser.content_encoder(audio)


def _style(denoiser, clip, padding):
    return denoiser.style_encoder(clip, padding)


def _null_style(denoiser):
    return denoiser.null_style()


def _render(renderer, portrait, window):
    return to_uint8(renderer(portrait, window).image)


def _sample(denoiser, content, style, seed, piece, guidance, *, steps: int):
    """Expression of one piece of frames; its noise depends on the seed and the piece's number alone."""
    key = jax.random.fold_in(jax.random.key(seed), piece)
    noise = jax.random.normal(key, (1, len(content), denoiser.config.face3d_dim), content.dtype)
    return denoiser.sample_ddim(content[None], style, noise, steps=steps, guidance=guidance)[0][0]


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    """Zero rows up to `length`."""
    if len(array) == length:
        return array
    return np.concatenate([array, np.zeros((length - len(array), *array.shape[1:]), array.dtype)])
