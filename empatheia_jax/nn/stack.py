"""Running a stack of equal layers: scanned (one compiled body) or unrolled, over stacked or separate weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from empatheia_jax.nn.sharding import over_batch

REMAT_POLICIES: dict[str, Any] = {
    "nothing": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
"""Names for `remat=`: `nothing` recomputes nothing, `full` recomputes everything, `dots` keeps matrix products."""


def layer_slice(state, index: int):
    """The weights of one layer out of a stacked state."""
    return jax.tree.map(lambda leaf: leaf[index], state)


def unstack(module: nnx.Module, count: int) -> list[Any]:
    """Stacked weights of `module` as one pytree per layer. Copies: meant for inside a jitted decoding function, where
    `platform.separate_layers` says so.
    """
    _, state = nnx.split(module)
    return [layer_slice(state, index) for index in range(count)]


def unstack_in_place(module: nnx.Module, count: int, place: jax.sharding.Sharding | None = None) -> list[Any]:
    """`unstack` outside of a program. Weights that lie on one CPU are not copied: a layer's are views of the stack, so that they
    are held once, and nothing is compiled. Others are copied by a program.

    place: on that CPU, what the layers' weights are bound to; None = to nothing.
    """
    graph, state = nnx.split(module)
    leaves, tree = jax.tree.flatten(state)
    devices = {device for leaf in leaves if isinstance(leaf, jax.Array) for device in leaf.devices()}
    if len(devices) > 1 or any(device.platform != "cpu" for device in devices):
        return jax.jit(lambda state: unstack(nnx.merge(graph, state), count))(state)
    stacks = [np.asarray(leaf) for leaf in leaves]
    return jax.device_put(
        [jax.tree.unflatten(tree, [stack[index] for stack in stacks]) for index in range(count)], place
    )


def run_layers(
    module: nnx.Module,
    count: int,
    body: Callable[[Any, Any, Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any = None,
    *,
    remat: str = "nothing",
    scan: bool = True,
    weights: Sequence[Any] | None = None,
) -> tuple[Any, Any]:
    """Calls `body(layer, index, carry, x) -> (carry, y)` for the `count` layers stacked in `module`; `index` is a Python
    integer where the layers are unrolled and nothing is recomputed.

    xs: pytree with leading axis `count`, or None. remat: a key of `REMAT_POLICIES`. scan: one body for all layers;
    otherwise a Python loop, for debugging and for decoding on a CPU, where slicing a stack copies the weights at
    every token.
    weights: the layers' weights already separate (see `unstack`); implies a Python loop.
    Returns the last carry and the stacked `y`.
    """
    if remat not in REMAT_POLICIES:
        raise ValueError(f"remat={remat!r}; expected one of {sorted(REMAT_POLICIES)}")
    graphdef, state = nnx.split(module)

    def step(carry, inputs):
        index, layer_state, x = inputs
        carry, y = body(nnx.merge(graphdef, layer_state), index, over_batch(carry), x)
        return over_batch(carry), y

    if remat != "nothing":
        step = jax.checkpoint(step, policy=REMAT_POLICIES[remat], prevent_cse=not scan)
    if scan and weights is None:
        return jax.lax.scan(step, carry, (jnp.arange(count, dtype=jnp.int32), state, xs))
    ys = []
    for index in range(count):
        layer_state = layer_slice(state, index) if weights is None else weights[index]
        x = None if xs is None else layer_slice(xs, index)
        carry, y = step(carry, (index, layer_state, x))
        ys.append(y)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *ys)
