"""The mesh of devices, and how a batch lies on it.

Every step runs on a mesh with the three axes `data × fsdp × tensor`, one device included. A batch is split over
`data` and `fsdp`; weights are split over `fsdp` and `tensor` (`parallel.rules`). Collectives are XLA's: `jax.jit`
with `NamedSharding` (what used to be called pjit), axis types Auto.
"""

from __future__ import annotations

import dataclasses
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


def local_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """The mesh of one process for work that it does alone: over its own devices, split as far as they allow.

    With one process it is `make_mesh`.
    """
    if jax.process_count() == 1:
        return make_mesh(data, fsdp, tensor)
    devices = jax.local_devices()
    _, fsdp, tensor = mesh_shape(data, fsdp, tensor, jax.device_count())
    tensor = math.gcd(tensor, len(devices))
    return make_mesh(-1, math.gcd(fsdp, len(devices) // tensor), tensor, devices)


def batch_shards(mesh: Mesh) -> int:
    """Into how many parts a batch is split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of every global batch that one process builds: the shards `numbers`, ascending, out of `count` equal ones.

    It follows from where the process's devices lie on the mesh (`batch_part`), not from the process's number: processes
    that share a shard, because the axis `tensor` crosses them, all build the same rows.
    """

    numbers: tuple[int, ...] = (0,)
    count: int = 1

    def rows(self, size: int) -> list[int]:
        """The rows of a global batch of `size` examples that belong to this part, ascending.

        Raises:
          UserError: the batch does not divide into `count` shards.
        """
        each, rest = divmod(size, self.count)
        if rest:
            raise UserError(
                f"a batch of {size} examples does not divide over data×fsdp = {self.count} parts; use a multiple of "
                f"{self.count}"
            )
        return [row for number in self.numbers for row in range(number * each, (number + 1) * each)]

    def whole(self, size: int) -> int:
        """Rows of the global batch of which `size` rows belong to this part.

        Raises:
          UserError: they are not the same number of rows in each shard.
        """
        each, rest = divmod(size, len(self.numbers))
        if rest:
            raise UserError(
                f"{size} rows do not divide over the {len(self.numbers)} shards of this process; the global batch must "
                f"divide over data×fsdp = {self.count} parts; use a multiple of {self.count}"
            )
        return each * self.count


WHOLE = Part()
"""The part of a process that is alone: every row."""


def batch_part(mesh: Mesh, process: int | None = None) -> Part:
    """The part of a batch whose shards lie on the devices of a process (None = this one)."""
    process = jax.process_index() if process is None else process
    owners = np.vectorize(lambda device: device.process_index, otypes=[int])(mesh.devices)
    holds = (owners == process).reshape(batch_shards(mesh), -1).any(axis=1)
    return Part(tuple(np.flatnonzero(holds).tolist()), len(holds))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of a value that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: axis 0 over `data` and `fsdp`, the rest whole."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Places a host batch (a pytree whose arrays have a leading batch axis) on the mesh.

    With several processes every process passes the rows of its own part (`batch_part`), in ascending order.

    Raises:
      UserError: the global batch does not divide over the mesh.
    """
    sharding, part = batch_sharding(mesh), batch_part(mesh)

    def put(x):
        x = np.asarray(x)
        size = part.whole(len(x))
        place = {row: here for here, row in enumerate(part.rows(size))}

        def shard(index):
            rows = range(size)[index[0]]
            return x[place[rows[0]] : place[rows[0]] + len(rows)]

        return jax.make_array_from_callback((size, *x.shape[1:]), sharding, shard)

    return jax.tree.map(put, batch)
