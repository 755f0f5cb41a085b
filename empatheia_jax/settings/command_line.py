"""`--config=FILE --config.key=value …`: the config of a command line, with every wrong override said at once."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from empatheia_jax.errors import UserError
from empatheia_jax.settings import reading
from empatheia_jax.settings.rules import Rule

NAME = "config"
EXAMPLE = "configs/quickstart.py"
_OVERRIDE = re.compile(rf"--?(no)?{NAME}\.([^=]+)(?:=(.*))?", re.DOTALL)


def parse(
    argv: Sequence[str], define: Callable[[flags.FlagValues], None], block_of: Callable[[ConfigDict], type]
) -> tuple[flags.FlagValues, list[str]]:
    """The flags of a command line, `config` among them with its overrides, and a line for each override that is wrong.

    The lines come beside the flags so that what is wrong in the values themselves can be said together with them.

    Args:
      argv: the command's name and its arguments.
      define: adds the command's own flags.
      block_of: the settings that a config is read into, for what its keys expect.

    Raises:
      UserError: a flag or the config file itself cannot be used.
    """
    argv = _without_flagfiles(list(argv))
    places = [place for place, argument in enumerate(argv) if place and _OVERRIDE.fullmatch(argument)]
    # `--config.key value`: the value is the next argument.
    overrides = [argv[place : place + 1 + _takes_next(argv, place)] for place in places]
    taken = {place + step for place, override in zip(places, overrides) for step in range(len(override))}
    plain = [argument for place, argument in enumerate(argv) if place not in taken]
    _require_file(plain)
    values = _parse(plain, define)
    if values[NAME].value is None or not overrides:
        return values, []
    block = block_of(values[NAME].value)
    known = reading.keys(block)
    lines: list[str] = []
    good: list[str] = []
    nothing: dict[str, bool] = {}  # key → whether the last override of it says None
    for override in overrides:
        key = _said(override)[1]
        nothing[key] = _is_none(override, known)
        if nothing[key]:
            continue
        line = _wrong(override, known, plain, define)
        lines += [line] if line else []
        good += [] if line else override
    values = _parse([*plain, *good], define)
    unset = dict.fromkeys(key for key, none in nothing.items() if none)
    if unset and (config := values[NAME].value) is not None:
        config.update_from_flattened_dict(unset)
        config_flags.get_override_values(values[NAME]).update(unset)
    return values, lines


def _said(arguments: list[str]) -> tuple[str | None, str, str | None]:
    """("no" or None, key, value) of an override."""
    match = _OVERRIDE.fullmatch(arguments[0])
    assert match is not None
    negated, key, value = match.groups()
    return negated, key, arguments[1] if len(arguments) > 1 else value


def _is_none(arguments: list[str], known: Mapping[str, Rule | None]) -> bool:
    """Whether an override says None where that is a value; the library reads numbers there and nothing else."""
    _, key, value = _said(arguments)
    return value == "None" and bool(getattr(known.get(key), "none", ""))


def _wrong(
    arguments: list[str], known: Mapping[str, Rule | None], plain: list[str], define: Callable[[flags.FlagValues], None]
) -> str | None:
    """The line for an override that cannot be taken."""
    negated, key, value = _said(arguments)
    if key not in known:
        return reading.unknown(key, known)
    rule = known[key]
    if rule is None:
        return f"{key}={value or ''}; expected its keys one by one, for example " + next(
            f"--{NAME}.{name}=…" for name in known if name.startswith(f"{key}.")
        )
    try:
        _parse([*plain, *arguments], define)
    except UserError:
        found = value if value is not None else ("" if negated else "(nothing)")
        return reading.finding(key, found, rule.expected)
    return None


def _takes_next(argv: list[str], place: int) -> bool:
    """Whether the value of an override stands in the next argument, `--config.seed 5`."""
    return "=" not in argv[place] and place + 1 < len(argv) and re.match(r"[^-]|-\d", argv[place + 1]) is not None


def _without_flagfiles(argv: list[str]) -> list[str]:
    try:
        return [*argv[:1], *flags.FlagValues().read_flags_from_files(argv[1:])]
    except (flags.Error, OSError, UnicodeDecodeError) as error:
        raise UserError(f"--flagfile: {_last_line(error)}; expected a text file with a flag in each line") from None


def _require_file(argv: list[str]) -> None:
    for argument in argv[1:]:
        path = Path(argument.partition("=")[2].split(":")[0])
        if not re.match(rf"--?{NAME}=", argument):
            continue
        if not path.is_file():
            raise UserError(f"config file {str(path)!r} does not exist; expected one of configs/*.py")
        if path.suffix != ".py":
            raise UserError(
                f"{path} is no config file; expected a Python file with `get_config`, for example {EXAMPLE}"
            )


def _parse(argv: list[str], define: Callable[[flags.FlagValues], None]) -> flags.FlagValues:
    values = flags.FlagValues()
    define(values)
    config_flags.DEFINE_config_file(
        NAME, None, "The experiment, a file of configs/.", flag_values=values, sys_argv=argv
    )
    sys.modules.pop(f"{NAME}_config", None)  # where ml_collections keeps a config file: nothing of another one may stay
    try:
        rest = values(argv)
    except Exception as error:  # a config file is a program: it may raise anything
        if re.match(r"TypeError: get_config\(\) takes 0 positional arguments", _last_line(error)):
            raise UserError(f"--{NAME}: this config has no variants; leave out what stands behind the colon") from None
        raise UserError(f"{_last_line(error)}; see `python {argv[0]} --help`") from None
    if len(rest) > 1:
        raise UserError(f"argument {rest[1]!r} is not understood; flags look like --mode=reply or --config.seed=1")
    return values


def _last_line(error: BaseException) -> str:
    # A config file's own error arrives with its traceback as text: its last line says what is wrong.
    return next(reversed(str(error).strip().splitlines()), type(error).__name__)
