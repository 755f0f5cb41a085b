"""What the trainings of the drawn face share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from empatheia_jax.dreamtalk.settings import DrawnFace
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.settings import plain


def average(decay: float) -> Callable[[jax.Array], jax.Array]:
    """Decay of a moving average by steps done: it forgets the first weights quickly, and then keeps to `decay`."""
    return lambda step: jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def settings(config: DrawnFace, *prefixes: str) -> dict[str, Any]:
    """The values of a config that one training depends on: seed, average, and every key that starts with a prefix."""
    return {key: value for key, value in plain(config).items() if key.startswith(("seed", "average", *prefixes))}


def named(config: DrawnFace, name: str) -> dict[str, Any]:
    """The config as plain values, with the name of the run."""
    return {"name": name, **plain(config)}


def one_device() -> Mesh:
    """These networks are small: they train on the first device."""
    return make_mesh(1, 1, 1, devices=jax.devices()[:1])
