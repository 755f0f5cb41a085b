"""Both marks as a reply gets them: what can be applied here is applied, and one line says what cannot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from empatheia_jax.errors import UserError
from empatheia_jax.provenance import manifest
from empatheia_jax.provenance.watermark import WEIGHTS, Watermark

_INSTALL = "pip install 'empatheia-jax[marks]'"
_CONVERT = "python -m converters.convert --source=perth --output=weights/perth"
NO_WEIGHTS = f"its weights are missing ({_INSTALL}, then {_CONVERT})"
_SECONDS = 20.0
"""The longest piece of sound whose programs `warm` compiles."""


class Marks:
    """What marks sounds and files.

    Args:
        watermark: mark sounds. signature: sign files.
    """

    def __init__(self, *, watermark: bool = True, signature: bool = True):
        self._watermark = _loaded() if watermark else None
        self._signs = signature and manifest.available()
        lacks_watermark, lacks_signature = watermark and self._watermark is None, signature and not self._signs
        self._notice = ""
        if lacks_watermark and lacks_signature:
            self._notice = f"replies carry no marks of origin; for both: {_INSTALL}, then {_CONVERT}"
        elif lacks_watermark:
            self._notice = f"the sound has no watermark: {NO_WEIGHTS}"
        elif lacks_signature:
            self._notice = f"the files are not signed as generated: {_INSTALL}"

    @classmethod
    def none(cls) -> Marks:
        """Marks that mark nothing, because nobody wants them."""
        return cls(watermark=False, signature=False)

    @property
    def notice(self) -> str:
        """One line that says which wanted mark cannot be made here, and what to do; "" where all can."""
        return self._notice

    def warm(self) -> None:
        """Compiles what sounds of up to 20 seconds need."""
        if self._watermark is not None:
            self._watermark.warm(_SECONDS)

    def sound(self, samples: Float[np.ndarray, " n"], rate: int) -> Float[np.ndarray, " n"]:
        """The sound with its watermark, as far as there is one."""
        return samples if self._watermark is None else self._watermark.mark(samples, rate)

    def sign(self, path: Path, facts: Mapping[str, Any] | None = None) -> None:
        """Signs a finished wav or mp4 in its place, as far as that is installed."""
        if self._signs:
            manifest.sign(path, {**(facts or {}), "watermark": self._watermark is not None})


def _loaded() -> Watermark | None:
    try:
        return Watermark.load(WEIGHTS)
    except UserError:
        return None
