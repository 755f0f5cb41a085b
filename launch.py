"""Empatheia's one command: `python launch.py --config=configs/quickstart.py [--mode=…] [--config.key=value …]`.

Modes: `train` (default) runs the config's schedule of stages and resumes it; `check` lists everything that a training would lack;
`extract` fills the feature cache; `reply` answers what you say (`--text`, `--speech`, `--video`), a dialogue file, or every turn
of a split (`--input=test`), with text, wav and mp4, or with `--modalities=text` in text alone; `chat` is a conversation in the
terminal; `serve` opens a page and OpenAI's interface on a port; `evaluate` makes the paper's tables; `export` makes a release of
a trained run for PyTorch; `preflight` says whether the run fits hardware that is not there.
"""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":  # the imports below take seconds; nothing is open yet, and Python would show where it was

    def _end(*_: object) -> None:
        os.write(2, b"interrupted\n")
        os._exit(130)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored, as behind `nohup`
        signal.signal(signal.SIGINT, _end)

from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from empatheia_jax import settings
from empatheia_jax.baselines import settings as baselines
from empatheia_jax.errors import UserError, leave, main_guard
from empatheia_jax.files import require_local
from empatheia_jax.settings import command_line
from empatheia_jax.settings import flags as mode_flags


def settings_class(config: ConfigDict) -> type:
    """What a config is read into: an experiment of the whole model, or a training of one of the generators' networks."""
    if "trains" not in config:
        return settings.Experiment
    from empatheia_jax.dreamtalk.settings import training_class

    return baselines.BaselineTraining if config.trains in baselines.KINDS else training_class(config)


def read_flags(argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """The flags, and a line for each `--config.key=value` that cannot be taken. Raises `UserError` for anything else wrong."""
    values, lines = command_line.parse(argv, mode_flags.define, settings_class)
    if values.help:
        print(__doc__.strip() + "\n" + values.module_help(mode_flags))
        sys.exit(0)
    if values.config is None:
        raise UserError("no config was given; for example --config=configs/quickstart.py")
    return values, lines


def train(config: settings.Experiment, workdir: Path, asked: Path | None = None) -> int:
    """Trains the schedule; then lets the model answer one dialogue, `asked` where it is given, and shows it in the report."""
    from data_pipeline import loader, requirements
    from empatheia_jax.dialogue import commands
    from empatheia_jax.parallel.distributed import among_hosts
    from empatheia_jax.training import schedule

    def work() -> int:
        requirements.require(config, workdir)
        commands.require_answerable(asked)
        schedule.run(config, workdir, loader.make, loader.describe)
        return commands.report_sample(config, workdir, asked)

    return among_hosts(work)


def check(given: flags.FlagValues, lines: list[str]) -> int:
    """Says everything that a training would lack; where a value is wrong, that of our config stands in."""
    from configs import common
    from data_pipeline import requirements

    print(requirements.check(given.config, given.workdir, lines, common.stand_ins(given.config)))
    return 0


def train_generator(config: Any, workdir: Path) -> int:
    """Trains a network of the talking head."""
    from data_pipeline import talking_heads
    from empatheia_jax.parallel.distributed import among_hosts
    from empatheia_jax.training import talking_head

    return among_hosts(lambda: talking_head.run(config, workdir, talking_heads.open_folder))


def extract(config: settings.Experiment, workdir: Path, verify: bool) -> int:
    """Fills the feature cache."""
    from data_pipeline import extract
    from empatheia_jax.parallel.distributed import among_hosts

    return among_hosts(lambda: extract.run(config, workdir, verify), trains=False)


def reply(given: flags.FlagValues, config: settings.Experiment, workdir: Path) -> int:
    """Answers what a person asks, a dialogue, or the turns of a file or of a split of the config's data set."""
    from data_pipeline.layout import SPLITS, Tree
    from empatheia_jax.dialogue import command_line as dialogue

    split = given.input if given.input in SPLITS and not Path(given.input).exists() else None
    return dialogue.reply(given, config, workdir, split and Tree(config.data.path).split_file(split))


def use_run(given: flags.FlagValues, config: settings.Experiment, workdir: Path) -> int:
    """The modes that use a trained run: they take the run's own config, with the keys that the command line set."""
    from empatheia_jax.runs import fit

    config = fit.as_trained(config, workdir, config_flags.get_override_values(given["config"]))
    if given.mode == "reply":
        return reply(given, config, workdir)
    if given.mode == "chat":
        from empatheia_jax.dialogue.command_line import chat as function
    elif given.mode == "serve":
        from empatheia_jax.server.command import of_flags as function
    else:
        from converters.release.export import of_flags as function
    return function(given, config, workdir)


@main_guard
def main(argv: list[str]) -> int:
    """Does what the command line asks for; returns the exit status."""
    given, lines = read_flags(argv)
    mode_flags.require_used(given)
    for name in ("workdir", "input", "output"):
        require_local(f"--{name}", given[name].value)
    if given.mode == "check" and settings_class(given.config) is not baselines.BaselineTraining:
        return check(given, lines)
    config: Any = settings.read(settings_class(given.config), given.config, lines)
    workdir = Path(given.workdir or f"runs/{config.name}")
    if isinstance(config, baselines.BaselineTraining):
        from evaluation import baselines as commands

        return commands.of_flags(given, config, workdir)
    if not isinstance(config, settings.Experiment):
        if given.mode != "train":
            raise UserError(
                f"--mode={given.mode} is not for {config.name}, a training of DreamTalk; expected train or check"
            )
        return train_generator(config, workdir)
    if given.mode == "train":
        return train(config, workdir, Path(given.input) if given.input else None)
    if given.mode == "extract":
        return extract(config, workdir, given.verify)
    if given.mode == "evaluate":
        from evaluation import from_config

        return from_config.of_flags(given, argv)
    if given.mode == "preflight":
        from empatheia_jax.training import preflight

        return preflight.run(config, given.target, given.json)
    return use_run(given, config, workdir)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on, `main` ends in order
    leave(main(sys.argv))
