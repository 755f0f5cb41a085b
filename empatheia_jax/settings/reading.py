"""From the values of a config to a typed block, with everything that is wrong in them said at once."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from empatheia_jax.errors import UserError
from empatheia_jax.settings import rules

B = TypeVar("B")
SHOWN = 200
"""Most characters of a wrong value in its line."""


@runtime_checkable
class HasDict(Protocol):
    """A config that gives its values as a dict. It is ml_collections' `ConfigDict`; this package does not ask for ml_collections,
    so that the networks can be built where it is not installed.
    """

    def to_dict(self) -> dict[str, Any]:
        """Nested values."""


class Block:
    """A part of a config: a frozen dataclass whose fields carry their rules. What a rule cannot see, since it concerns
    several fields, is said by `conflicts`.
    """

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """(key, what was expected of it) of every value that does not fit the others. Keys are relative to the block."""
        return iter(())

    @classmethod
    def derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The values with those filled in that follow from others."""
        return values


def finding(key: str, value: Any, expected: str) -> str:
    """The line for one wrong value, of which no more is shown than a line has room for."""
    try:
        shown = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        shown = "a number of thousands of digits"
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}… ({len(shown):,} characters)"
    return f"{key}={shown}; expected {expected}"


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


@dataclasses.dataclass(frozen=True)
class Finding:
    """A value that is wrong: its key, and the line that says so."""

    key: str
    line: str


def read(block: type[B], values: Mapping[str, Any] | HasDict, lines: Sequence[str] = ()) -> B:
    """The block of these values. `lines`: what is known to be wrong already, to be said together with the rest.

    Raises:
      UserError: with one line for every key that is unknown, missing, not as expected or at odds with others.
    """
    result, findings = examine(block, values)
    if lines or findings or result is None:
        raise UserError.of([*lines, *(each.line for each in findings)])
    return result


def examine(block: type[B], values: Mapping[str, Any] | HasDict) -> tuple[B | None, list[Finding]]:
    """The block of these values, None where a value of its own cannot be read, and everything that is wrong with them."""
    findings: list[Finding] = []
    values = values.to_dict() if isinstance(values, HasDict) else values
    return _read(block, values, "", findings, list(keys(block))), findings


def substitute(
    block: type[B], values: Mapping[str, Any] | HasDict, others: Mapping[str, Any]
) -> tuple[B | None, list[Finding]]:
    """The block with the value from `others` wherever one is wrong, so that faults of other kinds can be looked for besides
    (None where that is no block either); and everything that is wrong with the values.
    """
    plain_values = values.to_dict() if isinstance(values, HasDict) else values
    found: list[Finding] = []
    for _ in range(3):  # what two values of a block are to each other shows once each can be read
        result, findings = examine(block, plain_values)
        if not findings:
            return result, found
        found += findings
        for each in findings:
            plain_values = _replaced(plain_values, others, each.key.split("."))
    return None, found


def _replaced(values: Mapping[str, Any], others: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    name, *rest = path
    result = {key: value for key, value in values.items() if key != name}
    if rest and isinstance(values.get(name), Mapping):
        return result | {name: _replaced(values[name], others.get(name, {}), rest)}
    return result | ({name: others[name]} if name in others else {})


def _read(block: type, values: Mapping[str, Any], before: str, findings: list[Finding], known: list[str]) -> Any:
    read, wrong = {}, len(findings)

    def say(key: str, line: str) -> None:
        findings.append(Finding(key, line))

    for name in values:
        if name not in hints(block):
            say(f"{before}{name}", unknown(f"{before}{name}", known))
    for name, hint in hints(block).items():
        key, rule = before + name, rules.of(hint)
        if name not in values:
            say(key, f"{key} is missing; expected {rule.expected if rule else 'a block of keys'}")
        elif rule is None:
            if isinstance(values[name], Mapping):
                read[name] = _read(hint, values[name], f"{key}.", findings, known)
            else:
                say(key, finding(key, values[name], "a block of keys"))
        else:
            try:
                read[name] = rule.read(values[name])
            except ValueError:
                say(key, finding(key, values[name], rule.expected))
    if len(findings) > wrong:
        return None
    try:
        result = block(**(block.derive(read) if issubclass(block, Block) else read))
    except UserError as error:  # of a dataclass that checks itself
        say(before.removesuffix("."), f"{before.removesuffix('.')}: {error}" if before else str(error))
        return None
    if isinstance(result, Block):
        for name, expected in result.conflicts():
            value = functools.reduce(getattr, name.split("."), result)
            say(before + name, finding(before + name, _plain_of(keys(block)[name], value), expected))
    return result


def plain(block: Any) -> dict[str, Any]:
    """The inverse of `read`: nested JSON values as a config file has them."""
    found = {}
    for name, hint in hints(block.__class__).items():
        found[name] = _plain_of(rules.of(hint), getattr(block, name))
    return found


def _plain_of(rule: rules.Rule | None, value: Any) -> Any:
    return plain(value) if rule is None else rule.plain(value)
