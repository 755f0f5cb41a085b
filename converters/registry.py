"""Every source format that can be converted, by name.

A module of `converters.tables` joins by a module-level list `CONVERSIONS` of `Conversion`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
from flax import nnx

import converters.tables
from converters.sources import Source, open_source
from converters.table import Table
from empatheia_jax import weights
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


def _no_files(path: Path, source: Source) -> dict[str, str | Path | bytes]:
    return {}


@dataclasses.dataclass(frozen=True)
class Conversion:
    """How one released format becomes a weights folder, and how to get it back.

    Attributes:
      name: what `--source=` calls it.
      kind: kind of the weights folder that it makes.
      about: one line for the listing.
      config: (input path, source) → our config; raises UserError for what we do not implement.
      construct: our config → constructor `(config, *, rngs, dtype, param_dtype)`, the only truth about shapes.
      table: our config → table.
      recognizes: (input path, source) → whether the input is of this format; used where no name is given.
      open: input path → source; renames and unwraps here what is needed.
      files: (input path, source) → {name in the weights folder: path to copy, or bytes}.
      tensor_file: name of the tensors' file in an export.
      config_class: the config's dataclass, which reads it back from a weights folder; None for plain dictionaries.
      default_input: finds the input where `--input` is left out (weights inside an installed package); raises UserError
        with the command that installs it.
    """

    name: str
    kind: str
    about: str
    config: Callable[[Path, Source], Any]
    construct: Callable[[Any], Callable[..., nnx.Module]]
    table: Callable[[Any], Table]
    recognizes: Callable[[Path, Source], bool]
    open: Callable[[Path], Source] = open_source
    files: Callable[[Path, Source], Mapping[str, str | Path | bytes]] = _no_files
    tensor_file: str = "model.safetensors"
    config_class: type | None = None
    default_input: Callable[[], Path] | None = None

    def abstract(self, config: Any) -> dict[str, jax.ShapeDtypeStruct]:
        """{our path: shape and type} of the full model, without allocating it."""
        constructor = self.construct(config)
        return weights.flatten(nnx.eval_shape(lambda: constructor(config, rngs=nnx.Rngs(0))))


@cache
def conversions() -> dict[str, Conversion]:
    """All conversions by name."""
    result: dict[str, Conversion] = {}
    for module in sorted(pkgutil.iter_modules(converters.tables.__path__), key=lambda m: m.name):
        for conversion in getattr(importlib.import_module(f"converters.tables.{module.name}"), "CONVERSIONS", ()):
            if conversion.name in result:
                raise ValueError(f"two conversions are called {conversion.name!r}")
            result[conversion.name] = conversion
    return result


def find_conversion(name: str) -> Conversion:
    """The conversion of that name; raises UserError with the list of names."""
    known = conversions()
    if name not in known:
        listing = "\n".join(f"  {c.name}: {c.about}" for c in known.values())
        raise UserError(f"unknown source {name!r}; known are\n{listing}")
    return known[name]


def recognize(path: Path) -> tuple[Conversion, Source]:
    """Finds out what the input is.

    Raises: UserError where no conversion, or more than one, recognizes it.
    """
    found = []
    source = open_source(path)
    for conversion in conversions().values():
        if conversion.recognizes(path, source):
            found.append(conversion)
    if len(found) != 1:
        names = ", ".join(c.name for c in found) or "nothing"
        raise UserError(f"{path} looks like {names}; say what it is with --source={'|'.join(conversions())}")
    return found[0], found[0].open(path)


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
