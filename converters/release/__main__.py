"""What can be done with a release: a run that continues training, or an upload.

    python -m converters.release run --input=RELEASE --workdir=runs/NAME
    python -m converters.release push --input=RELEASE --repository=OWNER/NAME [--public] [--dry-run]
    python -m converters.release generator --input=WEIGHTS_FOLDER --output=FOLDER

A release itself is made by `python launch.py --mode=export`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from converters.release import generators, hub, import_run
from empatheia_jax.errors import UserError, main_guard


@main_guard
def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command says; returns the exit status."""
    parser = argparse.ArgumentParser("converters.release", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("run", help="a release, or the weights folder of one, as a run")
    made.add_argument("--input", type=Path, required=True, help="release, or weights folder of kind empatheia")
    made.add_argument("--workdir", type=Path, required=True, help="the run's folder to make")
    sent = commands.add_parser("push", help="upload to the Hugging Face hub")
    sent.add_argument("--input", type=Path, required=True, help="the release")
    sent.add_argument("--repository", required=True, help="OWNER/NAME")
    sent.add_argument("--public", action="store_true", help="make it public (default: private)")
    sent.add_argument("--dry-run", action="store_true", help="say what would be uploaded, send nothing")
    spoken = commands.add_parser("generator", help="StyleTTS2 or DreamTalk weights in their originals' files")
    spoken.add_argument("--input", type=Path, required=True, help="weights folder")
    spoken.add_argument("--output", type=Path, required=True, help="the folder to make")
    options = parser.parse_args(arguments)
    if options.command == "run":
        run = import_run.run(options.input, options.workdir)
        print(f"run: {run.folder} with the stages {', '.join(run.trained_stages())}")
    elif options.command == "generator":
        if options.output.exists():
            raise UserError(f"{options.output} exists already; remove it or choose another folder")
        folder = generators.write(options.input, options.output)
        print(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    else:
        found = hub.push(options.input, options.repository, private=not options.public, dry_run=options.dry_run)
        done = "would upload" if options.dry_run else "uploaded"
        print(f"{done} {len(found)} files, {sum(found.values()) / 1e9:.3f} GB, to {options.repository}")
        for name, size in found.items():
            print(f"  {name}  {size:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
