"""One reply as sound and face, made piece by piece: what `Engine.stream` yields of both, with exact places in time.

    text of a piece ─► durations ─► sound ─► frames that it covers ─► C^v, S^v ─► motion ─► pictures

Places are counted, in samples (24,000 a second) and frames (25 a second: one for 960 samples). A piece's frames are those that
begin before its sound ends; the last piece is rounded, so that sound and film differ by less than a frame at any length. Every
piece of sound begins and ends with a fade of 5 ms into silence (`styletts2.joins`), and style and voice stay the same over the
whole reply, so that a join neither clicks nor jumps in level or pitch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from jaxtyping import Float

from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue.events import Frames, Motion, SpeechPiece
from empatheia_jax.dialogue.reading import word_times
from empatheia_jax.dialogue.responder import SPEECH_RATE, Blend, Responder
from empatheia_jax.empatheia import Signals
from empatheia_jax.errors import UserError
from empatheia_jax.media.video import frames_for
from empatheia_jax.styletts2.joins import FRAME, SAMPLE_RATE, pause_after
from empatheia_jax.styletts2.voices import Voice

FRAME_RATE = 25
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
CONTEXT = 50
"""Frames of sound before a piece that the face's encoder hears again: two seconds, more than its windows reach back."""
AHEAD = SAMPLE_RATE // 5
"""Samples of silence that the face's encoder hears behind a piece: a pause follows it, or the end."""


@dataclass(frozen=True)
class Role:
    """Who speaks, and how: the same for all pieces of a reply.

    people: whose voice and face lend what the bridge does not say, and their shares, which sum to one; the portrait is that
    of the largest. shows: expressions with their intensity, and their shares. speech_style, video_style: S^s and S^v. blend:
    the bridge's shares.
    """

    people: tuple[tuple[Profile, float], ...]
    shows: tuple[tuple[tuple[str, float], float], ...]
    speech_style: Float[np.ndarray, "*S"]
    video_style: Float[np.ndarray, "*D"]
    blend: Blend
    seed: int

    @property
    def who(self) -> Profile:
        """The profile whose portrait is shown: that of the largest share."""
        return max(self.people, key=lambda each: each[1])[0]


class Performance:
    """Speaks and moves one reply. Call `say` for each piece of the text in turn, and `move` and `draw` after each.

    draws: whether `draw` will be called; motion is then kept until it is drawn.
    """

    def __init__(self, responder: Responder, generation: str, role: Role, *, draws: bool = True):
        self._responder, self._generation, self.role, self._draws = responder, generation, role, draws
        self.samples = self.symbols = self.sentences = 0
        self.frames = self.drawn = 0
        self._pause = 0
        self._heard = np.zeros(0, np.float32)  # the latest sound, for the face
        self._moves = np.zeros((0, 0), np.float32)  # the latest motion, for the renderer
        self._first_move = 0
        self._voice: tuple[np.ndarray | None, Voice] | None = None
        self._face: np.ndarray | None = None
        self._portrait: np.ndarray | None = None

    @property
    def seconds(self) -> float:
        """Seconds of sound so far."""
        return self.samples / SAMPLE_RATE

    # ------------------------------------------------------------------------------------------------ sound

    def say(self, text: str, signals: Signals | None) -> SpeechPiece | None:
        """The sound of the next piece; None where its text has nothing that can be spoken.

        signals: r^t, r^s and r^v of the response up to this piece at least; None where the blend takes nothing of C^s.
        """
        speaker, role = self._responder.speaker, self.role
        try:
            count = len(speaker.token_ids(text))
        except UserError:  # "…", say
            return None
        if self._voice is None:
            self._voice = self._voiced(count)
        style, voice = self._voice
        content, share = None, role.blend.speech_content
        if share and signals is not None:
            content = self._responder.speech_content(signals, self.symbols + count)[self.symbols :]
        spoken = list(
            speaker.stream(
                text,
                voice=None if style is None else voice,
                style=style,
                speed=voice.speed if style is None else 1.0,
                pitch=voice.pitch if style is None else 1.0,
                content=content,
                content_share=share if content is not None else 1.0,
                seed=role.seed + self.sentences,
            )
        )
        sound = np.concatenate([np.zeros(self._pause, np.float32), *(piece.samples for piece in spoken)])
        sound = np.clip(sound, -1.0, 1.0).astype(np.float32)  # an untrained voice may shout; encoders refuse that
        words = word_times(text, spoken, self.samples + self._pause)
        piece = SpeechPiece(
            generation=self._generation,
            samples=sound,
            rate=SAMPLE_RATE,
            words=tuple(words),
            sentence=self.sentences,
            start=self.samples,
        )
        self._heard = np.concatenate([self._heard, sound])
        self._pause = FRAME * pause_after(spoken[-1].phonemes)
        self.samples += len(sound)
        self.symbols += count
        self.sentences += 1
        return piece

    def _voiced(self, symbols: int) -> tuple[np.ndarray | None, Voice]:
        """Style and manner: those of everybody who takes part, in their shares. Factors are ratios, so shares are exponents."""
        style: np.ndarray | None = None
        speed = pitch = 1.0
        for person, a in self.role.people:
            for shown, b in self.role.shows:
                own, voice = self._responder.voice(
                    self.role.speech_style, person, shown, symbols, self.role.blend.speech_style
                )
                share = a * b
                if own is not None:
                    style = share * own if style is None else style + share * own
                speed, pitch = speed * voice.speed**share, pitch * voice.pitch**share
        return style, Voice((), speed, pitch)

    # ------------------------------------------------------------------------------------------------ face

    def move(self, signals: Signals | None, *, ended: bool) -> Motion | None:
        """The motion to all sound so far that has none yet; None where that is no frame.

        signals: of the response up to the latest piece; None where the blend takes nothing of C^v.
        """
        responder, role = self._responder, self.role
        upto = frames_for(self.seconds) if ended else self.samples // SAMPLES_PER_FRAME
        start = self.frames
        if upto <= start or not self.samples:
            return None
        share = role.blend.video_content
        content: np.ndarray | float = 0.0
        if share and signals is not None:
            content = responder.video_content(signals, upto)[start:]
        else:
            share = 0.0
        if share < 1:
            content = share * content + (1 - share) * self._heard_content(start, upto, ended)
        if self._face is None:
            styles = (
                share * responder.face_style(role.video_style, shown, role.blend.video_style)
                for shown, share in role.shows
            )
            self._face = np.sum(list(styles), axis=0)
        moves = responder.animator.motion(
            np.asarray(content), self._face, seed=role.seed, guidance=responder.guidance, start=start
        )
        self._moves = moves if not start else np.concatenate([self._moves, moves])
        self.frames = upto
        self._forget()
        return Motion(generation=self._generation, coefficients=moves, rate=FRAME_RATE, start=start)

    def _heard_content(self, start: int, upto: int, ended: bool) -> Float[np.ndarray, "frames W D"]:
        """The talking head's own encoding of the sound, for frames `start` … `upto`."""
        first = max(0, start - CONTEXT)
        offset = self.samples - len(self._heard)
        sound = self._heard[first * SAMPLES_PER_FRAME - offset :]
        if not ended or len(sound) < AHEAD:
            sound = np.concatenate([sound, np.zeros(AHEAD, np.float32)])
        sound = soxr.resample(sound, SAMPLE_RATE, SPEECH_RATE)
        return self._responder.animator.content(sound, upto - first)[start - first :]

    def draw(self, *, ended: bool) -> Iterator[Frames]:
        """Pictures of all frames whose surroundings in time are known, and that are not drawn yet; batch by batch."""
        animator = self._responder.animator
        radius, batch = animator.config.renderer.window_radius, animator.render_batch
        upto = self.frames if ended else self.frames - radius
        if not ended:
            upto = self.drawn + max(0, upto - self.drawn) // batch * batch
        if self._portrait is None:
            self._portrait = self._responder.faces.portrait(self.role.who)
        while self.drawn < upto:
            stop = min(self.drawn + batch, upto)
            begin = self.drawn - self._first_move
            (rgb,) = animator.render(self._portrait, self._moves, begin, begin + stop - self.drawn)
            start, self.drawn = self.drawn, stop
            self._forget()
            yield Frames(generation=self._generation, rgb=rgb, rate=FRAME_RATE, start=start)

    def _forget(self) -> None:
        """Lets go of sound and motion that nothing will look at again."""
        radius = self._responder.animator.config.renderer.window_radius
        first = max(0, (self.drawn if self._draws else self.frames) - radius)
        if first > self._first_move:
            self._moves = self._moves[first - self._first_move :]
            self._first_move = first
        offset = self.samples - len(self._heard)
        keep = max(0, self.frames - CONTEXT) * SAMPLES_PER_FRAME
        if keep > offset:
            self._heard = self._heard[keep - offset :]
