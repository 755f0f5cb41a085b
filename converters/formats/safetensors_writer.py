"""Writes safetensors files tensor by tensor, in shards, with the index that Hugging Face libraries read."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.safetensors_file import DTYPES
from empatheia_jax.errors import UserError

DEFAULT_SHARD_BYTES = 5_000_000_000
_NAMES = {dtype.name: name for name, dtype in DTYPES.items()}


def _bytes(entry: Mapping[str, Any]) -> int:
    return math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize


def _shards(manifest: Mapping[str, Mapping[str, Any]], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for key, entry in manifest.items():
        if shards[-1] and size + _bytes(entry) > limit:
            shards.append([])
            size = 0
        shards[-1].append(key)
        size += _bytes(entry)
    return shards


def _header(
    keys: list[str], manifest: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, str]
) -> tuple[bytes, dict]:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    places, end = {}, 0
    for key in keys:
        entry = manifest[key]
        begin, end = end, end + _bytes(entry)
        places[key] = begin
        name = _NAMES[np.dtype(entry["dtype"]).name]
        header[key] = {"dtype": name, "shape": list(entry["shape"]), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, places


def write_safetensors(
    folder: Path,
    tensors: Iterable[tuple[str, np.ndarray]],
    manifest: Mapping[str, Mapping[str, Any]],
    name: str = "model.safetensors",
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Writes `tensors` below `folder`, one at a time, in any order.

    Args:
      folder: an existing folder.
      tensors: (key, array); every key of `manifest` exactly once.
      manifest: {key: {"shape", "dtype"}}, which lays the files out before the first tensor comes.
      name: file name; with several shards it becomes `model-00001-of-00002.safetensors` and so on, with an index.
      shard_bytes: largest size of a shard (a single larger tensor has a shard of its own).
      metadata: text entries of the header; "format": "pt" where None.

    Returns: the files written.
    """
    shards = _shards(manifest, shard_bytes)
    stem, suffix = name.rsplit(".", 1)
    names = (
        [name] if len(shards) == 1 else [f"{stem}-{i + 1:05}-of-{len(shards):05}.{suffix}" for i in range(len(shards))]
    )
    owner: dict[str, tuple[Path, int]] = {}
    for shard, keys in zip(names, shards):
        header, places = _header(keys, manifest, metadata or {"format": "pt"})
        size = sum(_bytes(manifest[key]) for key in keys)
        with open(folder / shard, "wb") as file:
            file.write(header)
            file.truncate(len(header) + size)
        owner.update({key: (folder / shard, len(header) + place) for key, place in places.items()})
    left = set(manifest)
    for key, array in tensors:
        entry = manifest[key]
        if key not in left or tuple(array.shape) != tuple(entry["shape"]) or array.dtype != np.dtype(entry["dtype"]):
            raise UserError(f"{key}: {array.dtype.name} {array.shape} does not fit {entry}, or comes twice")
        left.remove(key)
        path, place = owner[key]
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    if left:
        raise UserError(f"tensors were not written: {sorted(left)[:10]}")
    files = [folder / shard for shard in names]
    if len(shards) > 1:
        index = folder / f"{name}.index.json"
        weight_map = {key: path.name for key, (path, _) in owner.items()}
        total = sum(_bytes(entry) for entry in manifest.values())
        index.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=1) + "\n")
        files.append(index)
    return files
