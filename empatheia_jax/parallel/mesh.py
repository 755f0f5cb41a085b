"""The mesh of devices, and how a batch lies on it.

Every step runs on a mesh with the three axes `data × fsdp × tensor`, one device included. A batch is split over
`data` and `fsdp`; weights are split over `fsdp` and `tensor` (`parallel.rules`). Collectives are XLA's: `jax.jit`
with `NamedSharding` (what used to be called pjit), axis types Auto.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from empatheia_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")


def mesh_shape(data: int, fsdp: int, tensor: int, count: int) -> tuple[int, int, int]:
    """Sizes of the three axes for `count` devices; at most one may be -1, which takes what the others leave.

    Raises:
      UserError: the sizes do not multiply to the number of devices.
    """
    sizes = [data, fsdp, tensor]
    wanted = "×".join(f"{name}={size}" for name, size in zip(AXES, sizes))
    if any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1:
        raise UserError(f"mesh {wanted}: sizes must be positive, with at most one -1 (= whatever is left)")
    fixed = math.prod(size for size in sizes if size != -1)
    if -1 in sizes:
        if count % fixed:
            raise UserError(f"mesh {wanted} does not divide {count} devices; change config.mesh.*")
        sizes[sizes.index(-1)] = count // fixed
    elif fixed != count:
        raise UserError(f"mesh {wanted} needs {fixed} devices, {count} are visible; change config.mesh.*")
    return sizes[0], sizes[1], sizes[2]


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh `data × fsdp × tensor` over all devices of all processes (or over `devices`).

    `jax.make_mesh` orders devices so that the last axis has the fastest links.
    """
    devices = jax.devices() if devices is None else list(devices)
    shape = mesh_shape(data, fsdp, tensor, len(devices))
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def batch_shards(mesh: Mesh) -> int:
    """Into how many parts a batch is split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of a value that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: axis 0 over `data` and `fsdp`, the rest whole."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Places a host batch (a pytree whose arrays have a leading batch axis) on the mesh.

    With several processes every process passes its own rows; together, in the order of the processes, they are the
    global batch.

    Raises:
      UserError: the global batch does not divide over the mesh.
    """
    sharding, shards, processes = batch_sharding(mesh), batch_shards(mesh), jax.process_count()

    def put(x):
        x = np.asarray(x)
        if (x.shape[0] * processes) % shards:
            raise UserError(
                f"a batch of {x.shape[0] * processes} examples does not divide over data×fsdp = {shards} parts; "
                f"use a multiple of {shards}"
            )
        return jax.make_array_from_process_local_data(sharding, x)

    return jax.tree.map(put, batch)
