"""Measures this package on the accelerator at hand, beside PyTorch, and checks its numbers there first.

    python -m benchmarks.accelerator [--tiny] [--rows=ROW,…] [--output=runs/accelerator] [--minutes=8] [--sides=ours,pytorch]
                                     [--parity=FOLDER] [--profiles]

Nothing is downloaded and nothing has to be installed beside JAX, Flax, Optax and, for the comparison, PyTorch with transformers
and peft: weights are drawn on the device from a seed. Checks run first, side by side; what is timed runs alone, in order of
worth. Each row has a time limit of its own, and `OUTPUT/results.json` and `OUTPUT/results.md` are written after each, so that a
run that is cut off still counts. A row that fails or takes too long is one line, and the next one runs. `--tiny` runs all of it
with small networks, on a CPU too; rows then have no limit of their own. `--profiles` writes beside each row where its time went,
by the device's own clock.

Beside every row stands the roof: the time that its arithmetic would take at the rate of a large bfloat16 product, or its bytes at
the rate of reading memory, whichever is longer, both measured in the same run. Exits with 1 where a check fails.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.accelerator.rows import PARITY, ROWS
from benchmarks.accelerator.run import run

SHARED = Path(__file__).resolve().parents[3] / "shared" / "parity"


def main() -> int:
    parser = argparse.ArgumentParser(
        "benchmarks.accelerator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="small networks: shows that everything runs")
    parser.add_argument(
        "--rows",
        default="",
        help=f"which of {', '.join(row.name for row in ROWS)}; parity: all of its rows; all unless given",
    )
    parser.add_argument("--output", type=Path, default=Path("runs/accelerator"))
    parser.add_argument("--minutes", type=float, default=8.0, help="of the whole run; rows beyond it are left out")
    parser.add_argument("--sides", default="ours,pytorch")
    parser.add_argument("--parity", type=Path, default=SHARED, help="vector sets of the networks' references")
    parser.add_argument(
        "--profiles", action="store_true", help="write OUTPUT/profiles/ROW.txt: the kernels of one call"
    )
    options = parser.parse_args()
    names = [name for name in options.rows.split(",") if name]
    if "parity" in names:
        names = [*(f"parity_{network}" for network in PARITY), *(name for name in names if name != "parity")]
    if unknown := sorted(set(names) - {row.name for row in ROWS}):
        parser.error(f"--rows has {', '.join(unknown)}; there are {', '.join(row.name for row in ROWS)}")
    sides = options.sides.split(",")
    if unknown := sorted(set(sides) - {"ours", "pytorch"}):
        parser.error(f"--sides has {', '.join(unknown)}; there are ours and pytorch")
    rows = [row for row in ROWS if not names or row.name in names or row.name == "card"]
    return run(
        rows, options.output, options.tiny, options.minutes * 60, sides, options.parity, profiles=options.profiles
    )


if __name__ == "__main__":
    sys.exit(main())
