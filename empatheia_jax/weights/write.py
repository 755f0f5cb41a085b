"""Writes weights folders."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from orbax.checkpoint import type_handlers

from empatheia_jax.errors import UserError, disk_full
from empatheia_jax.weights.checkpointer import checkpointer
from empatheia_jax.weights.config_json import config_to_dict
from empatheia_jax.weights.hashes import array_hash, file_hash, total_hash
from empatheia_jax.weights.layout import CONFIG_FILE, FORMAT, PARAMS_FOLDER
from empatheia_jax.weights.lazy import Lazy
from empatheia_jax.weights.sums import SUMS_FILE, seal
from empatheia_jax.weights.tree import flatten

CHUNK_BYTES = 32 << 20  # on disk: bounds the writer's memory, and lets a host read only its own part of a parameter
TOGETHER_BYTES = 8 << 20  # of small arrays, which are written together: waiting for each takes longer than writing it


class _StreamingHandler(type_handlers.NumpyHandler):
    """Writes `Lazy` arrays one after the other, so that only one, or few small ones, are in memory, and notes their hashes."""

    def __init__(self, hashes: dict[str, str]):
        super().__init__(deepcopy_host_arrays=False)
        self._hashes = hashes

    async def serialize(self, values, infos, args=None):
        args = args or [type_handlers.SaveArgs()] * len(values)
        batch, held = [], 0
        for each in zip(values, infos, args):
            array = each[0].array
            size = math.prod(array.shape) * np.dtype(array.dtype).itemsize
            if batch and held + size > TOGETHER_BYTES:
                await self._write(batch)
                batch, held = [], 0
            batch.append(each)
            held += size
        if batch:
            await self._write(batch)
        return []

    async def _write(self, batch):  # a frame of its own: what it holds is free before the next ones are read
        values, infos, args = zip(*batch)
        arrays = [np.ascontiguousarray(value.array.read()).reshape(value.array.shape) for value in values]
        self._hashes.update({value.path: array_hash(value.path, array) for value, array in zip(values, arrays)})
        chunked = [dataclasses.replace(arg, chunk_byte_size=CHUNK_BYTES) for arg in args]
        with contextlib.ExitStack() as ends:  # all are waited for, even where one fails: nothing writes any longer then
            for writing in await super().serialize(arrays, list(infos), chunked):
                ends.callback(writing.result)


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
        with checkpointer(type_handler_registry=registry) as writer:
            writer.save((temporary / PARAMS_FOLDER).absolute(), leaves)
        done = temporary / PARAMS_FOLDER / "commit_success.txt"
        if (
            done.is_file()
        ):  # orbax looks only whether it is there; in it is a path of this machine, which is nobody's business
            done.write_text("complete\n")
        listed = _copy_files(temporary, files or {})
        description = {
            "format": FORMAT,
            "kind": kind,
            "config": config_to_dict(config) if dataclasses.is_dataclass(config) else dict(config),
            "provenance": dict(provenance),
            "sha256": total_hash(hashes),
            "files": listed,
            "params": {
                path: {"shape": list(v.shape), "dtype": np.dtype(v.dtype).name, "sha256": hashes[path]}
                for path, v in sorted(flat.items())
            },
        }
        (temporary / CONFIG_FILE).write_text(json.dumps(description, indent=1) + "\n")
        seal(temporary)
        _put_in_place(temporary, folder)
    except Exception as error:  # orbax's own errors have no number
        if isinstance(error, UserError) or not disk_full(error):
            raise
        raise UserError(
            f"{folder} cannot be written: its disk is full, or files there may not grow that large; make room, or choose another "
            "folder, then run it again"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _leaf(path: str, value: Any) -> _Leaf:
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        raise UserError(f"{path} is spread over several hosts; gather it before writing a weights folder")
    shape, dtype = tuple(value.shape), np.dtype(value.dtype)
    array = value if isinstance(value, Lazy) else Lazy(shape, dtype, lambda: np.asarray(value))
    return _Leaf(path, array, shape, dtype)


def _copy_files(folder: Path, files: Mapping[str, str | os.PathLike | bytes]) -> dict[str, str]:
    listed = {}
    for name, content in files.items():
        place = folder / name
        if not place.resolve().is_relative_to(folder.resolve()) or name in (CONFIG_FILE, PARAMS_FOLDER, SUMS_FILE):
            raise UserError(f"{name!r} is no name for a file of a weights folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            shutil.copyfile(content, place)
        listed[name] = file_hash(place)
    return listed


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
