"""`--mode=reply` and `--mode=chat`: from the flags to the function that answers."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from empatheia_jax.dialogue import asking, commands, replies, split
from empatheia_jax.dialogue import chat as terminal
from empatheia_jax.dialogue.asking import Ask
from empatheia_jax.dialogue.safeguards import Safeguards
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.distributed import among_hosts, on_first_host
from empatheia_jax.requirements import writable
from empatheia_jax.settings import Experiment
from empatheia_jax.settings.flags import ASKED


def reply(given: flags.FlagValues, config: Experiment, workdir: Path, split_file: Path | None) -> int:
    """Answers what a person asks, or a dialogue, in three modalities; or many turns, in text alone or in three modalities.

    Args:
      given: the flags.
      config: of the run.
      workdir: the run's folder.
      split_file: the file that `--input` names, where it names a split of the data set.

    Raises:
      UserError: flags that do not go together, or as the function that answers.
    """
    ask = _asked(given)
    if given.output is None or (given.input is None) == (ask is None):
        raise UserError(
            '--mode=reply needs --output=folder, and either what you say (--text="…", --speech=FILE) or --input=dialogue.json'
        )
    output = writable(given.output, "--output")
    if ask is not None:
        return on_first_host(lambda: commands.reply_to(config, workdir, ask, output, Safeguards.of_flags(given)))
    source = split_file or Path(given.input)
    if given.modalities == "text":
        return on_first_host(lambda: replies.run(config, workdir, source, output, given.limit))
    if split_file is not None:
        return _split(given, config, workdir, split_file, output)
    if given.limit is not None:
        raise UserError("--limit is for many replies: a split (--input=test), or --modalities=text")
    return on_first_host(lambda: commands.reply(config, workdir, source, output, Safeguards.of_flags(given)))


def _split(given: flags.FlagValues, config: Experiment, workdir: Path, source: Path, output: Path) -> int:
    """Every turn of a split in three modalities, dealt to all processes."""
    withheld = tuple(filter(None, given.withhold.split(",")))
    return among_hosts(
        lambda: split.run(
            config,
            workdir,
            source,
            output,
            given.limit,
            media=Path(config.data.path),
            last_turn_only=config.data.last_turn_only,
            withhold=withheld,
        ),
        trains=False,
    )


def chat(given: flags.FlagValues, config: Experiment, workdir: Path) -> int:
    """A conversation in the terminal. Raises `UserError` as `dialogue.chat.chat`."""
    ask = _asked(given, complete=False)
    output = writable(given.output or workdir / "chat", "--output")
    return on_first_host(lambda: terminal.chat(config, workdir, output, ask, Safeguards.of_flags(given)))


def _asked(given: flags.FlagValues, *, complete: bool = True) -> Ask | None:
    return asking.of_flags({name: given[name].value for name in ASKED}, complete=complete)
