"""Empatheia's one command: `python launch.py --config=configs/quickstart.py [--mode=…] [--config.key=value …]`.

Modes: `train` (default) runs the config's schedule of stages and resumes it; `extract` fills the feature cache; `reply`
answers a dialogue file with text, wav and mp4; `chat` is a conversation in the terminal; `preflight` says whether the run
fits hardware that is not there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from empatheia_jax.errors import UserError, main_guard

MODES = ("train", "extract", "reply", "chat", "preflight")
LATER = ("evaluate", "serve", "export")

FLAGS = flags.FlagValues()
flags.DEFINE_enum("mode", "train", MODES + LATER, "What to do.", flag_values=FLAGS)
flags.DEFINE_string("workdir", None, "The run's folder; runs/<name of the config> by default.", flag_values=FLAGS)
flags.DEFINE_string("input", None, "reply: a dialogue in the released AvaMERG layout (JSON).", flag_values=FLAGS)
flags.DEFINE_string("output", None, "reply, chat: folder for reply.json, reply.wav, reply.mp4.", flag_values=FLAGS)
flags.DEFINE_string("target", "a100-80gb:1", "preflight: hardware, for example v5e:4x4.", flag_values=FLAGS)
flags.DEFINE_string("json", None, "preflight: also write the result to this file.", flag_values=FLAGS)
flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=FLAGS)
config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.", flag_values=FLAGS)


def parse(argv: list[str]):
    """Flags and the resolved config. Raises `UserError`, in one line, for whatever is wrong with them."""
    for argument in argv[1:]:
        path = argument.removeprefix("--config=").split(":")[0]
        if argument.startswith("--config=") and not Path(path).is_file():
            raise UserError(f"config file {path!r} does not exist; expected one of configs/*.py")
    try:
        rest = FLAGS(argv)
    except KeyError as error:
        raise UserError(
            f"the config has no key {str(error).strip(chr(34))}; see the file given with --config"
        ) from None
    except (flags.Error, ValueError, TypeError, AttributeError, OSError) as error:
        # A config file's own error arrives with its traceback as text: its last line says what is wrong.
        raise UserError(f"{str(error).strip().splitlines()[-1]}; see `python launch.py --help`") from None
    if FLAGS.help:
        print(__doc__.strip() + "\n" + FLAGS.main_module_help())
        sys.exit(0)
    if len(rest) > 1:
        raise UserError(f"argument {rest[1]!r} is not understood; flags look like --mode=reply or --config.seed=1")
    if FLAGS.config is None:
        raise UserError("no config was given; for example --config=configs/quickstart.py")
    return FLAGS.config


def among_hosts(work: Callable[[], int]) -> int:
    """Runs `work` as one process of as many as the environment says there are."""
    from empatheia_jax.parallel import distributed

    distributed.initialize()
    with distributed.guard():
        return work()


@main_guard
def main(argv: list[str]) -> int:
    config = parse(argv)
    mode, workdir = FLAGS.mode, Path(FLAGS.workdir or f"runs/{config.name}")
    if mode in LATER:
        raise UserError(f"--mode={mode} does not exist yet; this version has {', '.join(MODES)}")
    if "trains" in config:  # one of the generators' own networks
        from empatheia_jax.dreamtalk.settings import resolve_training

        if mode != "train":
            raise UserError(
                f"--mode={mode} is not for {config.name}, which trains a part of DreamTalk; leave --mode out"
            )
        from data_pipeline import talking_heads
        from empatheia_jax.training import talking_head

        training = resolve_training(config)
        return among_hosts(lambda: talking_head.run(training, workdir, talking_heads.open_folder))
    from empatheia_jax import settings

    config = settings.resolve(config)
    if mode == "preflight":
        from empatheia_jax.training import preflight

        return preflight.run(config, FLAGS.target, FLAGS.json)
    if mode == "extract":
        from data_pipeline import extract

        return among_hosts(lambda: extract.run(config, workdir))
    from empatheia_jax.dialogue import commands
    from empatheia_jax.training import schedule

    if mode == "train":
        from data_pipeline import loader

        return among_hosts(lambda: schedule.run(config, workdir, loader.make, commands.sample))
    if mode == "chat":
        return commands.chat(config, workdir, Path(FLAGS.output or workdir / "chat"), schedule.load_stages)
    if FLAGS.input is None or FLAGS.output is None:
        raise UserError("--mode=reply needs --input=dialogue.json and --output=folder")
    return commands.reply(config, workdir, Path(FLAGS.input), Path(FLAGS.output), schedule.load_stages)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
