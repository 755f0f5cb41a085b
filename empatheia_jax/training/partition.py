"""Which leaves of a model train: one filter, its complement is frozen. Split first, differentiate after.

A `Partition` cuts a model into a graph definition, the trainable leaves (float32) and the frozen leaves (whatever dtype
they were loaded in), both as flat dictionaries path → array. Gradients, optimizer state and donated buffers then exist
for the trainable ones only, and a checkpoint of them is a dictionary with readable keys.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from empatheia_jax.errors import UserError

Filter = str | type | Callable[[tuple, Any], bool]


def path_name(path: tuple) -> str:
    """The name of a leaf: its path joined by dots."""
    return ".".join(map(str, path))


def _matches(chosen: Filter, path: tuple, variable: nnx.Variable) -> bool:
    if isinstance(chosen, str):
        return fnmatch.fnmatchcase(path_name(path), chosen)
    return nnx.filterlib.to_predicate(chosen)(path, variable)


def _leaf_key(key: jax.Array, path: str, shape: tuple[int, ...]) -> jax.Array:
    number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big")
    key = jax.random.fold_in(key, number)
    return jax.random.split(key, shape) if shape else key


@dataclasses.dataclass(frozen=True)
class Partition:
    """A model cut in two. `merge` puts it together again; `variables` are empty shells that keep kind and metadata."""

    graphdef: nnx.GraphDef
    variables: tuple[tuple[tuple, nnx.Variable], ...]
    trainable: dict[str, Any]
    frozen: dict[str, Any]

    def merge(self, trainable: dict[str, Any], frozen: dict[str, Any], rng: jax.Array | None = None) -> Any:
        """The model with these leaves. With `rng`, the keys of modules that draw random numbers come from it.

        What a forward pass writes into the merged model (counters of random streams) is forgotten with it: a step
        depends on its inputs only, which is what makes a resumed run equal to one that was never stopped.
        """
        leaves = []
        for path, variable in self.variables:
            name = path_name(path)
            value = trainable[name] if name in trainable else frozen[name]
            if rng is not None and isinstance(variable, nnx.RngKey):
                value = _leaf_key(rng, name, value.shape)
            leaves.append((path, variable.replace(value)))
        return nnx.merge(self.graphdef, nnx.from_flat_state(leaves))

    def abstract(self) -> Partition:
        """The same partition with shapes and dtypes in place of arrays, which are released."""
        shape = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)  # noqa: E731
        return dataclasses.replace(self, trainable=shape(self.trainable), frozen=shape(self.frozen))


def split(model: nnx.Module, trainable: Sequence[Filter] | Filter) -> Partition:
    """Cuts a model (real, or abstract from `nnx.eval_shape`) by what trains.

    A filter is a glob on the dotted path (`"llm.layers.*.lora*"`), a variable type (`nnx.LoRAParam`) or any callable
    `(path, variable) -> bool`; several are joined by "or". Only parameters (`nnx.Param` and its subclasses) can train.
    Trainable leaves in less than float32 are widened to float32: they are the master copy that the optimizer moves.

    Raises:
      UserError: a filter that matches no parameter.
    """
    filters = [trainable] if isinstance(trainable, str | type) or callable(trainable) else list(trainable)
    graphdef, state = nnx.split(model)
    flat = list(nnx.to_flat_state(state))
    parameters = [(path, variable) for path, variable in flat if isinstance(variable, nnx.Param)]
    chosen: set[str] = set()
    for item in filters:
        names = {path_name(path) for path, variable in parameters if _matches(item, path, variable)}
        if not names:
            examples = ", ".join(path_name(path) for path, _ in parameters[:3])
            raise UserError(
                f"the trainable filter {item!r} matches none of the {len(parameters)} parameters "
                f"(their paths look like {examples}); correct the pattern"
            )
        chosen |= names
    shells, train, frozen = [], {}, {}
    for path, variable in flat:
        name, value = path_name(path), variable.get_value()
        if name in chosen:
            train[name] = _widen(value)
        else:
            frozen[name] = value
        shells.append((path, variable.replace(jax.ShapeDtypeStruct(value.shape, value.dtype))))
    return Partition(graphdef, tuple(shells), train, frozen)


def _widen(value):
    if not jnp.issubdtype(value.dtype, jnp.floating) or jnp.finfo(value.dtype).bits >= 32:
        return value
    if isinstance(value, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(value.shape, jnp.float32)
    return value.astype(jnp.float32)
