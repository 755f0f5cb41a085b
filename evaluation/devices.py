"""Pictures over the devices of this process: what a program does to each alone is done by all devices at once."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def spread(*arrays: np.ndarray) -> tuple[jax.Array, ...]:
    """The arrays, their first axis dealt to the local devices where it divides; values do not depend on how many there are."""
    devices = jax.local_devices()
    if len(devices) == 1 or any(len(each) % len(devices) for each in arrays):
        return tuple(jax.numpy.asarray(each) for each in arrays)
    sharding = NamedSharding(Mesh(np.array(devices), ("pictures",)), PartitionSpec("pictures"))
    return tuple(jax.device_put(each, sharding) for each in arrays)
