"""Reads the marks of origin of a file: `python -m empatheia_jax.dialogue.verify FILE`.

Exit status: 0 what it says of itself is intact, or it says nothing; 1 it was changed after it was signed; 2 it cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.audio import read_audio
from empatheia_jax.provenance import manifest
from empatheia_jax.provenance.marks import NO_WEIGHTS
from empatheia_jax.provenance.watermark import THRESHOLD, WEIGHTS, Watermark
from empatheia_jax.terminal import visible

RATE = 24_000
SURVIVAL = """what survives what:            watermark   signed statement
  a copy of the file            yes         yes
  another encoding (AAC …)      yes         no: it is dropped
  another rate or volume        yes         no: it is dropped
  noise that one can hear       not surely  no: it is dropped
  5 % faster or slower          not surely  no: it is dropped
  one changed byte              yes         no: the change is found
Of a sound shorter than 4 s the watermark says little: it may be missed, or found where there is none."""


def watermark_line(path: Path) -> str:
    """What is heard of a watermark in the sound of a file."""
    try:
        watermark = Watermark.load(WEIGHTS)
    except UserError:
        return f"watermark: not looked for; {NO_WEIGHTS}"
    score = watermark.score(read_audio(path, RATE), RATE)
    return f"watermark: {'found' if score > THRESHOLD else 'not found'} (score {score:.2f}; found above {THRESHOLD})"


def statement_lines(found: manifest.Statement) -> list[str]:
    """What a file says of itself, and whether that can be believed."""
    if found.state == "absent":
        return ["signed statement: none"]
    if found.state == "changed":
        return [
            f"signed statement: THE FILE WAS CHANGED after it was signed ({', '.join(found.problems) or 'no match'})"
        ]
    lines = ["signed statement: intact; every byte is as it was signed"]
    trust = "trusted" if found.trusted else "untrusted: no known authority vouches for this name"
    lines.append(f"  signed by: {visible(str(found.signer))} ({trust})")
    lines.append(f"  says that a trained model made it: {'yes' if found.generated else 'no'}")
    lines += [f"  {visible(str(key))}: {visible(str(value))}" for key, value in found.facts.items()]
    return lines


@main_guard
def main(argv: list[str]) -> int:
    """Prints what the marks of a file say."""
    parser = argparse.ArgumentParser(
        prog="python -m empatheia_jax.dialogue.verify", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("file", type=Path, help="an mp4 or a wav")
    path = parser.parse_args(argv).file
    if not manifest.available():
        raise UserError(
            "the package that reads signed statements is not installed; run: pip install 'empatheia-jax[marks]'"
        )
    found = manifest.read(path)
    print("\n".join(statement_lines(found)))
    if found.state != "changed":
        print(watermark_line(path))
    print(f"\n{SURVIVAL}")
    return int(found.state == "changed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
