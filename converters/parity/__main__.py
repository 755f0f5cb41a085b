"""Compares every network with the vectors of its reference implementation.

    python -m converters.parity [--seed=N] [--float64] DIR…

Walks the folders below each DIR and runs every vector set that a network of `converters.parity.networks` claims. Prints
one line an array: file, array, largest absolute difference, the same relative to the largest expected value, bound,
verdict. A set that cannot be compared is one line, and the next one runs; arrays of a set that nothing is compared with
are named; what a folder's `set.json` may say is in
`converters.parity.vectors`. Exits with 1 if an array lies outside its bound, with 2 where there is nothing to compare.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax

from converters.parity.run import run_all
from empatheia_jax.errors import main_guard


@main_guard
def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        "converters.parity", description="Compare every network with its reference vectors."
    )
    parser.add_argument("--seed", type=int, help="seed of the vectors' weights (default: what a set.json says, else 0)")
    parser.add_argument("--float64", action="store_true", help="compute in float64 (bound 1e-6)")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    start, total, failed = time.monotonic(), 0, []
    seen: set[str] = set()
    print(f"{'file':34} {'array':40} {'max abs':>10} {'relative':>10} {'bound':>9}  verdict")
    for result in run_all(options.folders, options.seed, options.float64):
        seen.add(result.file)
        if result.left_out:
            print(f"{result.file:34} {result.array:40} left out: {result.note}", flush=True)
            continue
        total += 1
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
    seed = "of each set" if options.seed is None else options.seed
    print(
        f"{total - len(failed)} of {total} arrays within their bounds, {'float64' if options.float64 else 'float32'}, "
        f"seed {seed}, {time.monotonic() - start:.0f} s on {jax.devices()[0].device_kind}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
