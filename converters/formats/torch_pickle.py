"""Unpickles what `torch.save` writes, without PyTorch, and without running anything that the pickle contains.

A pickle may name any function of any installed package and have it called, so only the handful of names that describe
tensors and plain containers are known here, each by a harmless stand-in; any other name is refused before it is looked
up. The names are those of `torch/serialization.py` and `torch/_utils.py` of PyTorch.
"""

from __future__ import annotations

import collections
import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from empatheia_jax.errors import UserError

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
class Storage:
    """A storage named by the pickle; `read(first, count)` gives that range of its elements."""

    dtype: np.dtype
    elements: int
    read: Callable[[int, int, np.dtype], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor on disk: `read()` loads it."""

    storage: Storage
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
    if not isinstance(storage, Storage):
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
    def __init__(self, file: BinaryIO, path: Path, storage: Callable[[tuple], Storage]):
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

    def persistent_load(self, pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            raise UnsafePickleError(
                f"{self._path} is refused: its pickle holds a reference that is no storage ({pid!r:.80})"
            )
        if not isinstance(pid[1], _StorageType):
            raise UnsafePickleError(f"{self._path} is refused: a storage of unknown type {pid[1]!r:.80}")
        return self._storage(pid)


def unpickle(file: BinaryIO, path: Path, storage: Callable[[tuple], Storage]) -> Any:
    """The next object of `file`; `storage` makes a `Storage` of each reference to one. `path` is for messages.

    Raises: UnsafePickleError for a name that is not known here; UserError for a damaged pickle.
    """
    try:
        return _Unpickler(file, path, storage).load()
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way; none of them runs foreign code
        raise UserError(f"{path} cannot be read, its pickle is damaged or of an unknown form: {error}") from error


def plain(value: Any) -> Any:
    """`value` with the stand-ins of NumPy arrays and namespaces replaced by arrays and dictionaries."""
    if isinstance(value, _NumpyArray):
        return value.array
    if isinstance(value, _Namespace):
        return {key: plain(v) for key, v in vars(value).items()}
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(v) for v in value)
    return value
