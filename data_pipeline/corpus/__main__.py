"""`python -m data_pipeline.corpus --output=DIR`: our corpus as train.json, valid.json and test.json of the released layout.

Without `--output` it only checks the text and says what is in it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_pipeline import corpus
from data_pipeline.corpus import rules
from empatheia_jax.conversation import schema
from empatheia_jax.errors import UserError, main_guard


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.corpus", description=__doc__)
    options.add_argument("--output", type=Path, help="folder to write the three files to")
    return options


@main_guard
def main(argv: list[str]) -> int:
    """Checks the corpus, writes it, and prints its counts."""
    options = parser().parse_args(argv)
    splits = corpus.everything()
    breaches = rules.breaches(splits)
    if breaches:
        raise UserError(f"the text breaks {len(breaches)} rules of data_pipeline/corpus/rules.py, first: {breaches[0]}")
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        for split, conversations in splits.items():
            schema.write(options.output / f"{split}.json", conversations)
            print(options.output / f"{split}.json")
    print(rules.summary(splits))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
