"""Checkpoints as lists of named tensors that are read one at a time.

`open_source(path)` finds out what a file or folder is: safetensors (single, sharded), `torch.save` (`.bin`, `.pt`,
`.pth`; single, sharded), GGUF, npz. All have the same small interface, `Source`.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, KeysView, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from converters.torch_file import Tensor, read_torch_file
from empatheia_jax.errors import UserError

SAFETENSORS_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


class Source:
    """Named tensors, each read when asked for.

    Attributes:
      name: what error messages call it.
      metadata: what else the file says (GGUF fields, safetensors metadata, scalars of a torch file).
    """

    def __init__(self, name: str, manifest: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, Any] | None = None):
        self.name = name
        self.metadata = dict(metadata or {})
        self._manifest = dict(manifest)

    def __str__(self) -> str:
        return self.name

    def keys(self) -> KeysView[str]:
        """All tensor names."""
        return self._manifest.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self._manifest)

    def __len__(self) -> int:
        return len(self._manifest)

    def __contains__(self, key: object) -> bool:
        return key in self._manifest

    def manifest(self) -> dict[str, dict[str, Any]]:
        """{key: {"shape": […], "dtype": name}} of every tensor."""
        return {key: dict(entry) for key, entry in self._manifest.items()}

    def read(self, key: str) -> np.ndarray:
        """One tensor, read from where it lies."""
        raise NotImplementedError(f"{type(self).__name__} must say how a tensor of its files is read")


def _entry(shape, dtype) -> dict[str, Any]:
    return {"shape": [int(n) for n in shape], "dtype": np.dtype(dtype).name}


class DictSource(Source):
    """A mapping of arrays in memory."""

    def __init__(self, arrays: Mapping[str, Any], name: str = "the given tensors"):
        super().__init__(name, {k: _entry(v.shape, v.dtype) for k, v in arrays.items()})
        self._arrays = arrays

    def read(self, key: str) -> np.ndarray:
        return np.asarray(self._arrays[key])


class SafetensorsSource(Source):
    """One `.safetensors` file. Tensors are read from the file, not mapped, so that pages do not pile up in memory."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else math.inf
            if 8 + length > size:
                raise UserError(f"{path} is no safetensors file, or it is cut short inside its header")
            try:
                header = json.loads(file.read(length))
                metadata = header.pop("__metadata__", {})
                self._places = {k: self._place(k, e, 8 + length, size) for k, e in header.items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{path}: the safetensors header cannot be read: {error}") from error
        super().__init__(str(path), {k: _entry(s, d) for k, (s, d, _) in self._places.items()}, metadata)

    def _place(self, key: str, entry: Mapping[str, Any], base: int, size: int):
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise UserError(f"{self.path}: {key} has the type {entry['dtype']!r}, which is not read")
        dtype, shape = SAFETENSORS_DTYPES[entry["dtype"]], tuple(map(int, entry["shape"]))
        begin, end = map(int, entry["data_offsets"])
        if end - begin != math.prod(shape) * dtype.itemsize or begin < 0:
            raise UserError(f"{self.path} is damaged: {key} of shape {shape} has {end - begin} bytes")
        if base + end > size:
            raise UserError(
                f"{self.path} is cut short: {key} ends at byte {base + end}, and the file has {size}; download it again"
            )
        return shape, dtype, base + begin

    def read(self, key: str) -> np.ndarray:
        shape, dtype, place = self._places[key]
        array = np.fromfile(self.path, dtype, math.prod(shape), offset=place)
        if array.size != math.prod(shape):
            raise UserError(f"{self.path} is cut short inside {key}")
        return array.reshape(shape)


class TorchSource(Source):
    """A file of `torch.save`, read without PyTorch (see `converters.torch_file`).

    Nested dictionaries are flattened, keys joined by dots; what is no tensor is found in `metadata`.

    Args:
      path: the file.
      root: keys of the nested dictionary that holds the tensors, joined by "/", for example "net" or "state/model".
    """

    def __init__(self, path: str | os.PathLike, root: str = ""):
        tree = read_torch_file(path)
        for name in filter(None, root.split("/")):
            if not isinstance(tree, Mapping) or name not in tree:
                found = sorted(map(str, tree))[:20] if isinstance(tree, Mapping) else type(tree).__name__
                raise UserError(f"{path} has no {root!r}; at {name!r} it holds {found}")
            tree = tree[name]
        self._tensors: dict[str, Tensor | np.ndarray] = {}
        metadata: dict[str, Any] = {}
        self._flatten("", tree, metadata)
        name = f"{path}:{root}" if root else str(path)
        super().__init__(name, {k: _entry(v.shape, v.dtype) for k, v in self._tensors.items()}, metadata)

    def _flatten(self, prefix: str, value: Any, metadata: dict[str, Any]) -> None:
        if isinstance(value, Tensor | np.ndarray):
            if prefix in self._tensors:
                raise UserError(f"two tensors have the name {prefix!r} once nested names are joined")
            self._tensors[prefix] = value
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                self._flatten(f"{prefix}.{key}" if prefix else str(key), inner, metadata)
        elif isinstance(value, list | tuple) and any(isinstance(v, Tensor | np.ndarray | Mapping) for v in value):
            for key, inner in enumerate(value):
                self._flatten(f"{prefix}.{key}" if prefix else str(key), inner, metadata)
        else:
            metadata[prefix] = value

    def read(self, key: str) -> np.ndarray:
        value = self._tensors[key]
        return value.read() if isinstance(value, Tensor) else value


class GGUFSource(Source):
    """A GGUF file. Quantised tensors are read as float32; fields are in `metadata`, shapes row-major (as PyTorch's)."""

    def __init__(self, path: str | os.PathLike):
        import gguf

        self._gguf = gguf
        try:
            reader = gguf.GGUFReader(str(path))
        except (ValueError, IndexError, OSError, KeyError) as error:
            raise UserError(f"{path} is no GGUF file, or it is damaged or cut short: {error}") from error
        kinds = gguf.GGMLQuantizationType
        self._plain = {
            kinds.F64: np.float64,
            kinds.F32: np.float32,
            kinds.F16: np.float16,
            kinds.BF16: ml_dtypes.bfloat16,
            kinds.I8: np.int8,
            kinds.I16: np.int16,
            kinds.I32: np.int32,
            kinds.I64: np.int64,
        }
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        metadata = {name: field.contents() for name, field in reader.fields.items()}
        super().__init__(
            str(path),
            {n: _entry(self._shape(t), self._plain.get(t.tensor_type, np.float32)) for n, t in self._tensors.items()},
            metadata,
        )

    @staticmethod
    def _shape(tensor: Any) -> tuple[int, ...]:
        return tuple(int(n) for n in reversed(tensor.shape))

    def read(self, key: str) -> np.ndarray:
        tensor = self._tensors[key]
        shape = self._shape(tensor)
        plain = self._plain.get(tensor.tensor_type)
        if plain is not None:
            return np.array(tensor.data).view(plain).reshape(shape)
        return self._gguf.dequantize(np.asarray(tensor.data), tensor.tensor_type).reshape(shape).astype(np.float32)


class NpzSource(Source):
    """An `.npz` archive of arrays (no objects)."""

    def __init__(self, path: str | os.PathLike):
        try:
            self._archive = np.load(path, allow_pickle=False)
            shapes = {}
            for key in self._archive.files:
                with self._archive.zip.open(f"{key}.npy") as file:
                    version = np.lib.format.read_magic(file)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(file)
                    shapes[key] = _entry(shape, dtype)
        except (ValueError, OSError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is no npz archive of plain arrays, or it is damaged: {error}") from error
        super().__init__(str(path), shapes)

    def read(self, key: str) -> np.ndarray:
        return self._archive[key]


class JoinedSource(Source):
    """Several sources as one; no key may occur twice. `index` is the key list that an index file promises."""

    def __init__(self, name: str, parts: list[Source], index: Mapping[str, str] | None = None):
        self._owner: dict[str, Source] = {}
        for part in parts:
            for key in part:
                if key in self._owner:
                    raise UserError(f"{key} is in {self._owner[key]} and in {part}")
                self._owner[key] = part
        if index is not None:
            lost = [f"{key} (of {shard})" for key, shard in index.items() if key not in self._owner]
            extra = [f"{key} (in {part})" for key, part in self._owner.items() if key not in index]
            if lost or extra:
                raise UserError(f"{name} and its shards differ: missing {lost[:10]}, unexpected {extra[:10]}")
        manifest: dict[str, dict[str, Any]] = {}
        for part in parts:
            manifest.update(part.manifest())
        super().__init__(name, manifest, {k: v for part in parts for k, v in part.metadata.items()})

    def read(self, key: str) -> np.ndarray:
        return self._owner[key].read(key)


class RenamedSource(Source):
    """A source under other names: `rename(key)` gives the new name, or None to leave the tensor out."""

    def __init__(self, source: Source, rename):
        self._source = source
        self._names: dict[str, str] = {}
        for key in source:
            new = rename(key)
            if new is None:
                continue
            if new in self._names:
                raise UserError(f"{source}: {key} and {self._names[new]} would both be called {new}")
            self._names[new] = key
        manifest = source.manifest()
        super().__init__(source.name, {new: manifest[old] for new, old in self._names.items()}, source.metadata)

    def read(self, key: str) -> np.ndarray:
        return self._source.read(self._names[key])


def _open_index(path: Path, kind) -> Source:
    try:
        weight_map = json.loads(path.read_text())["weight_map"]
        shards = sorted(set(weight_map.values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is no index of shards: {error}") from error
    for shard in shards:
        if Path(shard).name != shard:
            raise UserError(f"{path} names the shard {shard!r} outside its folder")
        if not (path.parent / shard).is_file():
            raise UserError(f"{path} names the shard {shard}, which is not there; download it again")
    return JoinedSource(str(path), [kind(path.parent / shard) for shard in shards], weight_map)


_FOLDER_FILES = (
    ("model.safetensors.index.json", lambda p: _open_index(p, SafetensorsSource)),
    ("model.safetensors", SafetensorsSource),
    ("adapter_model.safetensors", SafetensorsSource),
    ("pytorch_model.bin.index.json", lambda p: _open_index(p, TorchSource)),
    ("pytorch_model.bin", TorchSource),
    ("adapter_model.bin", TorchSource),
    ("pytorch_model.pt", TorchSource),
)


def open_source(path: str | os.PathLike, root: str = "") -> Source:
    """Opens a checkpoint file or a folder that holds one.

    Args:
      path: a `.safetensors`, `.bin`/`.pt`/`.pth`/`.ckpt`/`.t7`, `.gguf` or `.npz` file, an index of shards
        (`….index.json`), or a folder with one of the usual names (or with a single such file).
      root: for torch files: where in the nested dictionary the tensors are, see `TorchSource`.
    """
    path = Path(path)
    if path.is_dir():
        for name, opener in _FOLDER_FILES:
            if (path / name).is_file():
                return opener(path / name)
        files = [
            f for f in sorted(path.iterdir()) if f.suffix in (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".npz")
        ]
        if len(files) == 1:
            return open_source(files[0], root)
        raise UserError(
            f"{path} holds {'several checkpoints: ' + ', '.join(f.name for f in files) if files else 'no checkpoint'}; "
            f"expected one of {', '.join(name for name, _ in _FOLDER_FILES)}, or give the file"
        )
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    if path.name.endswith(".index.json"):
        return _open_index(path, TorchSource if ".bin." in path.name else SafetensorsSource)
    with open(path, "rb") as file:
        head = file.read(4)
    if path.suffix == ".safetensors":
        return SafetensorsSource(path)
    if head == b"GGUF":
        return GGUFSource(path)
    if path.suffix == ".npz":
        return NpzSource(path)
    if head[:2] in (b"PK",) or head[:1] == b"\x80":
        return TorchSource(path, root)
    raise UserError(
        f"{path} is no checkpoint that is read here (it begins with {head!r}); expected safetensors, a file of "
        "torch.save, GGUF or npz"
    )


def as_source(source: Any) -> Source:
    """A `Source` as it is, a mapping of arrays wrapped, a path opened."""
    if isinstance(source, Source):
        return source
    if isinstance(source, Mapping):
        return DictSource(source)
    return open_source(source)
