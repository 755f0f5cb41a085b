"""Reads weights folders: as NumPy arrays, one parameter at a time, or as a model on its devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from orbax.checkpoint import type_handlers

from empatheia_jax.errors import UserError
from empatheia_jax.weights.checkpointer import checkpointer
from empatheia_jax.weights.config_json import config_from_dict
from empatheia_jax.weights.hashes import array_hash, file_hash, total_hash
from empatheia_jax.weights.layout import PARAMS_FOLDER, describe
from empatheia_jax.weights.lazy import Lazy
from empatheia_jax.weights.sums import SUMS_FILE, check, once
from empatheia_jax.weights.tree import abstract, flatten, materialize, unflatten

M = TypeVar("M", bound=nnx.Module)


def lazy_params(folder: str | os.PathLike) -> dict[str, Lazy]:
    """{path: `Lazy`} of a weights folder: each parameter is read from disk when asked for.

    Raises: UserError where a file of the folder differs from its checksum.
    """
    folder = Path(folder)
    _require_right(folder)
    return _lazy(folder)


def _require_right(folder: Path) -> None:
    """Raises UserError where the folder is not what was written."""
    if (folder / SUMS_FILE).exists():
        check(folder, PARAMS_FOLDER)
    else:
        once(folder, lambda: verify(folder))  # a folder of the first format: only the parameters have hashes


def _lazy(folder: Path) -> dict[str, Lazy]:

    def reader(path: str) -> Callable[[], np.ndarray]:
        return lambda: _read(folder, {path: type_handlers.RestoreArgs(restore_type=np.ndarray)})[path]

    return {
        path: Lazy(tuple(entry["shape"]), _dtype(entry["dtype"]), reader(path))
        for path, entry in describe(folder)["params"].items()
    }


def _dtype(name: str) -> np.dtype:
    try:
        return np.dtype(jax.numpy.dtype(name))
    except TypeError:
        raise UserError(f"config.json names the type {name!r:.40}, which is none; the folder is damaged") from None


def _read(folder: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        with checkpointer() as reader:
            return reader.restore(
                (folder / PARAMS_FOLDER).absolute(),
                args=ocp.args.PyTreeRestore(
                    item={path: 0 for path in arguments}, restore_args=dict(arguments), partial_restore=True
                ),
            )
    except Exception as error:  # a damaged checkpoint can fail in any way inside its reader
        reason = str(error).split("\n")[0][:200]
        raise UserError(f"{folder / PARAMS_FOLDER} cannot be read, it is damaged or incomplete: {reason}") from error


def load(folder: str | os.PathLike) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Reads a weights folder into memory.

    Returns: (kind, config as a dict, {path: NumPy array}).
    """
    description = describe(folder)
    _require_right(Path(folder))
    arguments = {path: type_handlers.RestoreArgs(restore_type=np.ndarray) for path in description["params"]}
    return description["kind"], description["config"], _read(Path(folder), arguments)


def verify(folder: str | os.PathLike) -> str:
    """Recomputes every hash of a weights folder and returns the whole's.

    Raises: UserError naming each parameter or file that differs.
    """
    folder = Path(folder)
    description = describe(folder)
    if (folder / SUMS_FILE).exists():
        check(folder, PARAMS_FOLDER)
    hashes = {path: array_hash(path, leaf.read()) for path, leaf in _lazy(folder).items()}
    wrong = [path for path, entry in description["params"].items() if hashes[path] != entry["sha256"]]
    for name, expected in description["files"].items():
        path = Path(folder) / name
        if not path.is_file() or file_hash(path) != expected:
            wrong.append(name)
    if wrong or total_hash(hashes) != description["sha256"]:
        raise UserError(f"{folder} is damaged: the SHA-256 differs of {', '.join(wrong) or 'the whole'}; make it again")
    return description["sha256"]


def restore(
    folder: str | os.PathLike,
    model: Callable[..., M],
    config: type,
    *,
    kind: str | None = None,
    dtype: Any = jax.numpy.float32,
    param_dtype: Any = None,
    shardings: Callable[[nnx.State], Mapping[str, jax.sharding.Sharding]] | None = None,
    **options: Any,
) -> M:
    """The model of a weights folder, with its weights on the device.

    Args:
      folder: a weights folder.
      model: constructor `model(config, *, rngs, dtype, param_dtype, **options)`.
      config: the config's dataclass.
      kind: architecture that is expected; None takes any.
      dtype: type of computation.
      param_dtype: type of the floating-point parameters; None keeps the type they are stored in (where it is one).
      shardings: maps the abstract state to {path: sharding}; each parameter is then read straight to its place, every
        host reading its own part. None puts all on the default device.

    Raises: UserError where the folder does not hold this model, or a file of it differs from its checksum.
    """
    description = describe(folder)
    if kind is not None and description["kind"] != kind:
        raise UserError(f"{folder} holds weights of the kind {description['kind']!r}, expected {kind!r}")
    _require_right(Path(folder))
    stored = {path: _dtype(entry["dtype"]) for path, entry in description["params"].items()}
    floats = {d for d in stored.values() if jax.numpy.issubdtype(d, jax.numpy.floating)}
    if param_dtype is None:
        param_dtype = floats.pop() if len(floats) == 1 else jax.numpy.float32
    values = config_from_dict(config, description["config"])

    def construct() -> M:
        return model(values, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=param_dtype, **options)

    made = abstract(construct)
    empty = nnx.state(made)
    unflatten({p: jax.ShapeDtypeStruct(tuple(e["shape"]), stored[p]) for p, e in description["params"].items()}, empty)
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    places = {} if shardings is None else shardings(empty)
    arguments = {
        path: type_handlers.ArrayRestoreArgs(
            sharding=places.get(path, default), global_shape=tuple(leaf.shape), dtype=leaf.dtype
        )
        for path, leaf in flatten(empty).items()
    }
    return materialize(construct, _read(Path(folder), arguments), made)
