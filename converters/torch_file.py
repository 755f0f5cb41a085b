"""Reads files of `torch.save` without PyTorch, and without running anything that they contain.

Such a file is a pickle beside raw storages: a zip archive since PyTorch 1.6, before that a sequence of pickles and
buffers. A pickle may name any function of any installed package and have it called, so only the handful of names that
describe tensors and plain containers are known here, each by a harmless stand-in; any other name is refused before it
is looked up.

The layout is described by `torch/serialization.py` and `torch/_utils.py` of PyTorch.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from empatheia_jax.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

_DTYPES = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "int64": np.dtype(np.int64),
    "int32": np.dtype(np.int32),
    "int16": np.dtype(np.int16),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
    "bool": np.dtype(np.bool_),
    "complex64": np.dtype(np.complex64),
    "complex128": np.dtype(np.complex128),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
}
_ALIASES = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
}
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}


class UnsafePickleError(UserError):
    """The file asks for something that is neither a tensor nor a plain container."""


@dataclasses.dataclass(frozen=True)
class _StorageType:
    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A storage named by the pickle; `read(first, count)` gives that range of its elements."""

    dtype: np.dtype
    elements: int
    read: Callable[[int, int, np.dtype], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor on disk: `read()` loads it."""

    storage: _Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> np.ndarray:
        """The tensor as a contiguous array."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        span = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        available = self.storage.elements * self.storage.dtype.itemsize // self.dtype.itemsize
        if self.offset < 0 or any(s < 0 for s in self.strides) or self.offset + span > available:
            raise UserError(f"a tensor of shape {self.shape} reaches outside its storage; the file is damaged")
        flat = self.storage.read(self.offset, span, self.dtype)
        steps = tuple(s * self.dtype.itemsize for s in self.strides)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, steps)).reshape(self.shape)


def _tensor(storage: Any, offset: int, shape: Any, strides: Any, dtype: np.dtype | None = None) -> Tensor:
    if not isinstance(storage, _Storage):
        raise UnsafePickleError("a tensor is built from something that is no storage; the file is refused")
    return Tensor(storage, dtype or storage.dtype, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _rebuild_tensor(storage, offset, shape, strides, *_ignored) -> Tensor:
    return _tensor(storage, offset, shape, strides)


def _rebuild_typed(storage, offset, shape, strides, _grad, _hooks, dtype, *_ignored) -> Tensor:
    return _tensor(storage, offset, shape, strides, dtype)


def _rebuild_parameter(data, *_ignored) -> Tensor:
    return data


def _numpy_scalar(dtype, data=None):
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(data, bytes | str):
        raise UnsafePickleError("a NumPy scalar of an object type; the file is refused")
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype)[0]


class _NumpyArray:
    """Stand-in for a NumPy array in a pickle: takes its state, becomes an array when asked."""

    array: np.ndarray | None = None

    def __setstate__(self, state):
        _version, shape, dtype, fortran, data = state
        if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(data, bytes | str):
            raise UnsafePickleError("a NumPy array of objects; the file is refused")
        data = data.encode("latin1") if isinstance(data, str) else data
        self.array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _numpy_reconstruct(*_ignored) -> _NumpyArray:
    return _NumpyArray()


class _NumpyDtype:
    """Builds plain NumPy types only."""

    def __new__(cls, name, *_ignored):
        dtype = np.dtype(str(name))
        if dtype.hasobject:
            raise UnsafePickleError("a NumPy type that holds objects; the file is refused")
        return dtype


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1" if encoding not in ("utf-8", "ascii") else encoding)


def _device(*names) -> str:
    return ":".join(map(str, names))


class _Namespace:
    """A plain bag of attributes, for objects such as `argparse.Namespace`."""


_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": lambda *a: {},
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch.Size": tuple,
    "torch.device": _device,
    "torch.serialization._get_layout": str,
    "argparse.Namespace": _Namespace,
    "numpy.ndarray": _NumpyArray,
    "numpy.dtype": _NumpyDtype,
    "_codecs.encode": _encode,
    "builtins.set": set,
    "__builtin__.set": set,
    "builtins.bytearray": bytearray,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _KNOWN[f"{_module}.scalar"] = _numpy_scalar
    _KNOWN[f"{_module}._reconstruct"] = _numpy_reconstruct
for _name, _dtype_name in _STORAGES.items():
    for _module in ("torch", "torch.cuda", "torch.storage"):
        _KNOWN[f"{_module}.{_name}"] = _StorageType(_DTYPES[_dtype_name])
for _name, _value in _DTYPES.items():
    _KNOWN[f"torch.{_name}"] = _value
for _name, _full in _ALIASES.items():
    _KNOWN[f"torch.{_name}"] = _DTYPES[_full]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path, storage: Callable[[tuple], _Storage]):
        super().__init__(file, encoding="latin1")
        self._path, self._storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get(f"{module}.{name}")
        if known is None:
            raise UnsafePickleError(
                f"{self._path} is refused: its pickle asks for {module}.{name}, which is no part of a tensor file and "
                "could run code; save the tensors alone, best as safetensors"
            )
        return known

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            raise UnsafePickleError(
                f"{self._path} is refused: its pickle holds a reference that is no storage ({pid!r:.80})"
            )
        if not isinstance(pid[1], _StorageType):
            raise UnsafePickleError(f"{self._path} is refused: a storage of unknown type {pid[1]!r:.80}")
        return self._storage(pid)


def _unpickle(file: BinaryIO, path: Path, storage: Callable[[tuple], _Storage]) -> Any:
    try:
        return _Unpickler(file, path, storage).load()
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way; none of them runs foreign code
        raise UserError(f"{path} cannot be read, its pickle is damaged or of an unknown form: {error}") from error


def _read_zip(path: Path) -> Any:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is damaged or cut short: {error}") from error
    with archive:
        names = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise UserError(
                f"{path} is no file of torch.save: a zip archive without data.pkl (TorchScript is not read)"
            )
        base = pickles[0].removesuffix("data.pkl")
        if f"{base}constants.pkl" in names:
            raise UserError(f"{path} is a TorchScript program, which holds code; save its state_dict instead")
        order = archive.read(f"{base}byteorder").decode() if f"{base}byteorder" in names else "little"
        if order != "little":
            raise UserError(f"{path} was written on a {order}-endian machine, which is not read")

        def storage(pid: tuple) -> _Storage:
            dtype, elements = pid[1].dtype, int(pid[4])
            name = f"{base}data/{pid[2]}"
            if name not in names:
                raise UserError(f"{path} is damaged: it has no tensor data {name}")
            size = names[name].file_size
            if size < elements * dtype.itemsize:
                raise UserError(f"{path} is cut short: {name} has {size} bytes, expected {elements * dtype.itemsize}")

            def read(first: int, count: int, kind: np.dtype) -> np.ndarray:
                with zipfile.ZipFile(path) as again, again.open(name) as file:
                    file.seek(first * kind.itemsize)
                    data = file.read(count * kind.itemsize)
                if len(data) != count * kind.itemsize:
                    raise UserError(f"{path} is cut short inside {name}")
                return np.frombuffer(data, kind)

            return _Storage(dtype, elements, read)

        return _unpickle(io.BytesIO(archive.read(pickles[0])), path, storage)


def _read_legacy(path: Path) -> Any:
    places: dict[str, int] = {}

    def storage(pid: tuple) -> _Storage:
        dtype, key, elements = pid[1].dtype, str(pid[2]), int(pid[4])
        view = pid[5] if len(pid) > 5 else None
        first_of_view = 0
        if view is not None:
            _view_key, first_of_view, elements = view

        def read(first: int, count: int, kind: np.dtype) -> np.ndarray:
            with open(path, "rb") as file:
                file.seek(places[key] + first_of_view * dtype.itemsize + first * kind.itemsize)
                data = file.read(count * kind.itemsize)
            if len(data) != count * kind.itemsize:
                raise UserError(f"{path} is cut short")
            return np.frombuffer(data, kind)

        sizes[key] = max(sizes.get(key, 0), dtype.itemsize)
        return _Storage(dtype, elements, read)

    sizes: dict[str, int] = {}
    with open(path, "rb") as file:
        magic, protocol, system = (_unpickle(file, path, storage) for _ in range(3))
        if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
            raise UserError(f"{path} is no file of torch.save")
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise UserError(f"{path} was written on a big-endian machine, which is not read")
        tree = _unpickle(file, path, storage)
        end = os.fstat(file.fileno()).st_size
        for key in map(str, _unpickle(file, path, storage)):
            head = file.read(8)
            if len(head) != 8 or key not in sizes:
                raise UserError(f"{path} is cut short or damaged: the storage {key} has no data")
            places[key] = file.tell()
            after = file.tell() + struct.unpack("<q", head)[0] * sizes[key]
            if not places[key] <= after <= end:
                raise UserError(f"{path} is cut short: the storage {key} ends after the file")
            file.seek(after)
    missing = sorted(set(sizes) - set(places))
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
        return _plain(_read_zip(path))
    if head[:1] == b"\x80":
        return _plain(_read_legacy(path))
    raise UserError(f"{path} is no file of torch.save: it begins with {head!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, _NumpyArray):
        return value.array
    if isinstance(value, _Namespace):
        return {key: _plain(v) for key, v in vars(value).items()}
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(v) for v in value)
    return value
