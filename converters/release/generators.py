"""The generators' weights in the files that their original repositories load."""

from __future__ import annotations

import shutil
from pathlib import Path

from converters.convert import to_release
from converters.registry import find_conversion
from empatheia_jax import weights
from empatheia_jax.errors import UserError

CONVERSIONS = {kind: kind for kind in ("styletts2", "dreamtalk", "dreamtalk-denoiser", "dreamtalk-renderer")}
"""Kind of a weights folder → the conversion whose files its original repository loads."""


def write(folder: Path, output: Path) -> Path:
    """Writes a generator's weights folder in its original's layout; an earlier attempt is replaced.

    Raises: UserError for a folder of another kind.
    """
    kind = weights.describe(folder)["kind"]
    if kind not in CONVERSIONS:
        raise UserError(f"{folder} holds a {kind!r}; expected a generator: {', '.join(CONVERSIONS)}")
    shutil.rmtree(output, ignore_errors=True)
    return to_release(find_conversion(CONVERSIONS[kind]), folder, output)
