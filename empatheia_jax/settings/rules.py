"""What a value of the config may be: a rule reads it, says what it expected, and writes it back as a config file has it.

A field of a block carries its rule in its type, `rank: Annotated[int, Whole(1, 1024)]`; `Literal`, `bool` and the aliases below
need none. Texts that hold several values ("speech,video", "core.*=0.35") are read into tuples and mappings here, once.
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Protocol, runtime_checkable


@runtime_checkable
class Rule(Protocol):
    """Reads one value of a config."""

    @property
    def expected(self) -> str:
        """What is allowed, to follow "expected": "a finite number above 0"."""

    def read(self, value: Any) -> Any:
        """The typed value. Raises `ValueError` where it is not as expected (its text, if any, is not shown)."""

    def plain(self, value: Any) -> Any:
        """The inverse of `read`: JSON as in a config file."""


class _Same:
    """A rule whose value is the same in a config file."""

    def plain(self, value: Any) -> Any:
        return value


@dataclasses.dataclass(frozen=True)
class Whole(_Same):
    """A whole number of `at_least` to `at_most`. `why` gives the reason of a bound; `none`: None is allowed and means this."""

    at_least: int
    at_most: int = 2**31 - 1
    why: str = ""
    none: str = ""

    @property
    def expected(self) -> str:
        high = "and less than 2^31" if self.at_most == 2**31 - 1 else f"and at most {self.at_most}"
        return f"a whole number of at least {self.at_least} {high}" + _also(self.none, self.why)

    def read(self, value: Any) -> int | None:
        if value is None and self.none:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not self.at_least <= value <= self.at_most:
            raise ValueError
        return value


SMALLEST, LARGEST = 1.1754944e-38, 3.4028235e38
"""What the networks compute with, float32, holds nothing else but 0: a smaller number is 0 there, a larger one infinite."""


@dataclasses.dataclass(frozen=True)
class Number(_Same):
    """A finite number between bounds, which float32 holds; `above` and `below` are not allowed themselves."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    why: str = ""
    none: str = ""

    @property
    def expected(self) -> str:
        low = f"above {self.above:g}" if self.above is not None else ""
        low = f"of at least {self.at_least:g}" if self.at_least is not None else low
        high = f"below {self.below:g}" if self.below is not None else ""
        high = f"at most {self.at_most:g}" if self.at_most is not None else high
        why = self.why or ("" if high else f"float32 holds {SMALLEST:.1e} to {LARGEST:.1e}")
        return "a finite number " + " and ".join(filter(None, (low, high))) + _also(self.none, why)

    def read(self, value: Any) -> float | None:
        if value is None and self.none:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        if value != 0 and not SMALLEST <= abs(value) <= LARGEST:  # NaN too, and whole numbers that no float holds
            raise ValueError
        low = (self.above is None or value > self.above) and (self.at_least is None or value >= self.at_least)
        high = (self.below is None or value < self.below) and (self.at_most is None or value <= self.at_most)
        if not (low and high):
            raise ValueError
        return float(value)


@dataclasses.dataclass(frozen=True)
class Switch(_Same):
    """True or False."""

    expected: str = "True or False"

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value


@dataclasses.dataclass(frozen=True)
class OneOf(_Same):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return " or ".join(filter(None, (", ".join(self.words[:-1]), self.words[-1])))

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise ValueError
        return value


@dataclasses.dataclass(frozen=True)
class SomeOf:
    """Distinct words out of a set, joined by commas: "speech,video" → ("speech", "video")."""

    words: tuple[str, ...]
    empty: str = ""  # what the empty text means; "" = at least one word is expected

    @property
    def expected(self) -> str:
        none = f' ("" = {self.empty})' if self.empty else ""
        return f"distinct words out of {', '.join(self.words)}, joined by commas{none}"

    def read(self, value: Any) -> tuple[str, ...]:
        found = parts(value)
        if not set(found) <= set(self.words) or len(set(found)) != len(found) or not (found or self.empty):
            raise ValueError
        return found

    def plain(self, value: tuple[str, ...]) -> str:
        return ",".join(value)


@dataclasses.dataclass(frozen=True)
class Names:
    """Distinct names joined by commas, at least one: "q_proj,v_proj" → ("q_proj", "v_proj")."""

    expected: str = "distinct names, joined by commas"

    def read(self, value: Any) -> tuple[str, ...]:
        found = parts(value)
        if not found or len(set(found)) != len(found):
            raise ValueError
        return found

    def plain(self, value: tuple[str, ...]) -> str:
        return ",".join(value)


@dataclasses.dataclass(frozen=True)
class Wholes:
    """Distinct whole numbers of at least 1, joined by commas: "384,640" → (384, 640). `count`: how many; None = any."""

    count: int | None = None
    rising: bool = False

    @property
    def expected(self) -> str:
        rising = ", the first not above the last" if self.rising else ""
        how_many = "" if self.count is None else f"{self.count} "
        how_many += "" if self.rising else "distinct "
        return f'{how_many}whole numbers of at least 1, joined by commas{rising} ("" = none)'

    def read(self, value: Any) -> tuple[int, ...]:
        found = tuple(int(part) for part in parts(value))
        if any(number < 1 or number > 2**31 - 1 for number in found):
            raise ValueError
        if found and (self.count not in (None, len(found)) or (self.rising and list(found) != sorted(found))):
            raise ValueError
        if not self.rising and len(set(found)) != len(found):
            raise ValueError
        return found

    def plain(self, value: tuple[int, ...]) -> str:
        return ",".join(map(str, value))


@dataclasses.dataclass(frozen=True)
class Indices:
    """A list of whole numbers of at least 0, read into a tuple."""

    expected: str = "a list of whole numbers of at least 0"

    def read(self, value: Any) -> tuple[int, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError
        if any(isinstance(each, bool) or not isinstance(each, int) or each < 0 for each in value):
            raise ValueError
        return tuple(value)

    def plain(self, value: tuple[int, ...]) -> list[int]:
        return list(value)


@dataclasses.dataclass(frozen=True)
class Factors:
    """Factors by glob: "core.*=0.2,synchronizer.*=1.5" → {"core.*": 0.2, "synchronizer.*": 1.5}."""

    expected: str = (
        'GLOB=FACTOR with finite factors of at least 0 (float32 holds 1.2e-38 to 3.4e+38), joined by commas ("" = none)'
    )

    def read(self, value: Any) -> Mapping[str, float]:
        factors: dict[str, float] = {}
        for part in parts(value):
            glob, equals, number = (text.strip() for text in part.rpartition("="))
            factor = float(number)
            if not equals or not glob or glob in factors or not (factor == 0 or SMALLEST <= factor <= LARGEST):
                raise ValueError
            factors[glob] = factor
        return factors

    def plain(self, value: Mapping[str, float]) -> str:
        return ",".join(f"{glob}={factor!r}" for glob, factor in value.items())


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of XLA: "name=value,…" → {name: value}; true, false and whole numbers become what they say."""

    expected: str = 'name=value with XLA\'s names, joined by commas ("" = none)'

    def read(self, value: Any) -> Mapping[str, str | bool | int]:
        options: dict[str, str | bool | int] = {}
        for part in parts(value):
            name, equals, text = (each.strip() for each in part.partition("="))
            if not equals or not name or not text or name in options:
                raise ValueError
            word = {"true": True, "false": False}.get(text.lower(), text)
            options[name] = int(text) if text.isdecimal() else word
        return options

    def plain(self, value: Mapping[str, str | bool | int]) -> str:
        return ",".join(f"{name}={str(option).lower()}" for name, option in value.items())


@dataclasses.dataclass(frozen=True)
class Text(_Same):
    """Any text, or any but the empty one. `folder`: the plain name of a folder, which cannot lead to another place.
    `path`: of this machine, which an address such as gs://bucket is not.
    """

    empty: str = ""  # what the empty text means; "" = it is refused
    folder: bool = False
    path: bool = False

    @property
    def expected(self) -> str:
        if self.folder:
            return "a plain name of at most 100 letters, digits and ._- that starts with a letter or digit"
        what = "a path of this machine (a bucket: mounted as a folder)" if self.path else "a text"
        return f'{what} ("" = {self.empty})' if self.empty else f"{what} that is not empty"

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not (value.strip() or self.empty) or "\0" in value:
            raise ValueError
        if self.path:
            written = os.fsencode(value)  # a lone surrogate, which no name of a file has, is a ValueError
            if "://" in value or len(written) > 4095 or any(len(name) > 255 for name in written.split(b"/")):
                raise ValueError  # Linux takes no longer ones
        if self.folder:
            plain = all(each.isascii() and (each.isalnum() or each in "._-") for each in value)
            if not plain or not value[0].isalnum() or len(value) > 100:
                raise ValueError
        return value


def parts(value: Any) -> tuple[str, ...]:
    """The texts between commas, without blanks around them. Raises `ValueError` for what is no text."""
    if not isinstance(value, str):
        raise ValueError
    return tuple(part.strip() for part in value.split(",") if part.strip())


def of(hint: Any) -> Rule | None:
    """The rule that a type carries or implies; None for a block (a dataclass). Raises `TypeError` for any other type."""
    if typing.get_origin(hint) is Annotated:
        return typing.get_args(hint)[1]
    if typing.get_origin(hint) is typing.Literal:
        return OneOf(typing.get_args(hint))
    if hint is bool:
        return Switch()
    if dataclasses.is_dataclass(hint):
        return None
    raise TypeError(f"a field of type {hint} has no rule; annotate it with one of `settings.rules`")


def _also(none: str, why: str) -> str:
    return (f", or None for {none}" if none else "") + (f" ({why})" if why else "")


Count = Annotated[int, Whole(1)]
"""A whole number of at least 1."""
Size = Annotated[int, Whole(1, 65_536)]
"""A width of a network."""
Layers = Annotated[int, Whole(1, 256)]
Positive = Annotated[float, Number(above=0)]
NotNegative = Annotated[float, Number(at_least=0)]
Share = Annotated[float, Number(at_least=0, at_most=1)]
Momentum = Annotated[float, Number(at_least=0, below=1)]
"""A decay or a probability that 1 would make useless."""
SEED = Whole(0, 2**31 - 1, why="JAX takes 32 bits of it")
