"""Where weights folders are found, and what their `config.json` says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from empatheia_jax.errors import UserError

FORMAT = 1
CONFIG_FILE = "config.json"
PARAMS_FOLDER = "params"
ROOT_VARIABLE = "EMPATHEIA_WEIGHTS"
SHIPPED = Path(__file__).parents[1] / "dreamtalk" / "assets"  # small weights that are part of the package


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
    path = Path(folder) / CONFIG_FILE
    try:
        description = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is no weights folder: {path.name} cannot be read ({error})") from error
    if description.get("format") != FORMAT or "params" not in description:
        raise UserError(
            f"{path} has the format {description.get('format')!r}, and this version reads {FORMAT}; it may be a "
            "released checkpoint, which `python -m converters.convert` turns into a weights folder"
        )
    return description
