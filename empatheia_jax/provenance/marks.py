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

NO_WEIGHTS = (
    "the sound has no watermark: its weights are missing (pip install 'empatheia-jax[marks]', then "
    "python -m converters.convert --source=perth --output=weights/perth)"
)
NO_SIGNER = "the files are not signed as generated: pip install 'empatheia-jax[marks]'"


class Marks:
    """What marks sounds and files.

    Args:
        watermark: mark sounds. signature: sign files.
    """

    def __init__(self, *, watermark: bool = True, signature: bool = True):
        self.notes: list[str] = []
        self._watermark: Watermark | None = None
        if watermark:
            try:
                self._watermark = Watermark.load(WEIGHTS)
            except UserError:
                self.notes.append(NO_WEIGHTS)
        self._signs = signature and manifest.available()
        if signature and not self._signs:
            self.notes.append(NO_SIGNER)

    def sound(self, samples: Float[np.ndarray, " n"], rate: int) -> Float[np.ndarray, " n"]:
        """The sound with its watermark, as far as there is one."""
        return samples if self._watermark is None else self._watermark.mark(samples, rate)

    def film(self, path: Path, facts: Mapping[str, Any] | None = None) -> None:
        """Signs a finished file in its place."""
        if self._signs:
            manifest.sign(path, {**(facts or {}), "watermark": self._watermark is not None})
