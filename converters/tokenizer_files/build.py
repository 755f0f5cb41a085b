"""Calls the `tokenizers` library so that what it refuses is one line for the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from empatheia_jax.errors import UserError

T = TypeVar("T")


def build(name: str, make: Callable[[], T]) -> T:
    """What `make` makes.

    Raises: UserError where the library refuses the vocabulary of `name`. It raises bare `Exception`s, and where its Rust
      code panics a `BaseException` of its own.
    """
    try:
        return make()
    except UserError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{name}: its vocabulary does not make a tokenizer: {error}") from error
