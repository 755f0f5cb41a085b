"""Where weights folders are found, and what their `config.json` says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object
from empatheia_jax.weights.sums import SUMS_FILE, check_file

FORMAT = 2
READ_FORMATS = (1, 2)  # 1 has no SHA256SUMS: its parameters' own hashes are compared
CONFIG_FILE = "config.json"
PARAMS_FOLDER = "params"
ROOT_VARIABLE = "EMPATHEIA_WEIGHTS"
SHIPPED = Path(__file__).parents[1] / "assets"  # small weights that are part of the package


def root() -> Path:
    """Folder that holds the weights folders: `$EMPATHEIA_WEIGHTS`, else `weights` below the working directory."""
    return Path(os.environ.get(ROOT_VARIABLE, "weights"))


def find(name: str | os.PathLike) -> Path:
    """The weights folder of that name below `root()`, the path itself where it is one, or else one that ships with us.

    Raises: UserError where there is none.
    """
    for folder in (Path(name), root() / name, SHIPPED / name):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise UserError(
        f"no weights folder {str(name)!r} (looked at {name} and {root() / name}); make it with "
        f"`python -m converters.convert`, or point ${ROOT_VARIABLE} at the folder that holds it"
    )


def describe(folder: str | os.PathLike) -> dict[str, Any]:
    """What `config.json` of a weights folder says.

    Raises: UserError where the folder is none, or was written by a newer version.
    """
    folder = Path(folder)
    path = folder / CONFIG_FILE
    check_file(folder, CONFIG_FILE)
    description = read_json_object(path, "the config.json of a weights folder")
    if description.get("format") not in READ_FORMATS or not isinstance(description.get("params"), dict):
        raise UserError(
            f"{path} has the format {description.get('format')!r}, and this version reads {FORMAT}; it may be a "
            "released checkpoint, which `python -m converters.convert` turns into a weights folder"
        )
    if description["format"] >= 2 and not (folder / SUMS_FILE).exists():
        raise UserError(f"{folder} is damaged: its {SUMS_FILE} is not there; make it again")
    kinds = {"kind": str, "config": dict, "provenance": dict, "sha256": str, "files": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(description.get(key), kind)]
    wrong += [f"params.{name}" for name, entry in description["params"].items() if not _is_entry(entry)]
    if wrong:
        raise UserError(f"{path} is damaged: {', '.join(wrong[:5])} cannot be read; make the folder again")
    return description


def _is_entry(entry: Any) -> bool:
    """Whether `entry` is what `config.json` says of one parameter."""
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        return False
    sides = all(isinstance(n, int) and n >= 0 for n in entry["shape"])
    return sides and isinstance(entry.get("dtype"), str) and isinstance(entry.get("sha256"), str)
