"""Reads GGUF files.

The header is decoded here, as the format's description (ggml's `docs/gguf.md`) has it, because every length in it is
compared with the file before it is believed. Quantised tensors are decoded by the `gguf` package.
"""

from __future__ import annotations

import dataclasses
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import ml_dtypes
import numpy as np

from converters.formats.source import Source, checked_shape, entry
from empatheia_jax.errors import UserError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS: dict[int, np.dtype] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    _BOOL: np.dtype("<u1"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
"""Types of metadata values; strings and arrays apart."""
_KINDS = gguf.GGMLQuantizationType
_PLAIN = {
    _KINDS.F64: np.dtype(np.float64),
    _KINDS.F32: np.dtype(np.float32),
    _KINDS.F16: np.dtype(np.float16),
    _KINDS.BF16: np.dtype(ml_dtypes.bfloat16),
    _KINDS.I8: np.dtype(np.int8),
    _KINDS.I16: np.dtype(np.int16),
    _KINDS.I32: np.dtype(np.int32),
    _KINDS.I64: np.dtype(np.int64),
}


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A tensor's line of the header. shape: row-major. begin, size: bytes in the file."""

    shape: tuple[int, ...]
    kind: Any
    begin: int
    size: int


class _Header:
    """Reads the fields of a header one after the other; what would go beyond the file is a `ValueError`."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._size = file, size

    def bytes(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise ValueError(f"its header claims {count} bytes and {self._size - self._file.tell()} are left")
        return self._file.read(count)

    def tell(self) -> int:
        return self._file.tell()

    def integer(self, form: str) -> int:
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]

    def text(self) -> str:
        return self.bytes(self.integer("<Q")).decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.integer("<I"), self.integer("<Q")
            if inner == _STRING:
                if 8 * count > self._size - self.tell():
                    raise ValueError(f"it claims a list of {count} texts")
                return [self.text() for _ in range(count)]
            if inner not in _SCALARS:
                raise ValueError("it has a list of lists" if inner == _ARRAY else f"it has values of type {inner}")
            return self._numbers(inner, count)
        if kind not in _SCALARS:
            raise ValueError(f"it has a value of type {kind}")
        return self._numbers(kind, 1)[0]

    def _numbers(self, kind: int, count: int) -> list[Any]:
        dtype = _SCALARS[kind]
        found = np.frombuffer(self.bytes(count * dtype.itemsize), dtype).tolist()
        return [bool(n) for n in found] if kind == _BOOL else found


def _fields(header: _Header, count: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for _ in range(count):
        name = header.text()
        if name in fields:
            raise ValueError(f"it has the field {name!r} twice")
        fields[name] = header.value(header.integer("<I"))
    return fields


def _tensor_lines(header: _Header, count: int) -> Iterator[tuple[str, tuple[int, ...], Any, int]]:
    """(name, row-major shape, type, first byte in the data section) of each tensor."""
    for _ in range(count):
        name = header.text()
        axes = header.integer("<I")
        if axes > 8:
            raise ValueError(f"the tensor {name!r} has {axes} axes")
        shape = [header.integer("<Q") for _ in range(axes)]
        kind, offset = header.integer("<I"), header.integer("<Q")
        yield name, checked_shape(f"the tensor {name!r}", shape[::-1]), _KINDS(kind), offset


def _bytes_of(name: str, shape: tuple[int, ...], kind: Any) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    row = shape[-1] if shape else 1
    if row % block:
        raise ValueError(f"the tensor {name!r} has rows of {row} elements, not a multiple of {block}")
    return math.prod(shape) // block * size


class GGUFSource(Source):
    """A GGUF file. Quantised tensors are read as float32; fields are in `metadata`, shapes row-major (as PyTorch's)."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        size = self.path.stat().st_size
        try:
            with open(self.path, "rb") as file:
                metadata = self._read_header(_Header(file, size), size)
        except (ValueError, KeyError, OSError, struct.error) as error:
            raise UserError(f"{path} is no GGUF file, or it is damaged or cut short: {error}") from error
        manifest = {name: entry(t.shape, _PLAIN.get(t.kind, np.float32)) for name, t in self._tensors.items()}
        super().__init__(str(path), manifest, metadata)

    def _read_header(self, header: _Header, size: int) -> dict[str, Any]:
        if header.bytes(4) != MAGIC:
            raise ValueError("it does not begin with GGUF")
        version = header.integer("<I")
        if version not in VERSIONS:
            raise ValueError(f"it has the version {version}, or was written for a big-endian machine")
        tensors, fields = header.integer("<Q"), header.integer("<Q")
        metadata = _fields(header, fields)
        alignment = metadata.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"general.alignment is {alignment!r}, expected a power of two")
        lines = list(_tensor_lines(header, tensors))

        def aligned(place: int) -> int:
            return -(-place // alignment) * alignment

        begin = aligned(header.tell()) if lines else header.tell()
        self._tensors: dict[str, _Tensor] = {}
        end = begin
        for name, shape, kind, offset in lines:
            count = _bytes_of(name, shape, kind)
            if name in self._tensors:
                raise ValueError(f"it has the tensor {name!r} twice")
            if begin + offset != aligned(end):
                raise ValueError(f"the tensor {name!r} lies at {offset}, and the one before ends at {end - begin}")
            end = begin + offset + count
            if end > size:
                raise ValueError(f"the tensor {name!r} ends at byte {end}, and the file has {size}")
            self._tensors[name] = _Tensor(shape, kind, begin + offset, count)
        if size > aligned(end):
            raise ValueError(f"{size - end} bytes follow after its last tensor")
        return metadata

    def read(self, key: str) -> np.ndarray:
        tensor = self._tensors[key]
        data = np.fromfile(self.path, np.uint8, tensor.size, offset=tensor.begin)
        if data.size != tensor.size:
            raise UserError(f"{self.path} is cut short inside {key}")
        plain = _PLAIN.get(tensor.kind)
        if plain is not None:
            return data.view(plain).reshape(tensor.shape)
        block, size = gguf.GGML_QUANT_SIZES[tensor.kind]
        rows = data.reshape(*tensor.shape[:-1], tensor.shape[-1] // block * size)
        try:
            return gguf.dequantize(rows, tensor.kind).reshape(tensor.shape).astype(np.float32)
        except NotImplementedError as error:
            raise UserError(f"{self.path}: {key} is quantised as {tensor.kind.name}, which is not read") from error
