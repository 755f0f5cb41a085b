"""What `converters.tables` says about one released format."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from converters.formats.source import Source
from converters.sources import open_source
from converters.table import Table
from empatheia_jax import weights
from empatheia_jax.errors import UserError


def _no_files(path: Path, source: Source) -> dict[str, str | Path | bytes]:
    return {}


def packaged(package: str, ending: str, install: str) -> Path:
    """The file of weights inside an installed package, whose code is not imported: for `Conversion.default_input`.

    Args:
      package: as pip calls it.
      ending: of the file's name.
      install: the command that installs the package.

    Raises: UserError where the package is not installed, or has not one such file.
    """
    try:
        files = importlib.metadata.files(package) or ()
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"the package {package} is not installed; {install}") from None
    found = [file for file in files if file.name.endswith(ending)]
    if len(found) != 1:
        raise UserError(f"the package {package} has {len(found)} files of weights; expected one: reinstall it")
    return Path(str(found[0].locate()))


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
      folder_files: files of which a folder holds all, where it is of this format and each of them is a checkpoint by itself;
        () for formats that are one checkpoint. Used like `recognizes`, before anything is opened.
      open: input path → source; renames and unwraps here what is needed.
      files: (input path, source) → {name in the weights folder: path to copy, or bytes}.
      tensor_file: name of the tensors' file in an export.
      place: key → (the file that it has in an export, its place in the nested dictionaries of a torch file); None: all
        tensors are in `tensor_file`.
      keys: (our config, keys by the table) → the keys of a release, in their order, where a weights folder does not know them
        from its source; a release may hold a tensor twice, or leave a prefix out. None: those by the table.
      export_table: our config → table of an export, where it differs from `table`.
      export_files: our config → {name: content} of further files of an export.
      code: {name: content} of files that every export has and no weights folder keeps.
      release: (our config) → (name of the conversion whose form a release of these weights has, its `config.json`), for
        formats that no library loads as a folder (GGUF); None: the release has the form that was read.
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
    folder_files: tuple[str, ...] = ()
    open: Callable[[Path], Source] = open_source
    files: Callable[[Path, Source], Mapping[str, str | Path | bytes]] = _no_files
    tensor_file: str = "model.safetensors"
    place: Callable[[str], tuple[str, tuple[str, ...]]] | None = None
    keys: Callable[[Any, Iterable[str]], list[str]] | None = None
    export_table: Callable[[Any], Table] | None = None
    export_files: Callable[[Any], Mapping[str, bytes]] | None = None
    code: Callable[[], Mapping[str, bytes]] = dict
    config_class: type | None = None
    release: Callable[[Any], tuple[str, dict[str, Any]]] | None = None
    default_input: Callable[[], Path] | None = None

    def describe(self, path: Path, source: Source) -> tuple[Any, Table, dict[str, jax.ShapeDtypeStruct]]:
        """(our config, table, abstract parameters) of an input.

        Raises: UserError where its config does not describe a network that can be built.
        """
        try:
            config = self.config(path, source)
            if dataclasses.is_dataclass(config):
                weights.check_values(config)
            return config, self.table(config), self.abstract(config)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            raise UserError(f"{path}: its config does not describe a {self.kind} network ({error!r:.200})") from error

    def abstract(self, config: Any) -> dict[str, jax.ShapeDtypeStruct]:
        """{our path: shape and type} of the full model, without allocating it."""
        constructor = self.construct(config)
        return weights.flatten(weights.abstract(lambda: constructor(config, rngs=nnx.Rngs(0))))
