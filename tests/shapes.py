"""How the suite checks the shapes of signatures (the import hook of `tests/conftest.py`)."""

from __future__ import annotations

import functools
import operator
import re
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

F = TypeVar("F", bound=Callable)
_AXIS = re.compile(r"[*#?]*([A-Za-z_]\w*|\d*)|\.\.\.")
_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for a type checker


def modules(root: Path, *packages: str) -> list[str]:
    """The modules of these packages below `root` that state shapes."""
    paths = (path for package in packages for path in sorted(root.joinpath(*package.split(".")).rglob("*.py")))
    stating = (path for path in paths if "\nfrom jaxtyping import" in path.read_text())
    return [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in stating]


def checked(function: F) -> F:
    """Checks what a function takes and gives, if its signature states a shape; the type checker sees to all other types.

    Constructors are left out: JAX rebuilds containers of arrays with whatever it maps over, descriptions and None among them.
    """
    hints = function.__annotations__
    if function.__name__ == "__init__" or not any(map(_states_a_shape, hints.values())):
        return function
    function.__annotations__ = {name: _of_numpy_too(hint) for name, hint in hints.items()}
    return _checked(function)


def _states_a_shape(hint: Any) -> bool:
    return (
        isinstance(hint, type) and issubclass(hint, AbstractArray) or any(map(_states_a_shape, typing.get_args(hint)))
    )


def _of_numpy_too(hint: Any) -> Any:
    """The same hint for arrays of NumPy, which JAX takes wherever it takes its own.

    A size that a signature computes (`T*stride`) tells a reader something, but its parts need not be axes: it may be any.
    """
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        kind = jax.Array | np.ndarray | np.generic if hint.array_type is jax.Array else hint.array_type
        return hint.dtype[kind, " ".join(axis if _AXIS.fullmatch(axis) else "_" for axis in hint.dim_str.split())]
    if not _states_a_shape(hint):
        return hint
    inner, origin = tuple(map(_of_numpy_too, typing.get_args(hint))), typing.get_origin(hint)
    return functools.reduce(operator.or_, inner) if origin in (types.UnionType, typing.Union) else origin[inner]
