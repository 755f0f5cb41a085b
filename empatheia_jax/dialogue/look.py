"""Who answers where a person chose it: another voice, a photograph, an emotion that is shown whatever was understood."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue.asking import Ask
from empatheia_jax.dialogue.faces import CLIP_FRAMES, DrawnFaces
from empatheia_jax.dialogue.responder import Responder
from empatheia_jax.dialogue.voices import Voices
from empatheia_jax.dreamtalk import photo
from empatheia_jax.dreamtalk.drawn_face.expressions import perform
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.image import read_portrait
from empatheia_jax.styletts2.joins import SAMPLE_RATE
from empatheia_jax.styletts2.voices import Voice

DRAWN_NOTE = (
    "this face network ({size} x {size} pixels) has learnt from drawings; it moves a photograph a little, without fine teeth or "
    "skin; DreamTalk's released weights (networks.talking_head) are made for photographs"
)
VOICE_NOTE = "only a voice of a table can play an emotion; this one keeps its own, and the face shows {emotion}"
STYLE_NOTE = "{faces} has no style clip for these weights; the face speaks in no particular style"


class ChosenVoice(Voices):
    """One voice for every profile: of the table by name or mixture, or of a recording.

    Raises:
      UserError: the table has no such voice, or the weights cannot take one from a recording.
    """

    def __init__(self, speaker: Any, wish: str | Path):
        super().__init__(speaker)
        self._voice, self._style = Voice(()), None
        if isinstance(wish, Path):
            if "style_encoder" not in getattr(speaker.model.config, "networks", ()):
                raise UserError(
                    f"--voice: these weights cannot take a voice from {wish.name}; expected one of "
                    f"{', '.join(speaker.voices.names) or 'no other voice'}"
                )
            wave = read_audio(wish, SAMPLE_RATE)
            try:
                self._style = speaker.style_of(wave)
            except UserError as error:
                raise UserError(f"--voice={wish}: {error}") from None
        elif not speaker.voices.names:
            raise UserError(f"--voice={wish}: these weights have no table of voices; expected a recording of a person")
        else:
            self._voice = Voice.parse(wish)
            speaker.voice_style(self._voice, 1)  # an unknown name is refused here

    def style(self, profile: Profile, phonemes: int) -> Float[np.ndarray, " 256"] | None:
        """The style of the chosen voice, whatever the profile."""
        return self.speaker.voice_style(self._voice, phonemes) if self._style is None else self._style

    def manner(self, profile: Profile) -> Voice:
        """The chosen voice or mixture of voices."""
        return self._voice


class PhotoFace:
    """The face of a photograph for every profile; style clips are those of `faces` where it has them for these weights.

    Raises:
      UserError: see `photo.judged`.
    """

    def __init__(self, path: Path, animator: Any, faces: Any):
        picture = read_portrait(path)
        face = photo.judged(picture, str(path))
        self.drawn = photo.is_drawn(animator.config.rest_pose)
        self._faces = faces
        if self.drawn:
            self.overlaid = photo.overlay(picture, face, animator.image_size)
            self._picture = self.overlaid.picture
        else:
            self._picture = photo.cut_out(picture, face, animator.image_size)

    def portrait(self, profile: Profile) -> np.ndarray:
        """The photograph as the renderer takes it."""
        return self._picture

    def style_clip(self, emotion: str, intensity: float = 1.0) -> Float[np.ndarray, "frames 64"] | None:
        """A clip in the coefficients of these weights; None = no particular style."""
        if self.drawn:
            return perform(emotion, CLIP_FRAMES, seed=0, intensity=intensity)[:, :64]
        if isinstance(self._faces, DrawnFaces):  # those clips are in other coefficients
            return None
        return self._faces.style_clip(emotion, intensity)


class PhotoAnimator:
    """An animator whose films show a photograph: with the drawn face's weights it moves less, and its edge is cut off."""

    def __init__(self, animator: Any, face: PhotoFace):
        self._animator, self._face = animator, face

    def __getattr__(self, name: str) -> Any:
        return getattr(self._animator, name)

    def render(
        self, portrait: np.ndarray, moves: Float[np.ndarray, "frames 73"], *span: Any, **options: Any
    ) -> Iterator[Any]:
        """See `Animator.render`."""
        if not self._face.drawn:
            yield from self._animator.render(portrait, moves, *span, **options)
            return
        for frames in self._animator.render(portrait, photo.calmed(moves), *span, **options):
            yield self._face.overlaid.show(np.asarray(frames))


def chosen(model: Responder, ask: Ask) -> tuple[Responder, list[str]]:
    """The responder with what was asked for, sharing all networks with `model`; and what there is to say about it.

    What a person chooses is not blended with what the bridge predicts: a voice takes the whole style of the speech, an emotion
    the styles of speech and face.

    Raises:
      UserError: the weights do not have that voice, or the photograph cannot be used.
    """
    notes: list[str] = []
    if not (ask.voice or ask.portrait or ask.emotion):
        return model, notes
    model = copy.copy(model)
    if ask.voice:
        model.voices = ChosenVoice(model.speaker, ask.voice)
        model.blend = dataclasses.replace(model.blend, speech_style=0.0)
    if ask.portrait:
        face = PhotoFace(ask.portrait, model.animator, model.faces)
        if face.drawn:
            notes.append(DRAWN_NOTE.format(size=model.animator.image_size))
        elif face.style_clip(NEUTRAL) is None:
            notes.append(STYLE_NOTE.format(faces=getattr(model.faces, "folder", "networks.faces")))
        model.faces, model.animator = face, PhotoAnimator(model.animator, face)
    if ask.emotion:
        if isinstance(ask.voice, Path) or not model.speaker.voices.names:
            notes.append(VOICE_NOTE.format(emotion=ask.emotion))
        model.style_clip = ask.emotion
        model.blend = dataclasses.replace(model.blend, speech_style=0.0, video_style=0.0)
    return model, notes
