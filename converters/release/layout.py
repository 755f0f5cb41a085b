"""The files of a release, its format version, and what is checked before any of it is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.huggingface import hf_config
from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular
from empatheia_jax.weights import sums

KIND = "empatheia"
FORMAT = 1
READ_FORMATS = (1,)
FORMAT_KEY = "release_format"
OURS = "empatheia_jax"
"""Key of a release's `config.json` that holds our own config."""
ADAPTER_PREFIX = "adapter/"
ADAPTER_CONFIG, ADAPTER_FILE = "adapter/adapter_config.json", "adapter/adapter_model.safetensors"
MODEL_FILE = "model.safetensors"
FORM_FILE = "form.safetensors"
TRAINING_FILE, STAGES_FILE = "training_config.json", "stages.json"
RECORDS = (ADAPTER_CONFIG, FORM_FILE, TRAINING_FILE, STAGES_FILE)
"""Files of a release that a weights folder keeps, beside those of the tokenizer."""
PROGRESS_FILE = "progress.json"
"""Beside the folder of an export that is not complete; names what it belongs to and what is done."""
PACKAGE = Path(__file__).parent / "package"
CODE = tuple(f"{name}_empatheia.py" for name in ("configuration", "bridge", "modeling", "processing", "generators"))


def code() -> dict[str, bytes]:
    """The PyTorch code of a release by file name."""
    return {name: (PACKAGE / name).read_bytes() for name in CODE}


def require_complete(folder: Path) -> None:
    """Raises UserError for the folder of an export that was interrupted."""
    if (folder.resolve().parent / PROGRESS_FILE).exists():
        raise UserError(
            f"{folder} is an export that did not end; run the same export again, which goes on where it stopped"
        )


def require_file(folder: Path, name: str) -> Path:
    """The path of a file of a release. Raises UserError where it is not there, or differs from its checksum."""
    require_regular(folder / name, f"a file of the release {folder}; copy the release again")
    if name != sums.SUMS_FILE:
        sums.check_file(folder, name)
    return folder / name


def told_format(folder: Path) -> str:
    """The format of a release, for people to read. Raises UserError as `read_config`."""
    return f"release format: {read_config(folder)[FORMAT_KEY]} (this version reads {', '.join(map(str, READ_FORMATS))})"


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a release.

    Raises: UserError where it is of a newer format or no release of ours.
    """
    found = hf_config(folder)
    if found.get("model_type") != KIND or not isinstance(found.get(OURS), dict):
        raise UserError(f"{folder}/config.json is of no release of ours: model_type={found.get('model_type')!r}")
    if found.get(FORMAT_KEY) not in READ_FORMATS:
        known = ", ".join(map(str, READ_FORMATS))
        raise UserError(
            f"{folder} has the release format {found.get(FORMAT_KEY)!r}, and this version reads {known}; update empatheia-jax"
        )
    return found
