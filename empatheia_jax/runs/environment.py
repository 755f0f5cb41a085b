"""What a run runs on, for its report: devices, processes, mesh, the machine, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import jax
from jax.sharding import Mesh

PACKAGES = ("empatheia-jax", "jax", "jaxlib", "flax", "optax")


def describe(mesh: Mesh) -> dict[str, Any]:
    """Name → what is found; what is unknown is left out."""
    device = mesh.devices.flat[0]
    found: dict[str, Any] = {"devices": f"{mesh.devices.size} × {device.device_kind} ({device.platform})"}
    if memory := (device.memory_stats() or {}).get("bytes_limit"):
        found["memory of a device"] = f"{memory / 2**30:.0f} GiB"
    found |= {
        "processes": jax.process_count(),
        "mesh": " × ".join(f"{name} {size}" for name, size in mesh.shape.items()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # used from a folder, without being installed
            continue
    return found
