"""Whose face answers: portraits by profile, style clips by the emotion to show.

What the face shows is decided before (`conversation.expression`): concern where the speaker is angry, say.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dreamtalk import photo
from empatheia_jax.dreamtalk.drawn_face.expressions import perform
from empatheia_jax.dreamtalk.drawn_face.profiles import portrait_for_profile
from empatheia_jax.dreamtalk.motion import read_expression
from empatheia_jax.errors import UserError
from empatheia_jax.files import named
from empatheia_jax.media.image import read_portrait
from empatheia_jax.requirements import PICTURES

CLIP_FRAMES = 100


class DrawnFaces:
    """The faces that we draw ourselves: a person for each of the 24 profiles, an expression for each emotion."""

    def portrait(self, profile: Profile) -> UInt8[np.ndarray, "H W 3"]:
        """The neutral face of the person who has this profile."""
        age, gender, tone = profile.ids
        return portrait_for_profile(labels.AGES[age], labels.GENDERS[gender], labels.TONES[tone])

    def style_clip(self, emotion: str, intensity: float = 1.0) -> Float[np.ndarray, "frames 64"]:
        """Four seconds of a silent face with this emotion (of the 7 or neutral). Raises `UserError` for another word."""
        return perform(emotion, CLIP_FRAMES, seed=0, intensity=intensity)[:, :64]


class FaceFolder:
    """Real faces that a user brings: `<profile id>.png` (0–23) or `default.png`, and `<emotion>.mat` or `neutral.mat`.

    Args:
      folder: the folder.
      size: pixels a side of the renderer's pictures, to which a portrait that is not square is cut out.
      drawn: the weights move by the drawn face's coefficients (`photo.is_drawn`). Style clips of the folder mean nothing to them;
        our own take their place.

    Raises:
      UserError: the folder is missing.
    """

    def __init__(self, folder: Path, size: int = 256, drawn: bool = False):
        if not folder.is_dir():
            raise UserError(
                f"networks.faces={folder}: no such folder; put default.png (a frontal portrait) and neutral.mat (a 3DMM "
                "style clip) there"
            )
        self.folder, self.size, self.drawn = folder, size, drawn

    def _first(self, names: list[str], what: str) -> Path:
        found = named(self.folder, names)
        if found is None:
            raise UserError(f"{self.folder} has no {what}; expected {' or '.join(names)}")
        return found

    def portrait(self, profile: Profile) -> UInt8[np.ndarray, "H W 3"]:
        """The picture for this profile, else the default one, cut out where it is not square.

        Raises `UserError` where there is neither, or no face is found in it.
        """
        names = [f"{stem}{suffix}" for stem in (profile.profile_id, "default") for suffix in PICTURES]
        path = self._first(names, "portrait")
        picture = read_portrait(path)
        return picture if picture.shape[0] == picture.shape[1] else photo.prepare(picture, self.size, str(path))

    @property
    def has_clips(self) -> bool:
        """Whether there is a style clip at all."""
        return any(path.suffix.lower() == ".mat" for path in self.folder.iterdir())

    def style_clip(self, emotion: str, intensity: float = 1.0) -> Float[np.ndarray, "frames 64"] | None:
        """Expression coefficients of the clip of this name; of the neutral one where an emotion has none; None (no particular
        style) where the folder has no clip.

        A recorded clip is shown as it is, so `intensity` changes nothing.
        """
        if self.drawn and emotion in (*labels.EMOTIONS_7, NEUTRAL):
            return perform(emotion, CLIP_FRAMES, seed=0, intensity=intensity)[:, :64]
        if not self.has_clips and emotion in (*labels.EMOTIONS_7, NEUTRAL):
            return None
        stems = (emotion, "neutral") if emotion in labels.EMOTIONS_7 else (emotion,)
        names = [f"{stem}.mat" for stem in stems]
        return read_expression(self._first(names, "style clip"))
