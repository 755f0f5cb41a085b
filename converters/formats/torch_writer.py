"""Writes files that `torch.load` reads (also with `weights_only=True`), without PyTorch.

The layout is the zip archive of PyTorch since 1.6: a pickle that describes the tensors, beside their raw data.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (makes NumPy know "bfloat16" by name)
import numpy as np

from empatheia_jax.errors import UserError

_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


class _Pickle:
    """The few opcodes of pickle protocol 2 that describe a dictionary of tensors."""

    def __init__(self):
        self._out = io.BytesIO()
        self._out.write(pickle.PROTO + b"\x02")

    def write(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._out.write(piece)

    def text(self, value: str) -> None:
        data = value.encode("utf-8")
        self.write(pickle.BINUNICODE, struct.pack("<I", len(data)), data)

    def integer(self, value: int) -> None:
        data = pickle.encode_long(value)
        self.write(pickle.LONG1, bytes([len(data)]), data)

    def integers(self, values: Iterable[int]) -> None:
        self.write(pickle.MARK)
        for value in values:
            self.integer(value)
        self.write(pickle.TUPLE)

    def name(self, module: str, name: str) -> None:
        self.write(pickle.GLOBAL, f"{module}\n{name}\n".encode())

    def tensor(self, storage: str, kind: str, shape: tuple[int, ...]) -> None:
        """`torch._utils._rebuild_tensor_v2(storage, 0, shape, row-major strides, False, OrderedDict())`."""
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.write(pickle.MARK, pickle.MARK)
        self.text("storage")
        self.name("torch", _STORAGES[kind])
        self.text(storage)
        self.text("cpu")
        self.integer(math.prod(shape))
        self.write(pickle.TUPLE, pickle.BINPERSID)
        self.integer(0)
        self.integers(shape)
        self.integers(strides)
        self.write(pickle.NEWFALSE)
        self.name("collections", "OrderedDict")
        self.write(pickle.EMPTY_TUPLE, pickle.REDUCE, pickle.TUPLE, pickle.REDUCE)

    def dictionary(self, tree: Mapping[str, Any], tensor: Callable[[str], None]) -> None:
        """Nested dictionaries; a leaf is the key of a tensor, which `tensor` describes."""
        self.write(pickle.EMPTY_DICT, pickle.MARK)
        for name, value in tree.items():
            self.text(name)
            if isinstance(value, str):
                tensor(value)
            else:
                self.dictionary(value, tensor)
        self.write(pickle.SETITEMS)

    def close(self) -> bytes:
        self.write(pickle.STOP)
        return self._out.getvalue()


def _tree(places: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """{key: its place} as nested dictionaries with the keys as leaves."""
    tree: dict[str, Any] = {}
    for key, place in places.items():
        inner = tree
        for name in place[:-1]:
            inner = inner.setdefault(name, {})
        inner[place[-1]] = key
    return tree


def write_torch_file(
    path: Path,
    tensors: Iterable[tuple[str, np.ndarray]],
    manifest: Mapping[str, Mapping[str, Any]],
    places: Mapping[str, tuple[str, ...]] | None = None,
) -> Path:
    """Writes a dictionary of tensors, one at a time, in any order.

    Args:
      path: the file.
      tensors: (key, array); every key of `manifest` exactly once.
      manifest: {key: {"shape", "dtype"}}, in the order that the dictionary shall have.
      places: {key: its names in nested dictionaries}; None = one dictionary by key.

    Raises: UserError for a type that PyTorch has no storage for, or tensors that do not fit the manifest.
    """
    numbers = {key: str(number) for number, key in enumerate(manifest)}
    program = _Pickle()

    def describe(key: str) -> None:
        entry = manifest[key]
        kind = np.dtype(entry["dtype"]).name
        if kind not in _STORAGES:
            raise UserError(f"{key} has the type {kind}, which a file of torch.save cannot hold")
        program.tensor(numbers[key], kind, tuple(int(n) for n in entry["shape"]))

    program.dictionary(_tree({key: (key,) for key in manifest} if places is None else dict(places)), describe)
    left = set(manifest)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{path.stem}/data.pkl", program.close())
        archive.writestr(f"{path.stem}/byteorder", "little")
        for key, array in tensors:
            entry = manifest[key]
            if (
                key not in left
                or tuple(array.shape) != tuple(entry["shape"])
                or array.dtype != np.dtype(entry["dtype"])
            ):
                raise UserError(f"{key}: {array.dtype.name} {array.shape} does not fit {entry}, or comes twice")
            left.remove(key)
            with archive.open(f"{path.stem}/data/{numbers[key]}", "w", force_zip64=True) as file:
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        archive.writestr(f"{path.stem}/version", "3\n")
    if left:
        raise UserError(f"tensors were not written: {sorted(left)[:10]}")
    return path
