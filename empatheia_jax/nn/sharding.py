"""How activations lie on the mesh, said once by whoever compiles a program and asked for by networks that know no mesh.

Weights that are split over many devices (`parallel.rules`) tempt the partitioner to split activations the same way, which
then move between devices many times a layer. Told that activations stay split by example, it gathers a layer's weights instead.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

_BATCH: ContextVar[NamedSharding | None] = ContextVar("batch_sharding", default=None)


@contextlib.contextmanager
def batch_split_by(sharding: NamedSharding | None) -> Iterator[None]:
    """While a program is traced: axis 0 of activations lies as axis 0 of `sharding`."""
    token = _BATCH.set(sharding)
    try:
        yield
    finally:
        _BATCH.reset(token)


def over_batch(x: Any) -> Any:
    """`x` (B, …), split by example where `batch_split_by` says so and B divides; anything but an array comes back as it is."""
    sharding = _BATCH.get()
    if sharding is None or not isinstance(x, jax.Array) or not x.ndim:
        return x
    axes = sharding.spec[0]
    parts = math.prod(sharding.mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes))
    if parts == 1 or x.shape[0] % parts:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(sharding.mesh, PartitionSpec(axes)))
