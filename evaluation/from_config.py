"""`--mode=evaluate`: from a config to all tables by one command.

For every row (`configs.tables`) it trains what is missing, answers the test split, and evaluates the folders. Each step is a
command of its own (`launch.py`, `python -m evaluation`), so memory is free between them and several processes join in each as
they always do.
Every step resumes: what is complete is not done again. Several processes must agree on what is left: they look at the same
folders, which change only in commands that all of them have joined.

Rows share the stages that they would train alike (`evaluation.shared_stages`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl.flags import FlagValues
from ml_collections import ConfigDict

from configs.tables import BASELINES, EMBEDDED, ROWS, Row, small_baseline, values_of
from data_pipeline.layout import SPLITS, Tree
from empatheia_jax import settings
from empatheia_jax.conversation.reply_folder import MANIFEST, Manifest
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_text
from empatheia_jax.parallel.launcher import from_environment
from empatheia_jax.requirements import writable
from empatheia_jax.runs import fit
from empatheia_jax.runs.run import Run
from evaluation import questions
from evaluation.ground_truth import last_turns
from evaluation.report import MARKDOWN
from evaluation.shared_stages import share

Call = Callable[[Sequence[str]], int]


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """Values of a config as flags."""
    return [f"--config.{key}={'' if value is None else value}" for key, value in values.items()]


def overrides(base: ConfigDict, row: Row) -> list[str]:
    """What a row changes of the base, as flags."""
    return as_flags(values_of(row, base.start))


def config_of(base: ConfigDict, row: Row) -> settings.Experiment:
    """The settings of a row."""
    values = ConfigDict(base.to_dict())
    values.unlock()
    values.update_from_flattened_dict(dict(values_of(row, base.start)))
    return settings.resolve(values)


def _settings_of(place: Path) -> list[str]:
    """The flags of a training of a baseline that was begun in `place` by its own command, with its own settings."""
    run = Run(place)
    if not run.config_path.is_file():
        return []
    return as_flags({key: value for key, value in fit.flat(run.config()).items() if key != "trains"})


def answered(replies: Path, wanted: int) -> bool:
    """Whether a folder of replies is complete and answers at least so many turns."""
    return (replies / MANIFEST).is_file() and len(Manifest.read(replies).ids) >= wanted


def config_flags(argv: Sequence[str]) -> list[str]:
    """`--config` and its overrides out of a command line, in both forms (`--config.a=1`, `--config.a 1`)."""
    found: list[str] = []
    for place, each in enumerate(argv):
        if each.startswith("--config"):
            found.append(each)
            if "=" not in each and place + 1 < len(argv):
                found.append(argv[place + 1])
    return found


def of_flags(given: FlagValues, argv: Sequence[str]) -> int:
    """Does as the flags of a command line say. Raises `UserError` as `run`."""
    if given.output is None:
        raise UserError("--mode=evaluate needs --output=folder")
    elsewhere = given.input is not None and Path(given.input).is_dir()
    return run(
        given.config,
        config_flags(argv),
        writable(given.output, "--output"),
        split="test" if given.input is None or elsewhere else given.input,
        data=Path(given.input) if elsewhere else None,
        rows=given.rows and given.rows.split(","),
        folders=given.folders.split(",") if given.folders else (),
        limit=given.limit,
        workdir=None if given.workdir is None else Path(given.workdir),
        launcher=argv[0],
    )


def call(arguments: Sequence[str]) -> int:
    """Runs one command of ours in a process of its own."""
    return subprocess.run([sys.executable, *arguments], check=False).returncode


def several_processes() -> bool:
    """Whether the environment names other processes that run the same command."""
    from empatheia_jax.parallel.launcher import detect

    return detect() is not None


def first_process() -> bool:
    """Whether this is the first of the processes that the environment names: it alone touches folders between the commands."""
    from empatheia_jax.parallel.launcher import detect

    launcher = detect()
    if launcher == "environment":
        return from_environment(os.environ)[2] == 0
    return launcher != "slurm" or os.environ.get("SLURM_PROCID") == "0"


def run(
    base: ConfigDict,
    flags: Sequence[str],
    output: Path,
    *,
    split: str = "test",
    data: Path | None = None,
    rows: Sequence[str] | None = None,
    runs: Path | None = None,
    folders: Sequence[str] = (),
    limit: int | None = None,
    workdir: Path | None = None,
    launcher: str = "launch.py",
    run_command: Call = call,
) -> int:
    """Trains, answers and evaluates.

    Args:
      base: the config that the rows change.
      flags: `--config=…` and its overrides, as they were given.
      output: replies go to OUTPUT/replies/ROW, runs to OUTPUT/runs/ROW, the tables to OUTPUT, and as Markdown into the folder
        `evaluation` of each run, from where `--mode=export` takes them into the model card.
      split: the split whose turns are answered.
      data: the data set of the evaluation, if not the one of the training.
      rows: keys of `configs.tables.ROWS`, or of its `BASELINES`; by default the former's that need no other backbone. A baseline
        is trained by `configs/baselines.py` and without knowledge, unless its run (RUNS/cem) was begun with others. Where `base`
        begins from the starter, the baselines learn from the corpus too, in OUTPUT/corpus, at the sizes of
        `configs.tables.small_baseline`.
      runs: folder of the rows' runs, if not OUTPUT/runs.
      folders: further folders of replies, `ROW=FOLDER` or `FOLDER`: KEMP, CEM, CASE, another system.
      limit: the first turns only.
      workdir: a finished run that is the row `empatheia`.
      launcher: the script that has the modes.
      run_command: how a command is run.

    Raises:
      UserError: an unknown row, a set without recordings of its responses, or a command that failed.
    """
    wanted = list(EMBEDDED if rows is None else rows)
    if unknown := [each for each in wanted if each not in ROWS and each not in BASELINES]:
        known = ", ".join([*ROWS, *BASELINES])
        raise UserError(f"--rows names {unknown[0]}; expected some of {known} (others with --folders=ROW=FOLDER)")
    wanted, text_only = [each for each in wanted if each in ROWS], [each for each in wanted if each in BASELINES]
    wanted += [ROWS[each].of for each in wanted if ROWS[each].of and ROWS[each].of not in wanted]
    full = config_of(base, Row())
    learnt = Path(full.data.path)
    data, elsewhere = data or learnt, data is not None
    asked = Tree(data).split_file(split)
    last = ["--last-turns"] if full.data.last_turn_only else []
    found = questions.read(asked)
    turns = len(last_turns(found) if last else found)
    turns = turns if limit is None else min(limit, turns)
    runs = runs or output / "runs"
    corpus = output / "corpus" if full.start else None

    def step(name: str, arguments: Sequence[str]) -> None:
        print(f"== {name}", flush=True)
        if code := run_command([str(each) for each in arguments]):
            raise UserError(f"{name} failed with exit code {code}; see above; the same command goes on from here")

    def folder_of(row: str) -> Path:
        own = ROWS[row].of or row
        return workdir if own == "empatheia" and workdir is not None else runs / own

    given: list[str] = []
    if corpus is not None and not all((corpus / f"{each}.json").is_file() for each in SPLITS):
        step("the starter's dialogues", ["-m", "data_pipeline.corpus", f"--output={corpus}"])
    for row in text_only:  # first, since they are quick
        replies, trained_in = output / "replies" / row, runs / row
        given.append(f"{row}={replies}")
        command = [launcher, f"--config=configs/baselines.py:{row}", f"--workdir={trained_in}"]
        if not (trained_in / row).is_dir():
            ours = {"data": corpus or learnt, "seed": full.seed, **(small_baseline(row) if corpus else {})}
            step(f"train {row}", [*command, *(_settings_of(trained_in) or as_flags(ours))])
        if not answered(replies, turns):
            asking = [*command, "--mode=reply", f"--input={asked}", f"--output={replies}"]
            step(f"answer as {row}", [*asking, *([f"--limit={limit}"] if limit else [])])
    trained: list[Run] = [Run(folder_of("empatheia"))]
    for row in sorted(wanted, key=lambda each: each != "empatheia"):
        if ROWS[row].of:
            continue
        config, place = config_of(base, ROWS[row]), Run(folder_of(row))
        complete = all(place.completion(stage) for stage in config.schedule)
        # The first process links stages while others may look: these could find the last one there, and start no training.
        if not complete or (several_processes() and place.folder != workdir):
            if first_process():
                for stage, donor in share(config, place, trained).items():
                    print(f"{row}: the stage {stage} is that of {donor}")
            if config.data.path != "debug":
                step(f"features for {row}", [launcher, *flags, *overrides(base, ROWS[row]), "--mode=extract"])
            step(f"train {row}", [launcher, *flags, *overrides(base, ROWS[row]), f"--workdir={place.folder}"])
        if place.folder not in [each.folder for each in trained]:
            trained.append(place)
    for row in wanted:
        replies = output / "replies" / row
        given.append(f"{row}={replies}")
        if answered(replies, turns):
            continue
        values = ROWS[ROWS[row].of or row]
        command = [
            launcher,
            *flags,
            *overrides(base, values),
            "--mode=reply",
            f"--input={split}",
            f"--output={replies}",
        ]
        command += [f"--workdir={folder_of(row)}"] + ([f"--limit={limit}"] if limit else [])
        command += [f"--config.data.path={data}"] if elsewhere else []
        command += ["--modalities=text"] if ROWS[row].text else []
        step(f"answer as {row}", command)
    truth, where = output / "replies" / "ground-truth", [f"--data={data}", f"--split={split}", *last]
    if not (truth / MANIFEST).is_file():
        step("ground truth", ["-m", "evaluation", "truth", *where, f"--output={truth}"])
    evaluate = ["-m", "evaluation", "tables", *where, f"--output={output}"]
    evaluate += ["--common"] if limit or folders else []
    evaluate += [f"--recordings={learnt}"] if elsewhere and learnt.is_dir() else []
    learnt_from = [each / "train.json" for each in (learnt, corpus) if each is not None]
    evaluate += [f"--training={each}" for each in learnt_from if each.is_file()]
    step("evaluate", [*evaluate, f"ground-truth={truth}", *given, *folders])
    if first_process():
        for each in trained:
            if each.config_path.is_file():
                write_text(each.evaluation / MARKDOWN, (output / MARKDOWN).read_text(encoding="utf-8"))
    return 0
