"""Configs, which are frozen dataclasses, as JSON and back."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from empatheia_jax.errors import UserError


def config_to_dict(config: Any) -> dict[str, Any]:
    """A (nested) dataclass as what JSON can hold."""
    return dataclasses.asdict(config)


def config_from_dict(cls: type, values: Mapping[str, Any]) -> Any:
    """Builds the dataclass `cls` from what `config_to_dict` gave, through JSON.

    Raises: UserError for a field that `cls` does not have or that is missing.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    unknown = sorted(set(values) - set(fields))
    missing = sorted(
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )
    if unknown or missing:
        raise UserError(
            f"{cls.__name__}: unknown fields {unknown}, missing fields {missing}; convert the weights again"
        )
    hints = typing.get_type_hints(cls)
    return cls(**{name: _from_json(hints[name], value) for name, value in values.items()})


LARGEST = 1 << 31  # of any size in a config
MOST_LAYERS = 1_000
"""A layer that is applied many times over (ALBERT's) has tensors for one, which say nothing of how often."""
_LAYERS = ("passes", "layers", "num_layers", "num_decoder_layers", "num_hidden_layers", "n_layer")
_POSITIONS = ("positions", "max_position_embeddings")


def check_values(config: Any) -> None:
    """Checks that every field of a (nested) config dataclass has the type that it is declared with, and that numbers are
    finite and from 0 up to 2^31; that there is a layer and a position, and that what norms add to a variance is small.

    Raises: UserError that names every field that has not.
    """
    wrong = list(_wrong_values(type(config).__name__, type(config), config))
    if wrong:
        raise UserError(f"the config cannot be used: {'; '.join(wrong[:10])}")


def _wrong_values(name: str, hint: Any, value: Any) -> Iterator[str]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = [list(_wrong_values(name, option, value)) for option in arguments]
        if all(found):
            yield from found[0]
    elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, hint):
            yield f"{name} is a {type(value).__name__}, expected {hint.__name__}"
            return
        hints = typing.get_type_hints(hint)
        for field in dataclasses.fields(hint):
            yield from _wrong_values(f"{name}.{field.name}", hints[field.name], getattr(value, field.name))
    elif origin in (tuple, list):
        if not isinstance(value, tuple | list):
            yield f"{name} is a {type(value).__name__}, expected a list"
            return
        every = origin is list or arguments[1:] == (Ellipsis,)
        if not every and len(value) != len(arguments):
            yield f"{name} has {len(value)} entries, expected {len(arguments)}"
            return
        for place, inner in enumerate(value):
            yield from _wrong_values(f"{name}[{place}]", arguments[0] if every else arguments[place], inner)
    elif hint in (int, float):
        kinds = int if hint is int else int | float
        if not isinstance(value, kinds) or isinstance(value, bool):
            yield f"{name} is {value!r:.40}, expected {'a whole number' if hint is int else 'a number'}"
        elif not (math.isfinite(value) and 0 <= value <= LARGEST):
            yield f"{name} is {value!r:.40}, expected a number from 0 to 2^31"
        elif expected := _unusable(name.rpartition(".")[2], value):
            yield f"{name} is {value!r:.40}, expected {expected}"
    elif (hint in (bool, str, types.NoneType)) and not isinstance(value, hint):
        yield f"{name} is {value!r:.40}, expected {'nothing' if hint is types.NoneType else hint.__name__}"


def _unusable(field: str, value: float) -> str:
    """What is expected of a field whose value no tensor's shape proves; "" where it is so."""
    if field in _LAYERS and not 1 <= value <= MOST_LAYERS:
        return f"1 to {MOST_LAYERS} layers"
    if field in _POSITIONS and value < 1:
        return "at least 1 position"
    if (field == "eps" or field.endswith("_eps")) and not 0 < value < 1:
        return "a number between 0 and 1 (an epsilon of 1 or more makes nothing of what is normalised)"
    return ""


def _from_json(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):
        options = [a for a in arguments if a is not type(None)]
        return _from_json(options[0], value) if len(options) == 1 else value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return config_from_dict(hint, value)
    if origin is tuple:
        inner = arguments[:1] * len(value) if arguments[1:] == (Ellipsis,) else arguments
        return tuple(_from_json(a, v) for a, v in zip(inner, value))
    if origin is list:
        return [_from_json(arguments[0], v) for v in value]
    if origin is dict:
        return {k: _from_json(arguments[1], v) for k, v in value.items()}
    return value
