"""Deterministic stand-in weights, so that two frameworks can be compared without a checkpoint.

Every tensor is a pure function of (seed, its checkpoint key, its shape). Whoever knows a *manifest*,
`{key: {"shape": […], "dtype": "float32"}}`, can rebuild the same checkpoint with NumPy alone. The recipe is the one
that the reference vectors were made with; it may not change.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes  # noqa: F401  (makes NumPy know "bfloat16" by name)
import numpy as np

_GAIN_NAMES = ("weight", "gamma", "scale", "weight_g", "original0")
_NORM_GAIN_NAMES = ("weight_g", "original0")


def seeded_tensor(key: str, shape, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Value of the checkpoint tensor `key`: normal, scaled by its role so that deep random networks stay finite.

    Integer and boolean tensors are zero. Matrices and kernels are divided by the square root of their fan-in (all
    axes but the first); gains lie around 1, biases around 0, variances are positive.
    """
    shape = tuple(int(n) for n in shape)
    if dtype.startswith(("int", "uint")) or dtype == "bool":
        return np.zeros(shape, dtype=dtype)
    rng = np.random.default_rng([seed, zlib.crc32(key.encode("utf-8"))])
    x = rng.standard_normal(shape, dtype=np.float32)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_var":
        x = 0.5 + 0.5 * np.abs(x)
    elif leaf == "running_mean":
        x = 0.05 * x
    elif leaf in _NORM_GAIN_NAMES or leaf.startswith("alpha") or ".alpha" in key:
        x = 1.0 + 0.1 * np.abs(x)
    elif x.ndim >= 2:
        x = x / np.sqrt(np.prod(shape[1:]))
    elif leaf in _GAIN_NAMES:
        x = 1.0 + 0.1 * x
    else:
        x = 0.05 * x
    return np.ascontiguousarray(x, dtype=np.float32).astype(np.dtype(dtype))


def seeded_state_dict(manifest: Mapping[str, Mapping[str, Any]], seed: int = 0) -> dict[str, np.ndarray]:
    """Every tensor of `manifest`, in its order."""
    return {k: seeded_tensor(k, v["shape"], v.get("dtype", "float32"), seed) for k, v in manifest.items()}
