"""How the suite checks the shapes of signatures (the import hook of `tests/conftest.py`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

F = TypeVar("F", bound=Callable)
_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for a type checker


def modules(root: Path, *packages: str) -> list[str]:
    """The modules of these packages below `root` that state shapes."""
    paths = (path for package in packages for path in sorted(root.joinpath(*package.split(".")).rglob("*.py")))
    stating = (path for path in paths if "\nfrom jaxtyping import" in path.read_text())
    return [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in stating]


def checked(function: F) -> F:
    """Checks what a function takes and gives, if its signature states a shape; the type checker sees to all other types."""
    return _checked(function) if any(map(_states_a_shape, function.__annotations__.values())) else function


def _states_a_shape(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, AbstractArray) or any(map(_states_a_shape, get_args(hint)))
