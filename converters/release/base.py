"""The frozen base in its Hugging Face form: as it is with the added rows, or with LoRA folded in. Written shard by shard.

One parameter is in memory at a time. A shard appears complete or not at all, so an interrupted export goes on with the next one.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from converters import interpreter
from converters.formats.safetensors_writer import DEFAULT_SHARD_BYTES, write_safetensors
from converters.release.trained import Base
from converters.table import Table
from converters.tables import llama
from converters.tables.empatheia import TrainedConfig
from converters.tables.peft import ADAPTER
from empatheia_jax.files import write_json
from empatheia_jax.weights import Lazy, read_leaf

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
UNFINISHED = "unfinished-"
"""Begins the name of a file that is being written."""
Told = Callable[[int], Any]
"""Called with the bytes that were written."""


def resized_config(trained: TrainedConfig) -> Any:
    """The base's config with the added rows in its vocabulary."""
    config = trained.core_config()
    return dataclasses.replace(config, vocab_size=config.vocab_size + trained.model.added)


def resized(base: Base, trained: TrainedConfig, flat: Mapping[str, Any], dtype: Any = None) -> dict[str, Lazy]:
    """{path of the core: `Lazy`}: the base with the added rows behind its vocabulary.

    Args:
      base: the frozen base.
      trained: what was trained on it.
      flat: its parameters by path.
      dtype: of the result; None keeps each parameter's own.
    """
    rows = {"embed_tokens.embedding": ("added.embedding", 0), "lm_head.kernel": ("added.head", 1)}
    result = {}
    for path, leaf in base.parameters.items():
        kind = np.dtype(dtype or leaf.dtype)
        shape = tuple(leaf.shape)
        if path in rows:
            name, axis = rows[path]
            shape = tuple(n + trained.model.added * (k == axis) for k, n in enumerate(shape))
            result[path] = Lazy(shape, kind, _appended(leaf, flat[name], axis, kind))
        else:
            result[path] = Lazy(shape, kind, _cast(leaf, kind))
    return result


def _cast(leaf: Any, dtype: np.dtype) -> Callable[[], np.ndarray]:
    return lambda: _in_place(read_leaf(leaf), dtype, lambda part, _: part)


def _appended(leaf: Any, rows: Any, axis: int, dtype: np.dtype) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        more = read_leaf(rows).astype(dtype)
        return np.concatenate([read_leaf(leaf).astype(dtype, copy=False), more.T if axis else more], axis)

    return read


def _in_place(array: np.ndarray, dtype: np.dtype, change: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """`change(slice, number)` of every slice along the first axis, as `dtype`; in the memory of `array` where that fits."""
    if array.ndim < 3:
        return change(array, 0).astype(dtype)
    fits = array.dtype.itemsize == dtype.itemsize and array.flags.writeable and array.flags.c_contiguous
    out = array.view(dtype) if fits else np.empty(array.shape, dtype)
    for number in range(len(array)):
        out[number] = change(array[number], number).astype(dtype)
    return out


def merged(base: Base, trained: TrainedConfig, flat: Mapping[str, Any], dtype: Any = BFLOAT16) -> dict[str, Lazy]:
    """The parameters of `resized` with LoRA folded into the kernels. The sums are made in float32 and rounded once to `dtype`."""
    result = resized(base, trained, flat, dtype)
    scale = np.float32(trained.lora.scale)
    for path in [path for path in result if f"core.{path.removesuffix('.kernel')}.lora.{ADAPTER}.a" in flat]:
        stem = f"core.{path.removesuffix('.kernel')}.lora.{ADAPTER}"
        result[path] = Lazy(
            result[path].shape,
            result[path].dtype,
            _with_lora(base.parameters[path], flat[f"{stem}.a"], flat[f"{stem}.b"], scale, result[path].dtype),
        )
    return result


def _with_lora(leaf: Any, a: Any, b: Any, scale: np.float32, dtype: np.dtype) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        down, up = read_leaf(a).astype(np.float32), read_leaf(b).astype(np.float32)

        def change(kernel: np.ndarray, number: int) -> np.ndarray:
            low, high = (down[number], up[number]) if down.ndim == 3 else (down, up)
            return kernel.astype(np.float32) + scale * (low @ high)

        return _in_place(read_leaf(leaf), dtype, change)

    return read


def released_config(base: Base, trained: TrainedConfig, dtype: np.dtype) -> dict[str, Any]:
    """`config.json` of the resized model."""
    found = base.released_config()
    for key in ("dtype", "torch_dtype", "_name_or_path", "transformers_version"):
        found.pop(key, None)
    return found | {"vocab_size": resized_config(trained).vocab_size, "dtype": dtype.name}


def shards(parameters: Mapping[str, Any], table: Table, limit: int) -> Iterator[list[str]]:
    """Source keys of each shard. What comes from one parameter is not parted, so that each is read once."""
    manifest = interpreter.export_manifest(parameters, table)
    keys: list[str] = []
    size = 0
    for group in interpreter.export_groups(parameters, table):
        count = sum(entry_bytes(manifest[key]) for key in group)
        if keys and size + count > limit:
            yield keys
            keys, size = [], 0
        keys, size = keys + group, size + count
    yield keys


def entry_bytes(entry: Mapping[str, Any]) -> int:
    """Bytes of a tensor of a manifest."""
    return math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize


def total_bytes(parameters: Mapping[str, Any]) -> int:
    """Bytes of all parameters."""
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in parameters.values())


def write_model(
    folder: Path,
    parameters: Mapping[str, Any],
    config: Any,
    source_config: Mapping[str, Any],
    files: Mapping[str, bytes],
    told: Told,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> None:
    """Writes a Hugging Face folder; shards that are there already stay.

    Args:
      folder: made if absent; it may hold shards of the same model from before an interruption.
      parameters: {path of the core: array or `Lazy`}.
      config: the core's config, resized.
      source_config: `config.json`, which is written last.
      files: what else belongs into the folder (tokenizer).
      told: called with the bytes of each tensor when it is written, and of each shard that is there already.
      shard_bytes: largest size of a shard, where no parameter alone is larger.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = llama.hf_table(config)
    manifest = interpreter.export_manifest(parameters, table)
    parts = list(shards(parameters, table, shard_bytes))
    weight_map: dict[str, str] = {}
    for number, keys in enumerate(parts):
        name = f"model-{number + 1:05}-of-{len(parts):05}.safetensors" if len(parts) > 1 else "model.safetensors"
        weight_map |= dict.fromkeys(keys, name)
        if (folder / name).exists():
            told(sum(entry_bytes(manifest[key]) for key in keys))
        else:
            write_whole(folder / name, partial(_write_shard, parameters, table, manifest, keys, told))
    if len(parts) > 1:
        total = sum(map(entry_bytes, manifest.values()))
        write_json(
            folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map}
        )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "config.json").write_text(json.dumps(dict(source_config), indent=1) + "\n", encoding="utf-8")


def _write_shard(
    parameters: Mapping[str, Any], table: Table, manifest: Mapping[str, Any], keys: list[str], told: Told, path: Path
) -> None:
    def written() -> Iterator[tuple[str, np.ndarray]]:
        for key, array in interpreter.export(parameters, table, only=frozenset(keys)):
            yield key, array
            told(array.nbytes)

    write_safetensors(path.parent, written(), {key: manifest[key] for key in keys}, path.name, 1 << 62)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls `write` with a temporary name and renames what it wrote when it is on the disk."""
    temporary = path.with_name(UNFINISHED + path.name)
    temporary.unlink(missing_ok=True)
    write(temporary)
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    temporary.rename(path)
