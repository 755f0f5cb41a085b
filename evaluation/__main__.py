"""Every number and picture of the paper from folders of replies.

    python -m evaluation truth --data=data/toy --output=replies/truth
    python -m evaluation tables --data=data/toy --output=results replies/truth replies/starter pipeline=replies/pipeline

`python -m evaluation COMMAND --help` says what a command takes; docs/evaluation.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from empatheia_jax.errors import UserError, leave, main_guard


def folder(text: str) -> tuple[str | None, Path]:
    """`ROW=FOLDER` or `FOLDER`."""
    row, equals, path = text.partition("=")
    return (row, Path(path)) if equals and row else (None, Path(text))


def _names(text: str) -> list[str]:
    return [each for each in text.split(",") if each]


def _data(options: argparse.ArgumentParser) -> None:
    options.add_argument("--data", type=Path, required=True, help="the data set, in the released layout")
    options.add_argument("--split", default="test", help="whose turns are answered (test)")
    options.add_argument("--last-turns", action="store_true", help="only the last turn of each dialogue")


def truth(argv: Sequence[str]) -> int:
    """The recordings of a split as a folder of replies: the row Ground-Truth."""
    options = argparse.ArgumentParser(prog="python -m evaluation truth", description=truth.__doc__)
    _data(options)
    options.add_argument("--output", type=Path, required=True)
    given = options.parse_args(argv)
    from evaluation import ground_truth

    count = ground_truth.write(given.data, given.split, given.output, last_turn_only=given.last_turns)
    print(f"{count} replies in {given.output}")
    return 0


def tables(argv: Sequence[str]) -> int:
    """Tables 2 to 5 and Figures 2, 6, 7 and 8 from folders of replies, as text, CSV, LaTeX and one page."""
    options = argparse.ArgumentParser(prog="python -m evaluation tables", description=tables.__doc__)
    _data(options)
    options.add_argument("--output", type=Path, required=True, help="folder of the results")
    options.add_argument("--cache", type=Path, help="where measured values are kept (OUTPUT/cache)")
    options.add_argument("--rows", type=_names, help="rows to show, with commas between them; all by default")
    options.add_argument(
        "--common", action="store_true", help="take the turns that all systems answered whole, and say which not"
    )
    options.add_argument("--ratings", type=Path, help="ratings collected by `python -m evaluation collect`")
    options.add_argument(
        "--judges", type=_names, help="of dnsmos, whisper, 'voice print', syncnet, face; all that are there by default"
    )
    options.add_argument("--face-judge", type=Path, help="folder of a trained judge of drawn faces")
    options.add_argument("--cases", type=_names, default=[], help="turns of Figure 8")
    options.add_argument("folders", nargs="+", type=folder, metavar="[ROW=]FOLDER")
    given = options.parse_args(argv)
    from data_pipeline.layout import Tree
    from empatheia_jax.parallel.distributed import among_hosts
    from empatheia_jax.requirements import writable
    from evaluation import report, run
    from evaluation.measures import Judges

    def work() -> int:
        import jax

        tree = Tree(given.data)
        training = tree.split_file("train") if "train" in tree.splits() else None
        evaluation = run.evaluate(
            given.folders,
            tree.split_file(given.split),
            given.cache or given.output / "cache",
            common=given.common,
            last_turn_only=given.last_turns,
            judges=Judges(given.face_judge, given.judges),
            ratings=given.ratings,
            training=training,
            rows=given.rows,
        )
        if jax.process_index() == 0:
            print(report.write(evaluation, writable(given.output, "--output"), given.data, given.cases))
            print(f"\n{given.output}/report.html, tables.txt, tables.csv, tables.tex, values.json")
        return 0

    return among_hosts(work, trains=False)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"truth": truth, "tables": tables}


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    listed = "\n".join(f"    {name:12} {(each.__doc__ or '').splitlines()[0]}" for name, each in COMMANDS.items())
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{(__doc__ or '').strip()}\n\n{listed}")
        return 0
    if argv[0] not in COMMANDS:
        raise UserError(f"{argv[0]!r} is no command; expected one of {', '.join(COMMANDS)}")
    return COMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
