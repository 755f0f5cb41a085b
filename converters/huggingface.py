"""Files that a Hugging Face release has beside its tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from converters.formats.source import Source
from empatheia_jax.errors import UserError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "spiece.model",
    "vocab.json",
    "merges.txt",
    "preprocessor_config.json",
)


def hf_config(path: Path) -> dict[str, Any]:
    """`config.json` of the folder `path`, or beside the file `path`.

    Raises: UserError where there is none.
    """
    folder = path if path.is_dir() else path.parent
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}/config.json, which describes the model, cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{folder}/config.json holds no object")
    return config


def hf_model_type(path: Path) -> str | None:
    """`model_type` of the `config.json` that belongs to `path`, None where there is none."""
    try:
        return hf_config(path).get("model_type")
    except UserError:
        return None


def hf_files(path: Path, source: Source, names: tuple[str, ...] = TOKENIZER_FILES) -> dict[str, Path]:
    """Tokenizer and preprocessing files beside a checkpoint, and its `config.json` as `source_config.json`."""
    folder = path if path.is_dir() else path.parent
    files = {name: folder / name for name in names if (folder / name).is_file()}
    if (folder / "config.json").is_file():
        files["source_config.json"] = folder / "config.json"
    return files
