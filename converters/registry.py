"""Every source format that can be converted, by name.

A module of `converters.tables` joins by a module-level list `CONVERSIONS` of `Conversion`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

import converters.tables
from converters.conversion import Conversion
from converters.formats.source import Source
from converters.release import layout
from converters.sources import open_source
from empatheia_jax.errors import UserError


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
    layout.require_complete(path)
    for conversion in conversions().values():
        if conversion.folder_files and all((path / name).is_file() for name in conversion.folder_files):
            return conversion, conversion.open(path)
    found = []
    source = open_source(path)
    for conversion in conversions().values():
        if conversion.recognizes(path, source):
            found.append(conversion)
    if len(found) != 1:
        names = ", ".join(c.name for c in found) or "nothing"
        raise UserError(
            f"{path} looks like {names}; say what it is with --source=NAME, one of {', '.join(conversions())}"
        )
    return found[0], found[0].open(path)
