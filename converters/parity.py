"""Compares every network with the vectors of its reference implementation.

    python -m converters.parity [--seed=N] [--float64] DIR…

Walks the folders below each DIR and runs every vector set that a network of `converters.parity_sets` claims. Prints one
line an array: file, array, largest absolute difference, the same relative to the largest expected value, bound,
verdict. Exits with 1 if an array lies outside its bound, with 2 where there is nothing to compare.

A network joins by a module `converters/parity_sets/NAME.py` with two functions:

    matches(folder: Path) -> bool
    run(folder: Path, seed: int, float64: bool) -> Iterator[Result]

`run` is called with `jax_enable_x64` on when `float64` is true, and with full-precision matrix products.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

import converters.parity_sets
from empatheia_jax.errors import UserError, main_guard

FLOAT32_BOUND = 1e-4
FLOAT64_BOUND = 1e-6


@dataclasses.dataclass(frozen=True)
class Result:
    """One array compared: differences are in the array's own units, `rel` is relative to the largest expected value."""

    file: str
    array: str
    max_abs: float
    rel: float
    bound: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.max_abs <= self.bound  # False for NaN


def bound_of(float64: bool, float32_bound: float = FLOAT32_BOUND) -> float:
    """Bound of the run: `FLOAT64_BOUND` in float64, else the one given."""
    return FLOAT64_BOUND if float64 else float32_bound


def compare(file: str, array: str, ours: Any, expected: Any, bound: float) -> Result:
    """Compares in float64. A shape that differs, or a value that is not finite on one side only, is an infinite
    difference.
    """
    ours, expected = np.asarray(ours), np.asarray(expected)
    if ours.shape != expected.shape:
        return Result(file, array, np.inf, np.inf, bound, f"shape {ours.shape}, expected {expected.shape}")
    if expected.size == 0:
        return Result(file, array, 0.0, 0.0, bound)
    ours, expected = ours.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(ours == expected, 0.0, np.abs(ours - expected))
    largest = float(np.max(np.where(np.isfinite(difference), difference, np.inf)))
    scale = float(np.max(np.abs(expected)))
    return Result(file, array, largest, largest / scale if scale else largest, bound)


@dataclasses.dataclass(frozen=True)
class VectorSet:
    """`NAME.npz` with its `NAME.config.json` and `NAME.manifest.json`; `arrays` are read when asked for."""

    folder: Path
    name: str
    config: dict[str, Any]
    manifest: dict[str, dict[str, Any]]
    arrays: Any

    @property
    def file(self) -> str:
        return f"{self.name}.npz"


def vector_sets(folder: Path, *model_types: str) -> Iterator[VectorSet]:
    """The vector sets of `folder` whose `NAME.config.json` has one of the `model_types`, by name."""
    for path in sorted(folder.glob("*.config.json")):
        name = path.name.removesuffix(".config.json")
        manifest, arrays = folder / f"{name}.manifest.json", folder / f"{name}.npz"
        if not (manifest.is_file() and arrays.is_file()):
            continue
        config = json.loads(path.read_text())
        if config.get("model_type") in model_types:
            yield VectorSet(folder, name, config, json.loads(manifest.read_text()), np.load(arrays))


def parity_sets() -> list[ModuleType]:
    """Every module of `converters.parity_sets`, by name."""
    names = sorted(m.name for m in pkgutil.iter_modules(converters.parity_sets.__path__))
    return [importlib.import_module(f"converters.parity_sets.{name}") for name in names]


def folders_below(root: Path) -> list[Path]:
    """`root` and every folder below it, sorted."""
    return [root, *sorted(p for p in root.rglob("*") if p.is_dir() and not p.name.startswith("."))]


def _run(network: ModuleType, folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    """The results of one network; vectors that it cannot take are one failed result, and the others still run."""
    try:
        yield from network.run(folder, seed, float64)
    except UserError as error:
        name = network.__name__.rsplit(".", 1)[-1]
        yield Result(folder.name, f"{name}: refused", np.inf, np.inf, 0.0, str(error))


def run_all(roots: Sequence[Path], seed: int, float64: bool) -> Iterator[Result]:
    """Every result of every network over every folder; raises UserError where nothing was found."""
    found = False
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root} is no folder")
    sets = parity_sets()
    for root in roots:
        for folder in folders_below(root):
            for network in sets:
                if network.matches(folder):
                    found = True
                    with jax.enable_x64(float64), jax.default_matmul_precision("highest"):
                        yield from _run(network, folder, seed, float64)
    if not found:
        raise UserError(f"no vector set found below {', '.join(map(str, roots))}")


@main_guard
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "converters.parity", description="Compare every network with its reference vectors."
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the vectors' weights (default 0)")
    parser.add_argument("--float64", action="store_true", help="compute in float64 (bound 1e-6)")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    start, total, failed = time.monotonic(), 0, []
    seen: set[str] = set()
    print(f"{'file':34} {'array':40} {'max abs':>10} {'relative':>10} {'bound':>9}  verdict")
    for result in run_all(options.folders, options.seed, options.float64):
        total += 1
        seen.add(result.file)
        verdict = "ok" if result.passed else "FAILED"
        print(
            f"{result.file:34} {result.array:40} {result.max_abs:10.2e} {result.rel:10.2e} {result.bound:9.0e}  "
            f"{verdict}" + (f"  ({result.note})" if result.note else ""),
            flush=True,
        )
        if not result.passed:
            failed.append(result)
    unclaimed = sorted(f.name for root in options.folders for f in root.rglob("*.npz") if f.name not in seen)
    if unclaimed:
        print(f"not compared, no network claims them: {', '.join(unclaimed)}")
    print(
        f"{total - len(failed)} of {total} arrays within their bounds, {'float64' if options.float64 else 'float32'}, "
        f"seed {options.seed}, {time.monotonic() - start:.0f} s on {jax.devices()[0].device_kind}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
