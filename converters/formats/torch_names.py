"""The names that a pickle of `torch.save` may use, each with a stand-in of ours: tensors, storages, plain containers.

They are those of `torch/serialization.py` and `torch/_utils.py` of PyTorch, and of NumPy's own pickles.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from converters.formats.source import checked_shape
from empatheia_jax.errors import UserError

BROADCAST_BYTES = 1 << 26  # a tensor may repeat its storage's elements up to this size

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
_NUMPY_NAMES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1", "c8", "c16")


class UnsafePickleError(UserError):
    """The file asks for something that is neither a tensor nor a plain container."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """A storage named by the pickle; `read(first, count, dtype)` gives that range of its elements."""

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

    def __post_init__(self):
        itemsize = self.dtype.itemsize
        span = 0 if 0 in self.shape else 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        available = self.storage.elements * self.storage.dtype.itemsize // itemsize
        if self.offset + span > available:
            raise UserError(f"a tensor of shape {self.shape} reaches outside its storage; the file is damaged")
        if math.prod(self.shape) > max(available, BROADCAST_BYTES // itemsize):
            raise UserError(f"a tensor of shape {self.shape} repeats the few elements of its storage; it is refused")

    def read(self) -> np.ndarray:
        """The tensor as a contiguous array."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        span = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        flat = self.storage.read(self.offset, span, self.dtype)
        steps = tuple(s * self.dtype.itemsize for s in self.strides)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, steps)).reshape(self.shape)


# ---------------------------------------------------------------- stand-ins


@dataclasses.dataclass(frozen=True)
class StorageType:
    """`torch.FloatStorage` and its kind."""

    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class TorchType:
    """`torch.float32` and its kind."""

    dtype: np.dtype


@dataclasses.dataclass
class NumpyType:
    """`numpy.dtype("f4")`; its state says the order of bytes and nothing else."""

    dtype: np.dtype

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise UnsafePickleError("a NumPy type with fields or a shape of its own; the file is refused")
        if state[1] not in ("<", ">", "|", "="):
            raise UnsafePickleError("a NumPy type with an unknown order of bytes; the file is refused")
        self.dtype = self.dtype.newbyteorder(state[1])


@dataclasses.dataclass
class NumpyArray:
    """A NumPy array before its state is known."""

    array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or self.array is not None:
            raise UnsafePickleError("a NumPy array of an unknown form; the file is refused")
        _version, shape, kind, fortran, data = state
        if not isinstance(kind, NumpyType) or not isinstance(data, bytes | str) or not isinstance(shape, tuple):
            raise UnsafePickleError("a NumPy array of objects; the file is refused")
        flat = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, kind.dtype)
        shape = checked_shape("a NumPy array", shape, kind.dtype.itemsize)
        if math.prod(shape) != flat.size:
            raise UserError(f"a NumPy array of shape {shape} has {flat.size} elements; the file is damaged")
        self.array = flat.reshape(shape, order="F" if fortran else "C")


class Namespace:
    """A plain bag of attributes, for objects such as `argparse.Namespace`."""

    def __init__(self):
        self.values: dict[Any, Any] = {}

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise UnsafePickleError("a namespace whose state is no dictionary; the file is refused")
        self.values.update(state)


class Dict(dict):
    """`collections.OrderedDict`, whose state (attributes that someone put on it) is left out."""

    def set_state(self, state: Any) -> None:
        """Nothing: attributes of a dictionary are no tensors."""


def integer(value: Any, name: str) -> int:
    """`value` where it is an integer; raises UserError that calls it `name`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{name} is a {type(value).__name__}, expected an integer; the file is damaged")
    return value


def plain_key(value: Any) -> Any:
    """`value` where it can be a key: hashing it must be cheap whatever the file holds."""
    plain = (str, int, float, bytes, type(None))
    if isinstance(value, plain) or (isinstance(value, tuple) and all(isinstance(v, plain) for v in value)):
        return value
    raise UnsafePickleError(f"a dictionary has a key of type {type(value).__name__}; the file is refused")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, dtype: np.dtype | None = None) -> Tensor:
    if not isinstance(storage, Storage):
        raise UnsafePickleError("a tensor is built from something that is no storage; the file is refused")
    dtype = dtype or storage.dtype
    shape = checked_shape("a tensor", shape, dtype.itemsize)
    if not isinstance(strides, tuple) or len(strides) != len(shape):
        raise UserError(f"a tensor of shape {shape} has strides that do not belong to it; the file is damaged")
    steps = tuple(integer(step, "a stride") for step in strides)
    if min(steps, default=0) < 0 or integer(offset, "an offset") < 0:
        raise UserError(f"a tensor of shape {shape} has a negative stride or offset; the file is damaged")
    return Tensor(storage, dtype, offset, shape, steps)


def _rebuild_tensor(storage, offset, shape, strides, *_ignored) -> Tensor:
    return _tensor(storage, offset, shape, strides)


def _rebuild_typed(storage, offset, shape, strides, _grad, _hooks, dtype, *_ignored) -> Tensor:
    if not isinstance(dtype, TorchType):
        raise UnsafePickleError("a tensor of an unknown type; the file is refused")
    return _tensor(storage, offset, shape, strides, dtype.dtype)


def _rebuild_parameter(data, *_ignored) -> Tensor:
    if not isinstance(data, Tensor):
        raise UnsafePickleError("a parameter that is no tensor; the file is refused")
    return data


def _numpy_scalar(kind, data=None):
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes | str):
        raise UnsafePickleError("a NumPy scalar of an object type; the file is refused")
    data = data.encode("latin1") if isinstance(data, str) else data
    if len(data) != kind.dtype.itemsize:
        raise UserError("a NumPy scalar has too few or too many bytes; the file is damaged")
    return np.frombuffer(data, kind.dtype)[0]


def _numpy_type(name, *_ignored) -> NumpyType:
    if name not in _NUMPY_NAMES:
        raise UnsafePickleError("a NumPy type that is no plain number; the file is refused")
    return NumpyType(np.dtype(name))


def _encode(text, encoding="latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "ascii", "utf-8"):
        raise UnsafePickleError("bytes written in an unknown way; the file is refused")
    return text.encode(encoding)


def _text_of(*names) -> str:
    if not all(isinstance(name, str | int) for name in names):
        raise UnsafePickleError("a device or layout that is no name; the file is refused")
    return ":".join(map(str, names))


def _sequence(*items) -> tuple:
    if len(items) > 1 or (items and not isinstance(items[0], list | tuple)):
        raise UnsafePickleError("a size or a set made of something that is no sequence; the file is refused")
    return tuple(items[0]) if items else ()


def _dict_of_pairs(*items) -> Dict:
    result = Dict()
    for pair in _sequence(*items):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UnsafePickleError("a dictionary made of something that is no pair; the file is refused")
        result[plain_key(pair[0])] = pair[1]
    return result


def _no_dict_of_a_factory(*_ignored) -> Dict:
    return Dict()


def _bytes(*parts) -> bytes:
    if parts and isinstance(parts[0], bytes):
        return parts[0]
    return _encode(*parts) if parts else b""


def _array_to_come(*_ignored) -> NumpyArray:
    return NumpyArray()


def _namespace(*_ignored) -> Namespace:
    return Namespace()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict_of_pairs,
    "collections.Counter": lambda *items: Dict(items[0]) if items and isinstance(items[0], dict) else Dict(),
    "collections.defaultdict": _no_dict_of_a_factory,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch.Size": _sequence,
    "torch.device": _text_of,
    "torch.serialization._get_layout": _text_of,
    "argparse.Namespace": _namespace,
    "numpy.ndarray": _array_to_come,
    "numpy.dtype": _numpy_type,
    "_codecs.encode": _encode,
    "builtins.set": _sequence,
    "__builtin__.set": _sequence,
    "builtins.bytearray": _bytes,
    "__builtin__.bytearray": _bytes,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    FUNCTIONS[f"{_module}.scalar"] = _numpy_scalar
    FUNCTIONS[f"{_module}._reconstruct"] = _array_to_come
CONSTANTS: dict[str, StorageType | TorchType] = {}
for _name, _dtype_name in _STORAGES.items():
    for _module in ("torch", "torch.cuda", "torch.storage"):
        CONSTANTS[f"{_module}.{_name}"] = StorageType(_DTYPES[_dtype_name])
for _name, _value in _DTYPES.items():
    CONSTANTS[f"torch.{_name}"] = TorchType(_value)
for _name, _full in _ALIASES.items():
    CONSTANTS[f"torch.{_name}"] = TorchType(_DTYPES[_full])
