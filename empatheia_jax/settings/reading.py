"""From the values of a config to a typed block, with everything that is wrong in them said at once."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ml_collections import ConfigDict

from empatheia_jax.errors import UserError
from empatheia_jax.settings import rules

B = TypeVar("B")


class Block:
    """A part of a config: a frozen dataclass whose fields carry their rules. What a rule cannot see, since it concerns
    several fields, is said by `conflicts`."""

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """(key, what was expected of it) of every value that does not fit the others. Keys are relative to the block."""
        return iter(())

    @classmethod
    def derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The values with those filled in that follow from others."""
        return values


def finding(key: str, value: Any, expected: str) -> str:
    """The line for one wrong value."""
    return f"{key}={value!r}; expected {expected}"


def unknown(key: str, known: Iterable[str]) -> str:
    """The line for a key that does not exist, with the three nearest of those that do."""

    def likeness(other: str) -> float:
        ends = key.rpartition(".")[2], other.rpartition(".")[2]
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in ((key, other), ends))

    near = sorted(known, key=likeness, reverse=True)[:3]
    return f"{key} is no key of the config; the nearest are {', '.join(near)}"


@functools.cache
def hints(block: type) -> Mapping[str, Any]:
    """Field → type with its rule."""
    found = typing.get_type_hints(block, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(block)}


def keys(block: type, before: str = "") -> dict[str, rules.Rule | None]:
    """Every key of a block, nested ones as "coe.steps", with its rule; None for a block."""
    found: dict[str, rules.Rule | None] = {}
    for name, hint in hints(block).items():
        found[before + name] = rule = rules.of(hint)
        if rule is None:
            found |= keys(hint, f"{before}{name}.")
    return found


def read(block: type[B], values: Mapping[str, Any] | ConfigDict, lines: Sequence[str] = ()) -> B:
    """The block of these values. `lines`: what is known to be wrong already, to be said together with the rest.

    Raises:
      UserError: with one line for every key that is unknown, missing, not as expected or at odds with others.
    """
    lines = list(lines)
    values = values.to_dict() if isinstance(values, ConfigDict) else values
    result = _read(block, values, "", lines, list(keys(block)))
    if lines:
        raise UserError.of(lines)
    return result


def _read(block: type, values: Mapping[str, Any], before: str, lines: list[str], known: list[str]) -> Any:
    read, wrong = {}, len(lines)
    lines += [unknown(f"{before}{name}", known) for name in values if name not in hints(block)]
    for name, hint in hints(block).items():
        key, rule = before + name, rules.of(hint)
        if name not in values:
            lines.append(f"{key} is missing; expected {rule.expected if rule else 'a block of keys'}")
        elif rule is None:
            if isinstance(values[name], Mapping):
                read[name] = _read(hint, values[name], f"{key}.", lines, known)
            else:
                lines.append(finding(key, values[name], "a block of keys"))
        else:
            try:
                read[name] = rule.read(values[name])
            except ValueError:
                lines.append(finding(key, values[name], rule.expected))
    if len(lines) > wrong:
        return None
    try:
        result = block(**(block.derive(read) if issubclass(block, Block) else read))
    except UserError as error:  # of a dataclass that checks itself
        lines.append(f"{before.removesuffix('.')}: {error}" if before else str(error))
        return None
    if isinstance(result, Block):
        for name, expected in result.conflicts():
            value = functools.reduce(getattr, name.split("."), result)
            lines.append(finding(before + name, _plain_of(keys(block)[name], value), expected))
    return result


def plain(block: Any) -> dict[str, Any]:
    """The inverse of `read`: nested JSON values as a config file has them."""
    found = {}
    for name, hint in hints(type(block)).items():
        found[name] = _plain_of(rules.of(hint), getattr(block, name))
    return found


def _plain_of(rule: rules.Rule | None, value: Any) -> Any:
    return plain(value) if rule is None else rule.plain(value)
