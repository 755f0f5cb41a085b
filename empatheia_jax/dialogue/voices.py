"""Whose voice answers: a voice of the table or a reference recording for each profile, and how it shows a feeling."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.errors import UserError
from empatheia_jax.files import named
from empatheia_jax.media.audio import read_audio
from empatheia_jax.requirements import recordings_of
from empatheia_jax.styletts2.joins import SAMPLE_RATE
from empatheia_jax.styletts2.voices import Voice, for_profile


class Voices:
    """The generator's own styles by profile: what speaks where the bridge does not (a blend below 1).

    Args:
      speaker: `styletts2.Speaker`.
      folder: reference recordings, `<profile id>.wav` (0–23) or `default.wav`, for weights without a table of voices;
        None = none.

    Raises:
      UserError: the folder is missing.
    """

    def __init__(self, speaker: Any, folder: Path | None = None):
        if folder is not None and not folder.is_dir():
            raise UserError(
                f"networks.voices={folder}: no such folder; put default.wav (some seconds of one person's speech) there, or "
                "<profile id>.wav for each of the 24 profiles"
            )
        self.speaker, self.folder = speaker, folder
        self._of_recording = functools.cache(self._style_of)

    def style(self, profile: Profile, phonemes: int) -> Float[np.ndarray, " 256"] | None:
        """The style of the profile's voice; None where the weights draw it themselves (one speaker, with a diffusion).

        Raises:
          UserError: the weights need a recording, and there is none for this profile.
        """
        if self.folder is not None:
            return self._of_recording(self._recording(profile))
        if self.speaker.voices.names:
            return self.speaker.voice_style(self.manner(profile), phonemes)
        if self.draws:
            return None
        raise UserError(
            "these weights have no table of voices; set --config.networks.voices to a folder of reference recordings "
            "(<profile id>.wav or default.wav), or --config.decoding.style_blend=1.0"
        )

    @property
    def draws(self) -> bool:
        """Whether the weights draw the style of their one speaker themselves, for each passage anew."""
        config = self.speaker.model.config
        tabled = self.folder is not None or self.speaker.voices.names
        return not tabled and not config.multispeaker and "diffusion" in config.networks

    def require_mixing(self, share: float) -> None:
        """Raises `UserError` where that share of S^s would be mixed with a style that the weights draw."""
        if self.draws and 0 < share < 1:
            raise UserError(
                f"decoding.style_blend={share:g}: networks.tts draws the style of its one voice for each passage anew, and "
                "nothing can be mixed with that; set --config.decoding.style_blend=1.0 (the bridge's style) or 0.0 (its own)"
            )

    def manner(self, profile: Profile) -> Voice:
        """The tabled voice that plays a profile, with its speed and pitch; of a recording and of one speaker's weights a voice
        without a table's names and without a manner, which needs none.
        """
        if self.folder is None and self.speaker.voices.names:
            return for_profile(*labels.profile_words(profile.profile_id))
        return Voice(())

    def _recording(self, profile: Profile) -> Path:
        assert self.folder is not None
        names = recordings_of(profile.profile_id)
        found = named(self.folder, names)
        if found is None:
            raise UserError(
                f"{self.folder} has no recording for profile {profile.profile_id}; expected {names[0]} or default.wav"
            )
        return found

    def _style_of(self, path: Path) -> Float[np.ndarray, " 256"]:
        wave = read_audio(path, SAMPLE_RATE)
        try:
            return self.speaker.style_of(wave)
        except UserError as error:
            raise UserError(f"networks.voices: {path}: {error}") from None
