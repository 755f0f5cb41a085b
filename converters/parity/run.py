"""Runs every network over every folder of vectors.

A network joins by a module of `converters.parity.networks` with two functions:

    matches(folder: Path) -> bool
    run(folder: Path, seed: int, float64: bool) -> Iterator[Result]

`run` is called with `jax_enable_x64` on when `float64` is true, and with full-precision matrix products.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import jax
import numpy as np

import converters.parity.networks
from converters.parity.result import Result, left_out
from converters.parity.vectors import Arrays, guarded, read_settings, unreadable
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


def _not_asked_for(opened: Sequence[Arrays], refused: Collection[str]) -> Iterator[Result]:
    """The arrays of the opened files that no network asked for; files that were refused are left out."""
    asked: dict[Path, set[str]] = {}
    for arrays in opened:
        asked.setdefault(arrays.path, set()).update(arrays.asked)
    for arrays in {each.path: each for each in opened}.values():
        if arrays.path.name not in refused:
            for name in sorted(set(arrays) - asked[arrays.path]):
                yield left_out(arrays.path.name, name, "no comparison asks for it")


def _run_folder(sets: Sequence[ModuleType], folder: Path, seed: int | None, float64: bool) -> Iterator[Result]:
    """The results of all networks that claim a folder, and the arrays there that none of them asked for."""
    refused: set[str] = set()
    yield from unreadable(folder)
    with Arrays.noted() as opened:
        for network in sets:
            if network.matches(folder):
                with jax.enable_x64(float64), jax.default_matmul_precision("highest"):
                    for result in _run(network, folder, seed, float64):
                        refused |= {result.file} if result.array == "refused" else set()
                        yield result
    if f"{folder.name}/" not in refused:
        yield from _not_asked_for(opened, refused)


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
            for each in _run_folder(sets, folder, seed, float64):
                found = True
                yield each
    if not found:
        raise UserError(f"no vector set found below {', '.join(map(str, roots))}")
