"""A module's parameters by path, and back: `layers.attention.query.kernel` is the place in the module, joined by dots."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
from flax import nnx

from empatheia_jax.errors import UserError

M = TypeVar("M", bound=nnx.Module)

# Variables that are no weights: random streams, attention caches, recorded activations.
_NO_WEIGHTS = nnx.Any(nnx.RngState, nnx.Cache, nnx.Intermediate)


def _state(module_or_state: nnx.Module | nnx.State) -> nnx.State:
    return module_or_state if isinstance(module_or_state, nnx.State) else nnx.state(module_or_state)


def _weights_of(state: nnx.State) -> Iterator[tuple[str, nnx.Variable]]:
    for path, variable in nnx.to_flat_state(state):
        if not _NO_WEIGHTS(path, variable):
            yield ".".join(map(str, path)), variable


def flatten(module_or_state: nnx.Module | nnx.State) -> dict[str, Any]:
    """{path: array, or `jax.ShapeDtypeStruct` of an abstract module}: parameters and buffers, no random state."""
    return {path: variable.get_value() for path, variable in _weights_of(_state(module_or_state))}


def unflatten(flat: Mapping[str, Any], like: nnx.Module | nnx.State) -> nnx.State:
    """State of the structure of `like` with the values of `flat`; other variables stay as they are.

    Raises: UserError where a path is missing or unknown, or a shape differs; all are named.
    """
    state = _state(like)
    ours = dict(_weights_of(state))
    problems = [f"missing: {path}" for path in ours if path not in flat]
    problems += [f"unknown: {path}" for path in flat if path not in ours]
    problems += [
        f"misshapen: {path}: found {tuple(flat[path].shape)}, expected {tuple(variable.get_value().shape)}"
        for path, variable in ours.items()
        if path in flat and tuple(flat[path].shape) != tuple(variable.get_value().shape)
    ]
    if problems:
        shown = problems[:20] + ([f"… and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise UserError("the parameters do not fit the model:\n  " + "\n  ".join(shown))
    result = []
    for path, variable in nnx.to_flat_state(state):
        name = ".".join(map(str, path))
        result.append((path, variable.replace(flat[name]) if name in ours else variable))
    return nnx.from_flat_state(result)


def update(module: nnx.Module, flat: Mapping[str, Any]) -> None:
    """Puts `flat` into `module`, in place; strict as `unflatten`."""
    nnx.update(module, unflatten(flat, module))


def overlay(model: nnx.Module, flat: Mapping[str, Any]) -> None:
    """Puts trained leaves (path → array) into a model, in place. Raises `UserError` for a path that the model lacks."""
    variables = {".".join(map(str, path)): (path, variable) for path, variable in nnx.to_flat_state(nnx.state(model))}
    unknown = sorted(set(flat) - set(variables))
    if unknown:
        raise UserError(
            f"the model has no parameter {unknown[0]!r} (and {len(unknown) - 1} more); the run is another one"
        )
    places = {name: variables[name] for name in flat}
    nnx.update(model, nnx.from_flat_state([(places[name][0], places[name][1].replace(v)) for name, v in flat.items()]))


_NEXT_KEY = nnx.RngStream.__call__


def _next_key(stream: nnx.RngStream) -> jax.Array:
    """The next key of a stream: flax's own, but for how the count is set.

    flax compares the shardings of the old and the new count. A traced value has none, and JAX says so in a message for which it
    goes through all operations that were traced before: the time for a network grew with the square of its parameters.
    """
    key = jax.random.fold_in(stream.key[...], stream.count[...])
    stream.count.set_value(stream.count[...] + 1)
    return key


def _any_key(stream: nnx.RngStream) -> jax.Array:
    """Any key of a stream, where only shapes are looked at: nothing is computed."""
    return stream.key[...]


@contextlib.contextmanager
def _quick_keys(next_key: Callable[[nnx.RngStream], jax.Array] = _next_key) -> Iterator[None]:
    nnx.RngStream.__call__ = next_key  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        nnx.RngStream.__call__ = _NEXT_KEY  # type: ignore[assignment,method-assign]


_SHAPES_ONLY: ContextVar[bool] = ContextVar("shapes_only", default=False)


def shapes_only() -> bool:
    """Whether a module is made for its shapes alone, so that `nn.parameters` need not trace how its values are drawn."""
    return _SHAPES_ONLY.get()


def abstract(construct: Callable[[], M]) -> M:
    """The module that `construct` makes, with shapes and types for its values: `nnx.eval_shape`, in a fraction of its time."""
    token = _SHAPES_ONLY.set(True)
    try:
        with _quick_keys(_any_key):
            return nnx.eval_shape(construct)
    finally:
        _SHAPES_ONLY.reset(token)


def materialize(
    construct: Callable[[], M],
    flat: Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]],
    empty: M | None = None,
) -> M:
    """The module that `construct` makes, with the values of `flat`, without ever allocating its initial weights.

    Args:
      construct: makes the module.
      flat: path → value; or a function of the abstract parameters (path → shape and type), for values that follow from them.
      empty: what `abstract(construct)` gave, where that is at hand.
    """
    empty = abstract(construct) if empty is None else empty
    if callable(flat):
        flat = flat(flatten(empty))
    graph, state = nnx.split(empty)
    state = unflatten(flat, state)
    if any(_NO_WEIGHTS(path, variable) for path, variable in nnx.to_flat_state(state)):
        # Random streams of dropout and the like: compiled alone, so that the weights' initial values are never
        # computed.
        with _quick_keys():
            rest = jax.jit(lambda: nnx.state(construct(), _NO_WEIGHTS))()
        state = nnx.merge_state(state, rest)
    return nnx.merge(graph, state)
