"""Runs every network over every folder of vectors.

A network joins by a module of `converters.parity.networks` with two functions:

    matches(folder: Path) -> bool
    run(folder: Path, seed: int, float64: bool) -> Iterator[Result]

`run` is called with `jax_enable_x64` on when `float64` is true, and with full-precision matrix products.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import jax
import numpy as np

import converters.parity.networks
from converters.parity.result import Result
from converters.parity.vectors import guarded, read_settings, unreadable
from empatheia_jax.errors import UserError


def networks() -> list[ModuleType]:
    """Every module of `converters.parity.networks`, by name."""
    names = sorted(m.name for m in pkgutil.iter_modules(converters.parity.networks.__path__))
    return [importlib.import_module(f"converters.parity.networks.{name}") for name in names]


def folders_below(root: Path) -> list[Path]:
    """`root` and every folder below it, sorted."""
    return [root, *sorted(p for p in root.rglob("*") if p.is_dir() and not p.name.startswith("."))]


def _run(network: ModuleType, folder: Path, seed: int | None, float64: bool) -> Iterator[Result]:
    """The results of one network; vectors that it cannot take are one failed result, and the others still run."""
    try:
        own = read_settings(folder).get("seed", 0)
    except UserError as error:
        yield Result(folder.name, "refused", np.inf, np.inf, 0.0, str(error))
        return
    yield from guarded(f"{folder.name}/", network.run(folder, own if seed is None else seed, float64))


def run_network(name: str, root: Path) -> Iterator[Result]:
    """The results of one network, by its module's name, over every folder below `root`, in float32."""
    network = importlib.import_module(f"converters.parity.networks.{name}")
    for folder in folders_below(root):
        if network.matches(folder):
            with jax.default_matmul_precision("highest"):
                yield from _run(network, folder, None, False)


def run_all(roots: Sequence[Path], seed: int | None, float64: bool) -> Iterator[Result]:
    """Every result of every network over every folder; raises UserError where nothing was found.

    seed: of the stand-in weights; None takes what each folder's `set.json` says, else 0.
    """
    found = False
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root} is no folder")
    sets = networks()
    for root in roots:
        for folder in folders_below(root):
            for each in unreadable(folder):
                found = True
                yield each
            for network in sets:
                if network.matches(folder):
                    found = True
                    with jax.enable_x64(float64), jax.default_matmul_precision("highest"):
                        yield from _run(network, folder, seed, float64)
    if not found:
        raise UserError(f"no vector set found below {', '.join(map(str, roots))}")
