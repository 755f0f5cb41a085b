"""Reads `.safetensors` files."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from converters.formats.source import Source, entry
from empatheia_jax.errors import UserError

DTYPES = {
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
        super().__init__(str(path), {k: entry(s, d) for k, (s, d, _) in self._places.items()}, metadata)

    def _place(self, key: str, stated: Mapping[str, Any], base: int, size: int):
        if stated["dtype"] not in DTYPES:
            raise UserError(f"{self.path}: {key} has the type {entry['dtype']!r}, which is not read")
        dtype, shape = DTYPES[stated["dtype"]], tuple(map(int, stated["shape"]))
        begin, end = map(int, stated["data_offsets"])
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
