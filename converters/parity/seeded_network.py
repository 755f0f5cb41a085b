"""Builds a network from seeded weights, through the same table that converts the real ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from converters import interpreter
from converters.parity.seeded import seeded_state_dict
from converters.table import Table
from empatheia_jax import weights

M = TypeVar("M", bound=nnx.Module)


def seeded_network(
    model: Callable[..., M],
    config: Any,
    table: Table,
    manifest: Mapping[str, Mapping[str, Any]],
    seed: int,
    float64: bool,
) -> M:
    """The model with the weights that `manifest` and `seed` describe, in float32 or float64 throughout.

    Raises: UserError for a config that no network can have, or that does not fit the tensors.
    """
    if dataclasses.is_dataclass(config):
        weights.check_values(config)
    dtype = jnp.float64 if float64 else jnp.float32

    def construct() -> M:
        return model(config, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=dtype)

    abstract = weights.flatten(weights.abstract(construct))
    flat = interpreter.load(
        seeded_state_dict(manifest, seed), table, abstract, dtype, place=lambda _, array: jnp.asarray(array)
    )
    return weights.materialize(construct, flat)


def compiled(model: nnx.Module, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(model, *arguments)` as one compiled program."""
    graph, state = nnx.split(model)
    return jax.jit(lambda state, *a: function(nnx.merge(graph, state), *a))(state, *arguments)
