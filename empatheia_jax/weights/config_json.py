"""Configs, which are frozen dataclasses, as JSON and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
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


def _from_json(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):
        options = [a for a in arguments if a is not type(None)]
        return _from_json(options[0], value) if len(options) == 1 else value
    if dataclasses.is_dataclass(hint):
        return config_from_dict(hint, value)
    if origin is tuple:
        inner = arguments[:1] * len(value) if arguments[1:] == (Ellipsis,) else arguments
        return tuple(_from_json(a, v) for a, v in zip(inner, value))
    if origin is list:
        return [_from_json(arguments[0], v) for v in value]
    if origin is dict:
        return {k: _from_json(arguments[1], v) for k, v in value.items()}
    return value
