"""Reads files of `torch.save` without PyTorch.

Such a file is a pickle (`torch_pickle`) beside raw storages: a zip archive since PyTorch 1.6, before that a sequence of
pickles and buffers. The layout is described by `torch/serialization.py` of PyTorch.
"""

from __future__ import annotations

import dataclasses
import io
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.source import Source, entry
from converters.formats.torch_names import Storage, Tensor
from converters.formats.torch_pickle import unpickle
from converters.formats.zip_archive import ZipArchive
from empatheia_jax.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def _read_zip(path: Path) -> Any:
    archive = ZipArchive(path)
    pickles = [name for name in archive.names() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise UserError(f"{path} is no file of torch.save: a zip archive without data.pkl (TorchScript is not read)")
    base = pickles[0].removesuffix("data.pkl")
    if f"{base}constants.pkl" in archive:
        raise UserError(f"{path} is a TorchScript program, which holds code; save its state_dict instead")
    order = archive.read(f"{base}byteorder") if f"{base}byteorder" in archive else b"little"
    if order != b"little":
        raise UserError(
            f"{path} was written on a machine whose order of bytes is {order[:10]!r}; only 'little' is read"
        )

    def storage(pid: tuple) -> Storage:
        dtype, elements = pid[1].dtype, pid[4]
        name = f"{base}data/{pid[2]}"
        if name not in archive:
            raise UserError(f"{path} is damaged: it has no tensor data {name}")
        size = archive.size(name)
        if size < elements * dtype.itemsize:
            raise UserError(f"{path} is cut short: {name} has {size} bytes, expected {elements * dtype.itemsize}")

        def read(first: int, count: int, kind: np.dtype) -> np.ndarray:
            return np.frombuffer(archive.read_range(name, first * kind.itemsize, count * kind.itemsize), kind)

        return Storage(dtype, elements, read)

    program = archive.read(pickles[0])
    return unpickle(io.BytesIO(program), path, len(program), storage)


@dataclasses.dataclass
class _LegacyStorage:
    """A storage of the old layout: its data follow after all pickles, so the place is known last."""

    dtype: np.dtype
    elements: int
    place: int | None = None


def _read_legacy(path: Path) -> Any:
    storages: dict[str, _LegacyStorage] = {}

    def storage(pid: tuple) -> Storage:
        key = str(pid[2])
        whole = storages.setdefault(key, _LegacyStorage(pid[1].dtype, pid[4]))
        first_of_view, elements = 0, pid[4]
        if len(pid) > 5 and pid[5] is not None:
            view = pid[5]
            if not isinstance(view, tuple) or len(view) != 3 or not all(isinstance(n, int) for n in view[1:]):
                raise UserError(f"{path} is damaged: the storage {key} has a view of an unknown form")
            _, first_of_view, elements = view
        if (whole.dtype, whole.elements) != (pid[1].dtype, pid[4]) or not (
            0 <= first_of_view <= first_of_view + elements <= whole.elements
        ):
            raise UserError(f"{path} is damaged: the storage {key} is described in two ways")

        def read(first: int, count: int, kind: np.dtype) -> np.ndarray:
            if whole.place is None:
                raise ValueError(f"the place of the storage {key} is not known before all pickles are read")
            with open(path, "rb") as file:
                file.seek(whole.place + first_of_view * whole.dtype.itemsize + first * kind.itemsize)
                data = file.read(count * kind.itemsize)
            if len(data) != count * kind.itemsize:
                raise UserError(f"{path} is cut short")
            return np.frombuffer(data, kind)

        return Storage(pid[1].dtype, elements, read)

    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        magic, protocol, system = (unpickle(file, path, end, storage) for _ in range(3))
        if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
            raise UserError(f"{path} is no file of torch.save")
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise UserError(f"{path} was written on a big-endian machine, which is not read")
        tree = unpickle(file, path, end, storage)
        order = unpickle(file, path, end, storage)
        if not isinstance(order, list | tuple) or len(set(map(str, order))) != len(order):
            raise UserError(f"{path} is damaged: its list of storages cannot be read")
        for key in map(str, order):
            head = file.read(8)
            if len(head) != 8 or key not in storages:
                raise UserError(f"{path} is cut short or damaged: the storage {key:.40} has no data")
            whole = storages[key]
            elements = struct.unpack("<q", head)[0]
            whole.place = file.tell()
            if elements != whole.elements:
                raise UserError(f"{path} is damaged: the storage {key:.40} has two sizes")
            if whole.place + elements * whole.dtype.itemsize > end:
                raise UserError(f"{path} is cut short: the storage {key:.40} ends after the file")
            file.seek(elements * whole.dtype.itemsize, os.SEEK_CUR)
        if file.tell() != end:
            raise UserError(f"{path} is damaged: {end - file.tell()} bytes follow after its last storage")
    missing = sorted(key for key, whole in storages.items() if whole.place is None)
    if missing:
        raise UserError(f"{path} is cut short: no data for the storages {missing[:5]}")
    return tree


def read_torch_file(path: str | os.PathLike) -> Any:
    """The object that `torch.save` wrote, with every tensor as a `Tensor` that reads itself from disk.

    Raises: UnsafePickleError for a file that holds anything but tensors and plain containers; UserError for a damaged
    one.
    """
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(4)
    if head == b"PK\x03\x04":
        return _read_zip(path)
    if head[:1] == b"\x80":
        return _read_legacy(path)
    raise UserError(f"{path} is no file of torch.save: it begins with {head!r}")


class TorchSource(Source):
    """A file of `torch.save`, read without PyTorch (see `torch_pickle`).

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
        super().__init__(name, {k: entry(v.shape, v.dtype) for k, v in self._tensors.items()}, metadata)

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
