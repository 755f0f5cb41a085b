"""Whose face answers: portraits by profile, style clips by the emotion to show.

What the face shows is decided before (`conversation.expression`): concern where the speaker is angry, say.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dreamtalk.drawn_face.expressions import perform
from empatheia_jax.dreamtalk.drawn_face.profiles import portrait_for_profile
from empatheia_jax.dreamtalk.motion import read_expression
from empatheia_jax.errors import UserError
from empatheia_jax.media.image import read_image

CLIP_FRAMES = 100
PICTURES = (".png", ".jpg", ".jpeg")


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

    Raises:
      UserError: the folder is missing.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise UserError(
                f"the folder of faces {folder} does not exist; put default.png (a frontal portrait) and neutral.mat (a 3DMM "
                "style clip) there"
            )
        self.folder = folder

    def _first(self, names: list[str], what: str) -> Path:
        there = {path.name.lower(): path for path in sorted(self.folder.iterdir()) if path.is_file()}
        for name in names:
            if name in there:  # cameras and Windows write endings in capitals
                return there[name]
        raise UserError(f"{self.folder} has no {what}; expected {' or '.join(names)}")

    def portrait(self, profile: Profile) -> UInt8[np.ndarray, "H W 3"]:
        """The picture for this profile, else the default one. Raises `UserError` where there is neither."""
        names = [f"{stem}{suffix}" for stem in (profile.profile_id, "default") for suffix in PICTURES]
        return read_image(self._first(names, "portrait"))

    def style_clip(self, emotion: str, intensity: float = 1.0) -> Float[np.ndarray, "frames 64"]:
        """Expression coefficients of the clip of this name; of the neutral one where an emotion has none.

        A clip is shown as it was recorded, so `intensity` changes nothing.
        """
        stems = (emotion, "neutral") if emotion in labels.EMOTIONS_7 else (emotion,)
        names = [f"{stem}.mat" for stem in stems]
        return read_expression(self._first(names, "style clip"))
