"""Trained leaves as a folder: what a training changed of a model, by path, small enough to be given on.

    NAME/leaves.safetensors   path → array
    NAME/start.json           the settings that it was trained with, which stages and losses, the frozen weights it belongs to
    NAME/README.md            the card, for people
    NAME/SHA256SUMS           of every file above

A training or a reply begins from such a folder (`config.start`). It holds no optimizer and no frozen weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.flax import load_file, save

from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object, write_bytes, write_json, write_text
from empatheia_jax.weights.layout import SHIPPED
from empatheia_jax.weights.sums import SUMS_FILE, check, seal

LEAVES_FILE, FACTS_FILE, CARD_FILE = "leaves.safetensors", "start.json", "README.md"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Start:
    """A folder of trained leaves.

    folder    where it is
    config    the settings of its training, as plain values
    losses    what its stages minimised: some of "emp", "ccl", "sac"
    weights   SHA-256 of the frozen weights that the leaves were trained on, by the name of their network
    sha256    of the leaves
    facts     everything that `start.json` says
    """

    folder: Path
    config: Mapping[str, Any]
    losses: tuple[str, ...]
    weights: Mapping[str, str]
    sha256: str
    facts: Mapping[str, Any]

    def leaves(self) -> dict[str, jnp.ndarray]:
        """Path → array, in float32. Raises `UserError` where the file is damaged."""
        check(self.folder)
        try:
            found = load_file(self.folder / LEAVES_FILE)
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{self.folder / LEAVES_FILE} cannot be read ({error}); get the folder again") from None
        # By NumPy: JAX would compile a program for every shape.
        return {path: jax.device_put(np.asarray(value).astype(np.float32)) for path, value in found.items()}


def find_start(name: str | os.PathLike) -> Path:
    """The folder of trained leaves of that name: the path itself, else one that ships with the package.

    Raises: UserError where there is none.
    """
    for folder in (Path(name), SHIPPED / name):
        if (folder / FACTS_FILE).is_file():
            return folder
    raise UserError(
        f"start={str(name)!r}: no folder of trained leaves (no {Path(name) / FACTS_FILE}); expected the name of one that ships "
        '("starter"), the path of one, or "" for the bare language model'
    )


def open_start(name: str | os.PathLike) -> Start:
    """What a folder of trained leaves says of itself. Raises `UserError` where there is none, or it is damaged."""
    folder = find_start(name)
    if not (folder / SUMS_FILE).is_file():
        raise UserError(f"{folder} is damaged: its {SUMS_FILE} is not there; get the folder again")
    facts = read_json_object(folder / FACTS_FILE, "what a folder of trained leaves says of itself")
    kinds = {"format": int, "config": dict, "losses": list, "weights": dict, "sha256": str}
    if wrong := [key for key, kind in kinds.items() if not isinstance(facts.get(key), kind)]:
        raise UserError(f"{folder / FACTS_FILE} is damaged: {', '.join(wrong)} cannot be read; get the folder again")
    if facts["format"] > FORMAT:
        raise UserError(
            f"{folder} has the format {facts['format']}, and this version reads {FORMAT}; update the package"
        )
    return Start(folder, facts["config"], tuple(facts["losses"]), facts["weights"], facts["sha256"], facts)


def write_start(
    folder: str | os.PathLike, leaves: Mapping[str, Any], facts: Mapping[str, Any], card: str | None = None
) -> Path:
    """Writes a folder of trained leaves, in bfloat16: a training goes on from them, and their rounding is far below its steps.

    Args:
      folder: where; a folder of leaves that is there is replaced.
      leaves: path → array.
      facts: `config`, `losses`, `weights`, and whatever else a reader should know.
      card: the text of README.md; None leaves the one that is there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = save({path: jnp.asarray(value).astype(jnp.bfloat16) for path, value in sorted(leaves.items())})
    write_bytes(folder / LEAVES_FILE, content)
    write_json(folder / FACTS_FILE, {"format": FORMAT, **facts, "sha256": hashlib.sha256(content).hexdigest()})
    if card is not None:
        write_text(folder / CARD_FILE, card)
    seal(folder)
    return folder
