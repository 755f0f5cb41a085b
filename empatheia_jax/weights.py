"""Weights folders: the one layout that our models read.

    NAME/config.json   what the model is: kind, config, provenance, and every parameter's shape, type and SHA-256
    NAME/params/       the parameters, by path, as an orbax checkpoint
    NAME/…             files that belong to the model (tokenizer.json, a voice table), with their SHA-256

A parameter's path is its place in the module, joined by dots (`layers.attention.query.kernel`). A folder appears
whole or not at all: it is written beside its place and renamed. Parameters pass through memory one at a time in both
directions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import types
import typing
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from orbax.checkpoint import type_handlers

from empatheia_jax.errors import UserError

FORMAT = 1
CONFIG_FILE = "config.json"
PARAMS_FOLDER = "params"
ROOT_VARIABLE = "EMPATHEIA_WEIGHTS"
SHIPPED = Path(__file__).parent / "dreamtalk" / "assets"  # small weights that are part of the package
CHUNK_BYTES = 32 << 20  # on disk: bounds the writer's memory, and lets a host read only its own part of a parameter

# Variables that are no weights: random streams, attention caches, recorded activations.
_NO_WEIGHTS = nnx.Any(nnx.RngState, nnx.Cache, nnx.Intermediate)


@dataclasses.dataclass(frozen=True)
class Lazy:
    """An array that is made when asked for: its shape and type are known, `read()` computes or loads it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


def read_leaf(leaf: Any) -> np.ndarray:
    """The NumPy array of an array or a `Lazy`."""
    return leaf.read() if isinstance(leaf, Lazy) else np.asarray(leaf)


def root() -> Path:
    """Folder that holds the weights folders: `$EMPATHEIA_WEIGHTS`, else `weights` below the working directory."""
    return Path(os.environ.get(ROOT_VARIABLE, "weights"))


def find(name: str | os.PathLike) -> Path:
    """The weights folder of that name below `root()`, the path itself where it is one, or else one that ships with us.

    Raises: UserError where there is none.
    """
    for folder in (Path(name), root() / name, SHIPPED / name):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise UserError(
        f"no weights folder {str(name)!r} (looked at {name} and {root() / name}); make it with "
        f"`python -m converters.convert`, or point ${ROOT_VARIABLE} at the folder that holds it"
    )


# ---------------------------------------------------------------- parameters of a module


def _state(module_or_state: nnx.Module | nnx.State) -> nnx.State:
    return module_or_state if isinstance(module_or_state, nnx.State) else nnx.state(module_or_state)


def _weights_of(state: nnx.State) -> Iterator[tuple[str, nnx.Variable]]:
    for path, variable in nnx.to_flat_state(state):
        if not _NO_WEIGHTS(path, variable):
            yield ".".join(map(str, path)), variable


def flatten(module_or_state: nnx.Module | nnx.State) -> dict[str, Any]:
    """{path: array, or `jax.ShapeDtypeStruct` of an abstract module}: parameters and buffers, no random state."""
    return {path: variable.get_value() for path, variable in _weights_of(_state(module_or_state))}


def unflatten(flat: Mapping[str, Any], like: nnx.Module | nnx.State) -> nnx.State:
    """State of the structure of `like` with the values of `flat`; other variables stay as they are.

    Raises: UserError where a path is missing or unknown, or a shape differs; all are named.
    """
    state = _state(like)
    ours = dict(_weights_of(state))
    problems = [f"missing: {path}" for path in ours if path not in flat]
    problems += [f"unknown: {path}" for path in flat if path not in ours]
    problems += [
        f"misshapen: {path}: found {tuple(flat[path].shape)}, expected {tuple(variable.get_value().shape)}"
        for path, variable in ours.items()
        if path in flat and tuple(flat[path].shape) != tuple(variable.get_value().shape)
    ]
    if problems:
        shown = problems[:20] + ([f"… and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise UserError("the parameters do not fit the model:\n  " + "\n  ".join(shown))
    result = []
    for path, variable in nnx.to_flat_state(state):
        name = ".".join(map(str, path))
        result.append((path, variable.replace(flat[name]) if name in ours else variable))
    return nnx.from_flat_state(result)


def update(module: nnx.Module, flat: Mapping[str, Any]) -> None:
    """Puts `flat` into `module`, in place; strict as `unflatten`."""
    nnx.update(module, unflatten(flat, module))


def materialize(
    construct: Callable[[], nnx.Module], flat: Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]]
) -> nnx.Module:
    """The module that `construct` makes, with the values of `flat`, without ever allocating its initial weights.

    `flat` may be a function of the abstract parameters (path → shape and type), for values that follow from them.
    """
    abstract = nnx.eval_shape(construct)
    if callable(flat):
        flat = flat(flatten(abstract))
    graph, state = nnx.split(abstract)
    state = unflatten(flat, state)
    if any(_NO_WEIGHTS(path, variable) for path, variable in nnx.to_flat_state(state)):
        # Random streams of dropout and the like: compiled alone, so that the weights' initial values are never
        # computed.
        rest = jax.jit(lambda: nnx.state(construct(), _NO_WEIGHTS))()
        state = nnx.merge_state(state, rest)
    return nnx.merge(graph, state)


# ---------------------------------------------------------------- configs as JSON


def config_to_dict(config: Any) -> dict[str, Any]:
    """A (nested) dataclass as what JSON can hold."""
    return dataclasses.asdict(config)


def config_from_dict(cls: type, values: Mapping[str, Any]) -> Any:
    """Builds the dataclass `cls` from what `config_to_dict` gave, through JSON.

    Raises: UserError for a field that `cls` does not have or that is missing.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    unknown = sorted(set(values) - set(fields))
    missing = sorted(
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )
    if unknown or missing:
        raise UserError(
            f"{cls.__name__}: unknown fields {unknown}, missing fields {missing}; convert the weights again"
        )
    hints = typing.get_type_hints(cls)
    return cls(**{name: _from_json(hints[name], value) for name, value in values.items()})


def _from_json(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):
        options = [a for a in arguments if a is not type(None)]
        return _from_json(options[0], value) if len(options) == 1 else value
    if dataclasses.is_dataclass(hint):
        return config_from_dict(hint, value)
    if origin is tuple:
        inner = arguments[:1] * len(value) if arguments[1:] == (Ellipsis,) else arguments
        return tuple(_from_json(a, v) for a, v in zip(inner, value))
    if origin is list:
        return [_from_json(arguments[0], v) for v in value]
    if origin is dict:
        return {k: _from_json(arguments[1], v) for k, v in value.items()}
    return value


# ---------------------------------------------------------------- writing


def array_hash(path: str, array: np.ndarray) -> str:
    """SHA-256 of one parameter: its path, type, shape and bytes (little-endian, row-major)."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{path}|{np.dtype(array.dtype).name}|{tuple(array.shape)}|".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


class _StreamingHandler(type_handlers.NumpyHandler):
    """Writes `Lazy` arrays one after the other, so that only one is in memory, and notes their hashes."""

    def __init__(self, hashes: dict[str, str]):
        super().__init__(deepcopy_host_arrays=False)
        self._hashes = hashes

    async def serialize(self, values, infos, args=None):
        args = args or [type_handlers.SaveArgs()] * len(values)
        for value, info, arg in zip(values, infos, args):
            await self._write(value, info, dataclasses.replace(arg, chunk_byte_size=CHUNK_BYTES))
        return []

    async def _write(self, value, info, arg):  # a frame of its own: what it holds is free before the next one is read
        array = np.ascontiguousarray(value.array.read()).reshape(value.array.shape)
        self._hashes[value.path] = array_hash(value.path, array)
        for written in await super().serialize([array], [info], [arg]):
            written.result()


@dataclasses.dataclass(frozen=True)
class _Leaf:
    path: str
    array: Lazy
    # orbax reads these for its memory accounting
    shape: tuple[int, ...] = ()
    dtype: Any = None


def save(
    folder: str | os.PathLike,
    module: nnx.Module | nnx.State | Mapping[str, Any],
    config: Any,
    kind: str,
    provenance: Mapping[str, Any],
    files: Mapping[str, str | os.PathLike | bytes] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a weights folder; it appears whole or not at all.

    Args:
      folder: where; must not exist yet unless `overwrite`.
      module: a module, its state, or {path: array or `Lazy`}.
      config: the model's config, a dataclass (or a dict of what JSON can hold).
      kind: name of the architecture, for example "hubert"; `load` returns it and `restore` compares it.
      provenance: where the weights come from: source name, revision, licence …
      files: {name inside the folder: path of a file to copy, or its bytes}.
      overwrite: replace an existing weights folder.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise UserError(f"{folder} exists already; remove it, choose another folder or overwrite")
    flat = dict(module) if isinstance(module, Mapping) and not isinstance(module, nnx.State) else flatten(module)
    if not flat:
        raise UserError(f"nothing to write to {folder}: the model has no parameters")
    hashes: dict[str, str] = {}
    leaves = {path: _leaf(path, value) for path, value in flat.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    temporary.mkdir()
    try:
        registry = type_handlers.create_type_handler_registry(
            (_Leaf, _StreamingHandler(hashes)), (jax.Array, type_handlers.ArrayHandler())
        )
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(type_handler_registry=registry)) as writer:
            writer.save((temporary / PARAMS_FOLDER).absolute(), leaves)
        listed = _copy_files(temporary, files or {})
        description = {
            "format": FORMAT,
            "kind": kind,
            "config": config_to_dict(config) if dataclasses.is_dataclass(config) else dict(config),
            "provenance": dict(provenance),
            "sha256": _total(hashes),
            "files": listed,
            "params": {
                path: {"shape": list(v.shape), "dtype": np.dtype(v.dtype).name, "sha256": hashes[path]}
                for path, v in sorted(flat.items())
            },
        }
        (temporary / CONFIG_FILE).write_text(json.dumps(description, indent=1) + "\n")
        _put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _leaf(path: str, value: Any) -> _Leaf:
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        raise UserError(f"{path} is spread over several hosts; gather it before writing a weights folder")
    shape, dtype = tuple(value.shape), np.dtype(value.dtype)
    array = value if isinstance(value, Lazy) else Lazy(shape, dtype, lambda: np.asarray(value))
    return _Leaf(path, array, shape, dtype)


def _total(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(hashes[path] for path in sorted(hashes)).encode()).hexdigest()


def _copy_files(folder: Path, files: Mapping[str, str | os.PathLike | bytes]) -> dict[str, str]:
    listed = {}
    for name, content in files.items():
        place = folder / name
        if not place.resolve().is_relative_to(folder.resolve()) or name in (CONFIG_FILE, PARAMS_FOLDER):
            raise UserError(f"{name!r} is no name for a file of a weights folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            shutil.copyfile(content, place)
        listed[name] = file_hash(place)
    return listed


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put_in_place(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    old = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.old"
    folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


# ---------------------------------------------------------------- reading


def describe(folder: str | os.PathLike) -> dict[str, Any]:
    """What `config.json` of a weights folder says.

    Raises: UserError where the folder is none, or was written by a newer version.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        description = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is no weights folder: {path.name} cannot be read ({error})") from error
    if description.get("format") != FORMAT or "params" not in description:
        raise UserError(
            f"{path} has the format {description.get('format')!r}, and this version reads {FORMAT}; it may be a "
            "released checkpoint, which `python -m converters.convert` turns into a weights folder"
        )
    return description


def lazy_params(folder: str | os.PathLike) -> dict[str, Lazy]:
    """{path: `Lazy`} of a weights folder: each parameter is read from disk when asked for."""
    folder = Path(folder)

    def reader(path: str) -> Callable[[], np.ndarray]:
        return lambda: _read(folder, {path: type_handlers.RestoreArgs(restore_type=np.ndarray)})[path]

    return {
        path: Lazy(tuple(entry["shape"]), _dtype(entry["dtype"]), reader(path))
        for path, entry in describe(folder)["params"].items()
    }


def _dtype(name: str) -> np.dtype:
    return np.dtype(jax.numpy.dtype(name))


def _read(folder: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            return reader.restore(
                (folder / PARAMS_FOLDER).absolute(),
                args=ocp.args.PyTreeRestore(
                    item={path: 0 for path in arguments}, restore_args=dict(arguments), partial_restore=True
                ),
            )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder / PARAMS_FOLDER} cannot be read, it is damaged or incomplete: {error}") from error


def load(folder: str | os.PathLike) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Reads a weights folder into memory.

    Returns: (kind, config as a dict, {path: NumPy array}).
    """
    description = describe(folder)
    arguments = {path: type_handlers.RestoreArgs(restore_type=np.ndarray) for path in description["params"]}
    return description["kind"], description["config"], _read(Path(folder), arguments)


def verify(folder: str | os.PathLike) -> str:
    """Recomputes every hash of a weights folder and returns the whole's.

    Raises: UserError naming each parameter or file that differs.
    """
    description = describe(folder)
    hashes = {path: array_hash(path, leaf.read()) for path, leaf in lazy_params(folder).items()}
    wrong = [path for path, entry in description["params"].items() if hashes[path] != entry["sha256"]]
    for name, expected in description["files"].items():
        path = Path(folder) / name
        if not path.is_file() or file_hash(path) != expected:
            wrong.append(name)
    if wrong or _total(hashes) != description["sha256"]:
        raise UserError(f"{folder} is damaged: the SHA-256 differs of {', '.join(wrong) or 'the whole'}; make it again")
    return description["sha256"]


def restore(
    folder: str | os.PathLike,
    model: Callable[..., nnx.Module],
    config: type,
    *,
    kind: str | None = None,
    dtype: Any = jax.numpy.float32,
    param_dtype: Any = None,
    shardings: Callable[[nnx.State], Mapping[str, jax.sharding.Sharding]] | None = None,
    **options: Any,
) -> nnx.Module:
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

    Raises: UserError where the folder does not hold this model.
    """
    description = describe(folder)
    if kind is not None and description["kind"] != kind:
        raise UserError(f"{folder} holds weights of the kind {description['kind']!r}, expected {kind!r}")
    stored = {path: _dtype(entry["dtype"]) for path, entry in description["params"].items()}
    floats = {d for d in stored.values() if jax.numpy.issubdtype(d, jax.numpy.floating)}
    if param_dtype is None:
        param_dtype = floats.pop() if len(floats) == 1 else jax.numpy.float32
    values = config_from_dict(config, description["config"])

    def construct() -> nnx.Module:
        return model(values, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=param_dtype, **options)

    abstract = nnx.state(nnx.eval_shape(construct))
    unflatten(
        {p: jax.ShapeDtypeStruct(tuple(e["shape"]), stored[p]) for p, e in description["params"].items()}, abstract
    )
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    places = {} if shardings is None else shardings(abstract)
    arguments = {
        path: type_handlers.ArrayRestoreArgs(
            sharding=places.get(path, default), global_shape=tuple(leaf.shape), dtype=leaf.dtype
        )
        for path, leaf in flatten(abstract).items()
    }
    return materialize(construct, _read(Path(folder), arguments))
