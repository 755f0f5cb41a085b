"""Empatheia's one command: `python launch.py --config=configs/quickstart.py [--mode=…] [--config.key=value …]`.

Modes: `train` (default) runs the config's schedule of stages and resumes it; `check` says at once what it would lack; `extract`
fills the feature cache; `reply` answers what you say (`--text`, `--speech`, `--video`), a dialogue file, or every turn of a split
(`--input=test`), with text, wav and mp4, or with `--modalities=text` in text alone; `chat` is a conversation in the terminal;
`serve` opens a page and OpenAI's interface on a port; `export` makes a release for PyTorch of a trained run; `preflight` says
whether the run fits hardware that is not there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from empatheia_jax import settings
from empatheia_jax.errors import UserError, leave, main_guard
from empatheia_jax.files import require_local
from empatheia_jax.settings import command_line
from empatheia_jax.settings import flags as mode_flags


def settings_class(config: ConfigDict) -> type:
    """What a config is read into: an experiment of the whole model, or a training of one of the generators' networks."""
    if "trains" not in config:
        return settings.Experiment
    from empatheia_jax.dreamtalk.settings import training_class

    return training_class(config)


def read_flags(argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """The flags, and a line for each `--config.key=value` that cannot be taken. Raises `UserError` for anything else wrong."""
    values, lines = command_line.parse(argv, mode_flags.define, settings_class)
    if values.help:
        print(__doc__.strip() + "\n" + values.main_module_help())
        sys.exit(0)
    if values.config is None:
        raise UserError("no config was given; for example --config=configs/quickstart.py")
    return values, lines


def parse(argv: list[str]) -> tuple[flags.FlagValues, Any]:
    """Flags and the settings. Raises `UserError`, a line for everything that is wrong with them."""
    values, lines = read_flags(argv)
    return values, settings.read(settings_class(values.config), values.config, lines)


def train(config: settings.Experiment, workdir: Path) -> int:
    """Trains the schedule; then lets the model answer one dialogue, and shows it in the report.

    The run is finished before that: a sample or a report that fails is said and costs nothing else.
    """
    from data_pipeline import loader, requirements
    from empatheia_jax.dialogue import commands
    from empatheia_jax.parallel.distributed import among_hosts
    from empatheia_jax.runs import report
    from empatheia_jax.runs.run import Run
    from empatheia_jax.training import schedule

    def work() -> int:
        import jax

        requirements.require(config, workdir)
        schedule.run(config, workdir, loader.make, loader.describe)
        run = Run(workdir)
        if jax.process_index() != 0 or run.samples.exists():
            return 0
        try:
            if commands.sample(config, workdir) is not None:
                report.write(run)
        except Exception as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            print(
                f"the training is complete; there is no sample of a reply in its report: {kind}{error}", file=sys.stderr
            )
        return 0

    return among_hosts(work)


def text_replies(config: settings.Experiment, workdir: Path, given: flags.FlagValues) -> int:
    """Answers in text to every turn of a file, or of a split of the config's data set."""
    from data_pipeline.layout import SPLITS, Tree
    from empatheia_jax.dialogue import replies
    from empatheia_jax.requirements import writable

    source = Path(given.input)
    if given.input in SPLITS and not source.exists():
        source = Tree(config.data.path).split_file(given.input)
    return replies.run(config, workdir, source, writable(given.output, "--output"), given.limit)


def split_replies(config: settings.Experiment, workdir: Path, given: flags.FlagValues) -> int:
    """Answers every turn of a split in three modalities, dealt to all processes."""
    from data_pipeline.layout import Tree
    from empatheia_jax.dialogue import split
    from empatheia_jax.parallel.distributed import among_hosts
    from empatheia_jax.requirements import writable

    source, output = Tree(config.data.path).split_file(given.input), writable(given.output, "--output")
    folder, last = Path(config.data.path), config.data.last_turn_only
    return among_hosts(
        lambda: split.run(
            config,
            workdir,
            source,
            output,
            given.limit,
            media=folder,
            last_turn_only=last,
            withhold=tuple(filter(None, given.withhold.split(","))),
        ),
        trains=False,
    )


def evaluate(given: flags.FlagValues, argv: list[str]) -> int:
    """Trains and asks the rows of the paper's tables, and makes the tables; every step is a command of its own."""
    from empatheia_jax.requirements import writable
    from evaluation import rows

    if given.output is None:
        raise UserError("--mode=evaluate needs --output=folder")
    return rows.run(
        given.config,
        rows.config_flags(argv),
        writable(given.output, "--output"),
        split="test" if given.input is None or Path(given.input).is_dir() else given.input,
        data=Path(given.input) if given.input and Path(given.input).is_dir() else None,
        rows=given.rows and given.rows.split(","),
        folders=given.folders.split(",") if given.folders else (),
        limit=given.limit,
        workdir=None if given.workdir is None else Path(given.workdir),
        launcher=argv[0],
    )


def check(given: flags.FlagValues, lines: list[str]) -> int:
    """Says everything that a training would lack; where a value is wrong, that of the paper's config stands in."""
    from configs import common
    from data_pipeline import requirements

    print(requirements.check(given.config, given.workdir, lines, common.base().to_dict()))
    return 0


def train_generator(config: Any, workdir: Path) -> int:
    """Trains a network of the talking head."""
    from data_pipeline import talking_heads
    from empatheia_jax.parallel.distributed import among_hosts
    from empatheia_jax.requirements import writable
    from empatheia_jax.training import talking_head

    writable(workdir, "--workdir")
    return among_hosts(lambda: talking_head.run(config, workdir, talking_heads.open_folder))


def extract(config: settings.Experiment, workdir: Path, verify: bool) -> int:
    """Fills the feature cache."""
    from data_pipeline import extract
    from data_pipeline.loader import cache_folder
    from empatheia_jax.parallel.distributed import among_hosts
    from empatheia_jax.requirements import writable

    writable(cache_folder(config), "data.cache")
    return among_hosts(lambda: extract.run(config, workdir, verify), trains=False)


def reply(given: flags.FlagValues, config: settings.Experiment, workdir: Path) -> int:
    """Answers what a person asks, or a dialogue, in three modalities, or many in text."""
    from data_pipeline.layout import SPLITS
    from empatheia_jax.dialogue import asking, commands
    from empatheia_jax.parallel.distributed import on_first_host
    from empatheia_jax.requirements import writable

    ask = asking.of_flags({name: given[name].value for name in mode_flags.ASKED})
    if given.output is None or (given.input is None) == (ask is None):
        raise UserError(
            '--mode=reply needs --output=folder, and either what you say (--text="…", --speech=FILE) or --input=dialogue.json'
        )
    if ask is not None:
        output = writable(given.output, "--output")
        return on_first_host(lambda: commands.reply_to(config, workdir, ask, output))
    if given.modalities == "text":
        return on_first_host(lambda: text_replies(config, workdir, given))
    if given.input in SPLITS and not Path(given.input).exists():
        return split_replies(config, workdir, given)
    if given.limit is not None:
        raise UserError("--limit is for many replies: a split (--input=test), or --modalities=text")
    source, output = Path(given.input), writable(given.output, "--output")
    return on_first_host(lambda: commands.reply(config, workdir, source, output))


def chat(given: flags.FlagValues, config: settings.Experiment, workdir: Path) -> int:
    """A conversation in the terminal."""
    from empatheia_jax.dialogue import asking, commands
    from empatheia_jax.parallel.distributed import on_first_host
    from empatheia_jax.requirements import writable

    ask = asking.of_flags({name: given[name].value for name in mode_flags.ASKED}, complete=False)
    output = writable(given.output or workdir / "chat", "--output")
    return on_first_host(lambda: commands.chat(config, workdir, output, ask))


def serve(given: flags.FlagValues, config: settings.Experiment, workdir: Path) -> int:
    """A page, and an interface as OpenAI's."""
    from empatheia_jax.requirements import writable
    from empatheia_jax.server import command

    folder = writable(given.output or workdir / "server", "--output")
    texts = None if given.texts is None else Path(given.texts)
    return command.serve(config, workdir, command.options_of(given, folder), texts)


def export(given: flags.FlagValues, config: settings.Experiment, workdir: Path) -> int:
    """A trained run as a folder that PyTorch loads."""
    from converters.release import export as release
    from empatheia_jax.parallel.distributed import on_first_host
    from empatheia_jax.requirements import writable

    if given.output is None:
        raise UserError("--mode=export needs --output=folder")
    output = writable(given.output, "--output")
    return on_first_host(lambda: release.run(config, workdir, output, given.parts))


@main_guard
def main(argv: list[str]) -> int:
    """Does what the command line asks for; returns the exit status."""
    given, lines = read_flags(argv)
    for name in ("workdir", "input", "output"):
        require_local(f"--{name}", given[name].value)
    mode = given.mode
    if mode == "check" and settings_class(given.config) is settings.Experiment:
        return check(given, lines)
    config: Any = settings.read(settings_class(given.config), given.config, lines)
    workdir = Path(given.workdir or f"runs/{config.name}")
    if not isinstance(config, settings.Experiment):
        if mode != "train":
            raise UserError(
                f"--mode={mode} is not for {config.name}, which trains a part of DreamTalk; leave --mode out"
            )
        return train_generator(config, workdir)
    if mode == "train":
        return train(config, workdir)
    if mode == "evaluate":
        return evaluate(given, argv)
    if mode == "extract":
        return extract(config, workdir, given.verify)
    if mode == "preflight":
        from empatheia_jax.training import preflight

        return preflight.run(config, given.target, given.json)
    from empatheia_jax.runs import fit

    config = fit.as_trained(config, workdir, config_flags.get_override_values(given["config"]))
    return {"reply": reply, "chat": chat, "serve": serve, "export": export}[mode](given, config, workdir)


if __name__ == "__main__":
    leave(main(sys.argv))
