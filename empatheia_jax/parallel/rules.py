"""From the logical axis names of parameters to mesh axes: one table.

Models name the dimensions of their parameters (`"embed"`, `"mlp"`, …; `nn.parameters.parameter`) and know nothing
about devices. Here the names become shardings: Megatron's column/row split over `tensor` (mlp, heads, vocabulary) and
ZeRO-3's split of the other large dimension over `fsdp`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

RULES: Mapping[str, str | None] = {
    "layers": None,  # the scanned axis: every device runs every layer
    "vocab": "tensor",
    "embed": "fsdp",
    "mlp": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head_dim": None,
    "lora": None,  # ranks are too small to split
    "time": None,
    "channels": None,
}


def partition_spec(names: Sequence[str | None], shape: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """The partition of an array of `shape` whose dimensions are called `names`.

    A dimension that its mesh axis does not divide stays whole, and a mesh axis is used once per array (its first
    dimension wins): 9 heads on 2 devices are replicated rather than an error, so small models run on any mesh.

    Raises:
      ValueError: a name that the table does not know, or not one name per dimension.
    """
    if len(names) != len(shape):
        raise ValueError(f"axis names {tuple(names)} for an array of shape {tuple(shape)}")
    axes: list[str | None] = []
    for name, size in zip(names, shape):
        if name is not None and name not in RULES:
            raise ValueError(f"unknown logical axis {name!r}; known: {', '.join(RULES)}")
        axis = None if name is None else RULES[name]
        divides = axis is not None and mesh.shape[axis] > 1 and size % mesh.shape[axis] == 0
        axes.append(axis if divides and axis not in axes else None)
    while axes and axes[-1] is None:
        axes.pop()
    return PartitionSpec(*axes)


def axis_names(variable: nnx.Variable) -> tuple[str | None, ...] | None:
    """The logical axis names that a variable carries, or None where it carries none."""
    names = variable.get_metadata().get("out_sharding")
    return None if names is None else tuple(names)


def shardings(state: Any, mesh: Mesh) -> dict[str, NamedSharding]:
    """Path → sharding of every variable of a module or state, abstract or real; unnamed variables are replicated.

    The shape of a quantised weight is that of the weight (`nn.int8`): its scale, one number per output channel,
    follows it where sizes allow.
    """
    state = nnx.state(state) if isinstance(state, nnx.Module) else state
    result = {}
    for path, variable in nnx.to_flat_state(state):
        names, value = axis_names(variable), variable.get_value()
        spec = PartitionSpec() if names is None else partition_spec(names, value.shape, mesh)
        result[".".join(map(str, path))] = NamedSharding(mesh, spec)
    return result


def place(value: Any, sharding: Any) -> Any:
    """Puts an array (or a pytree of arrays with a pytree of shardings) on the mesh.

    With several processes a value is either on their devices already, and moves between them, or every process holds
    the whole and cuts its own part.
    """
    if jax.process_count() == 1:
        return jax.device_put(value, sharding)

    def leaf(x, where):
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x if x.sharding.is_equivalent_to(where, x.ndim) else jax.jit(_same, out_shardings=where)(x)
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = np.asarray(jax.random.key_data(x))
            return jax.jit(lambda: jax.random.wrap_key_data(data, impl=jax.random.key_impl(x)), out_shardings=where)()
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    return jax.tree.map(leaf, value, sharding)


def _same(x):
    return x


def match_sharding(value: Any, sharding: NamedSharding) -> Any:
    """The sharding for every leaf of `value`: a leaf with a size-1 or missing dimension keeps that one whole."""

    def leaf(x):
        spec = list(sharding.spec) + [None] * (len(x.shape) - len(sharding.spec))
        kept = [axis if size > 1 else None for axis, size in zip(spec, x.shape)]
        return NamedSharding(sharding.mesh, PartitionSpec(*kept))

    leaves = jax.tree.leaves(value)
    if len(leaves) == 1 and leaves[0] is value:
        return sharding
    return jax.tree.map(leaf, value)
