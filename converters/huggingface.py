"""Files that a Hugging Face release has beside its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.formats.source import Source
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object

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
    return read_json_object(folder / "config.json", "the config.json that describes the model")


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


def network_errors() -> tuple[type[BaseException], ...]:
    """What the hub's client raises. Its HTTP library has changed from release to release; its own error derives from that
    library's.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, *HfHubHTTPError.__bases__)
