"""Empatheia's one command: `python launch.py --config=configs/quickstart.py [--mode=…] [--config.key=value …]`.

Modes: `train` (default) runs the config's schedule of stages and resumes it; `check` says at once what it would lack; `extract`
fills the feature cache; `reply` answers a dialogue file with text, wav and mp4, or with `--modalities=text` every turn of a file
in text; `chat` is a conversation in the terminal; `preflight` says whether the run fits hardware that is not there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from empatheia_jax import settings
from empatheia_jax.errors import UserError, leave, main_guard, note_exit
from empatheia_jax.settings import command_line

MODES = ("train", "check", "extract", "reply", "chat", "preflight")
LATER = ("evaluate", "serve", "export")


def define_flags(values: flags.FlagValues) -> None:
    """The flags beside `--config`."""
    flags.DEFINE_enum("mode", "train", MODES + LATER, "What to do.", flag_values=values)
    flags.DEFINE_string("workdir", None, "The run's folder; runs/<name of the config> by default.", flag_values=values)
    flags.DEFINE_string(
        "input",
        None,
        "reply: a dialogue in the released AvaMERG layout (JSON); with --modalities=text a file of many, or train, valid, test.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "output",
        None,
        "reply, chat: folder for reply.json, reply.wav, reply.mp4, or replies.jsonl.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "modalities",
        "text,speech,video",
        ("text", "text,speech,video"),
        "reply: text alone answers every turn of --input, many at once.",
        flag_values=values,
    )
    flags.DEFINE_integer("limit", None, "reply in text: the first turns only.", 1, flag_values=values)
    flags.DEFINE_string("target", "a100-80gb:1", "preflight: hardware, for example v5e:4x4.", flag_values=values)
    flags.DEFINE_string("json", None, "preflight: also write the result to this file.", flag_values=values)
    flags.DEFINE_bool("verify", False, "extract: read all recordings and records again.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)


def settings_class(config: ConfigDict) -> type:
    """What a config is read into: an experiment of the whole model, or a training of one of the generators' networks."""
    if "trains" not in config:
        return settings.Experiment
    from empatheia_jax.dreamtalk.settings import training_class

    return training_class(config)


def read_flags(argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """The flags, and a line for each `--config.key=value` that cannot be taken. Raises `UserError` for anything else wrong."""
    values, lines = command_line.parse(argv, define_flags, settings_class)
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


def local_path(flag: str, value: str | None) -> None:
    """Raises `UserError` for an address of a bucket: a run's folder holds a lock and files that grow, which buckets lack."""
    if value is not None and "://" in value:
        raise UserError(
            f"--{flag}={value}; expected a path of this machine; mount the bucket as a folder (gcsfuse, s3fs), or take a share"
        )


def among_hosts(work: Callable[[], int], *, trains: bool = True) -> int:
    """Runs `work` as one process of as many as the environment says there are; what trains saves at SIGTERM."""
    from empatheia_jax.parallel import distributed

    distributed.initialize(preemption=trains)
    with distributed.guard():
        try:
            return work()
        except SystemExit as stop:  # by SIGTERM: everything is saved
            if not stop.code:
                note_exit(0, "stopped by SIGTERM")
            raise


def on_first_host(work: Callable[[], int]) -> int:
    """Runs `work` in the first of the processes; the others wait for it."""
    from empatheia_jax.parallel import distributed

    return among_hosts(lambda: distributed.first_alone("work", work) or 0, trains=False)


def train(config: settings.Experiment, workdir: Path) -> int:
    """Trains the schedule; then lets the model answer one dialogue, and shows it in the report.

    The run is finished before that: a sample or a report that fails is said and costs nothing else.
    """
    from data_pipeline import loader, requirements
    from empatheia_jax.dialogue import commands
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


def as_trained(given: flags.FlagValues, config: settings.Experiment, workdir: Path) -> settings.Experiment:
    """For what uses a trained run: the run's own config, with the overrides of the command line alone."""
    from empatheia_jax.runs import fit
    from empatheia_jax.runs.run import Run

    run = Run(workdir)
    if not run.config_path.is_file():
        return config
    values, asked = ConfigDict(run.config()), fit.flat(settings.plain(config))
    overrides = config_flags.get_override_values(given["config"])
    ours = fit.flat(values.to_dict())
    if other := sorted(key for key in asked if key not in overrides and asked[key] != ours.get(key)):
        shown = ", ".join(other[:5]) + (" …" if len(other) > 5 else "")
        print(f"{run.config_path} decides, not the config file, where they differ: {shown}")
    values.update_from_flattened_dict({key: asked[key] for key in overrides if key in asked})
    return settings.resolve(values)


@main_guard
def main(argv: list[str]) -> int:
    given, lines = read_flags(argv)
    for name in ("workdir", "input", "output"):
        local_path(name, given[name].value)
    if given.mode == "check" and settings_class(given.config) is settings.Experiment:
        from configs import common
        from data_pipeline import requirements

        # Where a value is wrong, that of the paper's config stands in, so that all else is looked at too.
        print(requirements.check(given.config, given.workdir, lines, common.base().to_dict()))
        return 0
    config: Any = settings.read(settings_class(given.config), given.config, lines)
    from empatheia_jax.requirements import writable

    mode, workdir = given.mode, Path(given.workdir or f"runs/{config.name}")
    if mode in LATER:
        raise UserError(f"--mode={mode} does not exist yet; this version has {', '.join(MODES)}")
    if not isinstance(config, settings.Experiment):  # one of the generators' own networks
        if mode != "train":
            raise UserError(
                f"--mode={mode} is not for {config.name}, which trains a part of DreamTalk; leave --mode out"
            )
        from data_pipeline import talking_heads
        from empatheia_jax.training import talking_head

        writable(workdir, "--workdir")
        return among_hosts(lambda: talking_head.run(config, workdir, talking_heads.open_folder))
    if mode == "preflight":
        from empatheia_jax.training import preflight

        return preflight.run(config, given.target, given.json)
    if mode == "extract":
        from data_pipeline import extract
        from data_pipeline.loader import cache_folder

        writable(cache_folder(config), "data.cache")
        return among_hosts(lambda: extract.run(config, workdir, given.verify), trains=False)
    if mode == "train":
        return train(config, workdir)
    config = as_trained(given, config, workdir)
    from empatheia_jax.dialogue import commands

    if mode == "chat":
        output = writable(given.output or workdir / "chat", "--output")
        return on_first_host(lambda: commands.chat(config, workdir, output))
    if given.input is None or given.output is None:
        raise UserError("--mode=reply needs --input=dialogue.json and --output=folder")
    if given.modalities == "text":
        return on_first_host(lambda: text_replies(config, workdir, given))
    if given.limit is not None:
        raise UserError("--limit is for many text replies; add --modalities=text")
    source, output = Path(given.input), writable(given.output, "--output")
    return on_first_host(lambda: commands.reply(config, workdir, source, output))


if __name__ == "__main__":
    leave(main(sys.argv))
