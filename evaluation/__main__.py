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
    from empatheia_jax.parallel.distributed import on_first_host
    from evaluation import ground_truth

    def work() -> int:
        count = ground_truth.write(given.data, given.split, given.output, last_turn_only=given.last_turns)
        print(f"{count} replies in {given.output}")
        return 0

    return on_first_host(work)


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
        "--training",
        type=Path,
        action="append",
        help="dialogues that the systems learned from, for copied words; DATA/train.json by default; may be given again",
    )
    options.add_argument(
        "--judges",
        type=_names,
        help="of lips, dnsmos, distillmos, whisper, 'voice print', syncnet, face, landmarks, person; by default all there are",
    )
    options.add_argument(
        "--recordings", type=Path, help="data set whose training split shows how lips move with speech; DATA by default"
    )
    options.add_argument("--face-judge", type=Path, help="folder of a trained judge of drawn faces")
    options.add_argument("--cases", type=_names, default=[], help="turns of Figure 8")
    options.add_argument("folders", nargs="+", type=folder, metavar="[ROW=]FOLDER")
    given = options.parse_args(argv)
    from data_pipeline.layout import Tree
    from empatheia_jax.parallel.distributed import among_hosts
    from empatheia_jax.requirements import writable
    from evaluation import report, run
    from evaluation.judges import Judges

    def work() -> int:
        import jax

        tree = Tree(given.data)
        own = [tree.split_file("train")] if "train" in tree.splits() else []
        cache = given.cache or given.output / "cache"
        recordings = given.recordings or (None if given.split == "train" else given.data)  # never from what is scored
        evaluation = run.evaluate(
            given.folders,
            tree.split_file(given.split),
            cache,
            common=given.common,
            last_turn_only=given.last_turns,
            judges=Judges(given.face_judge, given.judges, recordings, cache),
            ratings=given.ratings,
            training=given.training or own,
            rows=given.rows,
        )
        if jax.process_index() == 0:
            print(report.write(evaluation, writable(given.output, "--output"), given.data, given.cases))
            print(f"\n{given.output}/report.html, tables.txt, tables.md, tables.csv, tables.tex, values.json")
        return 0

    return among_hosts(work, trains=False)


def study(argv: Sequence[str]) -> int:
    """Rating pages for people: static files, blind, balanced, with attention checks; no server."""
    options = argparse.ArgumentParser(prog="python -m evaluation study", description=study.__doc__)
    _data(options)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument(
        "--scales", type=_names, required=True, help="of MOS SMOS Emp Coh Inf Flu SCA VCA SSA VSA MCC MSC"
    )
    options.add_argument("--raters", type=int, default=3)
    options.add_argument("--items", type=int, help="turns to rate, drawn by --seed; all by default")
    options.add_argument("--per-rater", type=int, help="turns of one rater; all by default")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--title", default="Rating replies")
    options.add_argument("--common", action="store_true", help="take the turns that all systems answered whole")
    options.add_argument("folders", nargs="+", type=folder, metavar="[ROW=]FOLDER")
    given = options.parse_args(argv)
    from data_pipeline.layout import Tree
    from evaluation import questions, systems
    from evaluation.study import pages

    asked = questions.read(Tree(given.data).split_file(given.split))
    found = systems.matched([systems.read(path, row) for row, path in given.folders], asked, common=given.common)
    count = pages.write(
        found,
        given.output,
        scales=given.scales,
        raters=given.raters,
        items=given.items,
        per_rater=given.per_rater,
        seed=given.seed,
        title=given.title,
    )
    print(
        f"{given.output}/index.html?rater=1 … {given.raters}: {count} tasks each; keep {given.output}/key.json to yourself"
    )
    return 0


def collect(argv: Sequence[str]) -> int:
    """What raters sent back (JSON or CSV) into one file of ratings."""
    options = argparse.ArgumentParser(prog="python -m evaluation collect", description=collect.__doc__)
    options.add_argument("--key", type=Path, required=True, help="the key.json of the study")
    options.add_argument("--output", type=Path, required=True, help="file of the ratings")
    options.add_argument(
        "--missed", type=float, default=0.25, help="largest share of attention checks that a rater may miss"
    )
    options.add_argument("answers", nargs="+", type=Path)
    given = options.parse_args(argv)
    from evaluation.study import collect as collecting

    ratings, left_out = collecting.collect(given.key, given.answers, given.missed)
    ratings.write(given.output)
    print(collecting.summary(ratings, left_out))
    return 0


def plan(argv: Sequence[str]) -> int:
    """How many items a study needs for a wished power."""
    options = argparse.ArgumentParser(prog="python -m evaluation plan", description=plan.__doc__)
    options.add_argument(
        "--difference", type=float, required=True, help="smallest difference of means that shall be found"
    )
    options.add_argument("--deviation", type=float, default=0.8, help="standard deviation of the items' differences")
    options.add_argument("--power", type=float, default=0.8)
    options.add_argument("--level", type=float, default=0.05)
    options.add_argument("--comparisons", type=int, default=1, help="systems that one is compared with")
    given = options.parse_args(argv)
    from evaluation.ratings import sample_size

    count = sample_size(given.difference, given.deviation, given.power, given.level, given.comparisons)
    print(
        f"{count} items, each rated for both systems, find a difference of {given.difference:g} with power {given.power:g} "
        f"(deviation {given.deviation:g}, level {given.level:g}, {given.comparisons} comparisons)"
    )
    return 0


def contribution(argv: Sequence[str]) -> int:
    """What text, speech and video contribute: Shapley values over folders of replies, one for each subset of inputs."""
    options = argparse.ArgumentParser(prog="python -m evaluation contribution", description=contribution.__doc__)
    _data(options)
    options.add_argument("--output", type=Path, required=True, help="folder of contribution.txt, .csv and .tex")
    options.add_argument(
        "folders", nargs="+", type=folder, metavar="INPUTS=FOLDER", help="text=…, text+speech=…, none=…"
    )
    given = options.parse_args(argv)
    from data_pipeline.layout import Tree
    from empatheia_jax.files import write_text
    from evaluation import contribution as contributions
    from evaluation import questions, systems
    from evaluation import tables as forms

    if unnamed := [path for row, path in given.folders if row is None]:
        raise UserError(
            f"{unnamed[0]}: of which inputs? expected text={unnamed[0]}, text+speech={unnamed[0]} or the like"
        )
    asked = questions.read(Tree(given.data).split_file(given.split))
    found = systems.matched([systems.read(path, row) for row, path in given.folders], asked)
    made = contributions.table({contributions.subset(each.row): each for each in found.systems}, found.questions)
    for suffix, form in (("txt", forms.as_text), ("csv", forms.as_csv), ("tex", forms.as_latex)):
        write_text(given.output / f"contribution.{suffix}", form(made))
    print(forms.as_text(made))
    return 0


def seeds(argv: Sequence[str]) -> int:
    """Systems that were trained several times: means over seeds with their intervals, beside the majority class."""
    options = argparse.ArgumentParser(prog="python -m evaluation seeds", description=seeds.__doc__)
    _data(options)
    options.add_argument("--output", type=Path, required=True, help="folder of seeds.txt, .md, .csv and .tex")
    options.add_argument("--common", action="store_true", help="take the turns that all systems answered whole")
    options.add_argument("folders", nargs="+", type=folder, metavar="NAME=FOLDER", help="one for each training")
    given = options.parse_args(argv)
    from data_pipeline.layout import Tree
    from empatheia_jax.files import write_text
    from evaluation import questions, systems
    from evaluation import seeds as trainings
    from evaluation import tables as forms

    if unnamed := [path for name, path in given.folders if name is None]:
        raise UserError(f"{unnamed[0]}: whose training is it? expected NAME={unnamed[0]}")
    tree = Tree(given.data)
    read = [systems.read(path, f"{name} {number}") for number, (name, path) in enumerate(given.folders, 1)]
    found = systems.matched(read, questions.read(tree.split_file(given.split)), common=given.common)
    groups: dict[str, list[systems.System]] = {}
    for (name, _), each in zip(given.folders, found.systems, strict=True):
        groups.setdefault(name, []).append(each)
    most = trainings.majority(questions.read(tree.split_file("train")))
    made = trainings.table(groups, found.questions, most)
    written = (("txt", forms.as_text), ("md", forms.as_markdown), ("csv", forms.as_csv), ("tex", forms.as_latex))
    for suffix, form in written:
        write_text(given.output / f"seeds.{suffix}", form(made))
    print(forms.as_text(made))
    return 0


def rerank(argv: Sequence[str]) -> int:
    """Of several samples of each reply, the one whose text, voice and face agree best."""
    options = argparse.ArgumentParser(prog="python -m evaluation rerank", description=rerank.__doc__)
    _data(options)
    options.add_argument("--truth", type=Path, required=True, help="the recordings as a folder of replies")
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--cache", type=Path, required=True, help="where measured values are kept")
    options.add_argument("folders", nargs="+", type=Path, help="samples: folders of one system with different seeds")
    given = options.parse_args(argv)
    from data_pipeline.layout import Tree
    from evaluation import rerank as reranking
    from evaluation import run
    from evaluation.judges import Judges

    rows = [f"sample-{number}" for number in range(1, len(given.folders) + 1)]
    evaluation = run.evaluate(
        [("ground-truth", given.truth), *zip(rows, given.folders)],
        Tree(given.data).split_file(given.split),
        given.cache,
        judges=Judges(recordings=None if given.split == "train" else given.data, cache=given.cache),
    )
    chosen = reranking.write(evaluation, rows, given.output)
    counts = ", ".join(f"{row}: {list(chosen.values()).count(row)}" for row in rows)
    print(f"{len(chosen)} replies in {given.output} ({counts})")
    return 0


def judge(argv: Sequence[str]) -> int:
    """Preferences of a language model of your own (OpenAI-compatible): both orders, three runs. Never a headline number."""
    options = argparse.ArgumentParser(prog="python -m evaluation judge", description=judge.__doc__)
    _data(options)
    options.add_argument(
        "--address", required=True, help="for example http://localhost:8000/v1; the key is OPENAI_API_KEY"
    )
    options.add_argument("--model", required=True)
    options.add_argument("--rubric", type=Path, help="what the judge is told; ours by default")
    options.add_argument("--ratings", type=Path, help="ratings of people, to see how far the judge agrees with them")
    options.add_argument("--scale", default="Emp", help="of the ratings (Emp)")
    options.add_argument("--output", type=Path, required=True)
    options.add_argument(
        "folders", nargs="+", type=folder, metavar="[ROW=]FOLDER", help="the first one is compared with the others"
    )
    given = options.parse_args(argv)
    from data_pipeline.layout import Tree
    from empatheia_jax.files import write_text
    from evaluation import language_judge as judging
    from evaluation import questions, systems
    from evaluation import tables as forms
    from evaluation.ratings import Ratings
    from evaluation.store import Store

    if len(given.folders) < 2:
        raise UserError("one folder was given; expected two or more: the first is compared with the others")
    asked = questions.read(Tree(given.data).split_file(given.split))
    found = systems.matched([systems.read(path, row) for row, path in given.folders], asked)
    ours, *others = found.systems
    made = judging.table(
        judging.Judge(given.address, given.model, judging.rubric(given.rubric)),
        ours,
        {each.title: each for each in others},
        found.questions,
        Store(given.output / "cache"),
        None if given.ratings is None else Ratings.read(given.ratings),
        given.scale,
    )
    for suffix, form in (("txt", forms.as_text), ("csv", forms.as_csv), ("tex", forms.as_latex)):
        write_text(given.output / f"judge.{suffix}", form(made))
    print(forms.as_text(made))
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "truth": truth,
    "tables": tables,
    "study": study,
    "collect": collect,
    "plan": plan,
    "contribution": contribution,
    "seeds": seeds,
    "rerank": rerank,
    "judge": judge,
}


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
