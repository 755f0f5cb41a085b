"""Reads `.safetensors` files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from converters.formats.source import Source, checked_shape, entry
from empatheia_jax.errors import UserError
from empatheia_jax.files import unique_names

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


LONGEST_HEADER = 100_000_000  # bytes, as in the reference library


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


class SafetensorsSource(Source):
    """One `.safetensors` file. Tensors are read from the file, not mapped, so that pages do not pile up in memory.

    What the format forbids is refused: a name twice, tensors that share bytes, bytes that belong to no tensor.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(8)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or 8 + length > size or length > LONGEST_HEADER:
                raise UserError(f"{path} is no safetensors file, or it is cut short inside its header")
            try:
                text = file.read(length).decode()
                header = json.loads(text, object_pairs_hook=unique_names, parse_constant=_no_constant)
                if not isinstance(header, dict):
                    raise ValueError("it is no object")
                metadata = header.pop("__metadata__", {})
                if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
                    raise ValueError("__metadata__ is no object of texts")
                for name in header:
                    name.encode()
                self._places = {k: self._place(k, stated, 8 + length, size) for k, stated in header.items()}
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UserError(f"{path}: the safetensors header cannot be read: {error}") from error
        self._check_that_all_bytes_are_claimed(8 + length, size)
        super().__init__(str(path), {k: entry(s, d) for k, (s, d, _) in self._places.items()}, metadata)

    def _place(self, key: str, stated: Mapping[str, Any], base: int, size: int):
        if set(stated) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{key} has the fields {sorted(stated)}, expected dtype, shape and data_offsets")
        if stated["dtype"] not in DTYPES:
            raise UserError(f"{self.path}: {key} has the type {stated['dtype']!r}, which is not read")
        dtype = DTYPES[stated["dtype"]]
        shape = checked_shape(f"{self.path}: {key}", stated["shape"], dtype.itemsize)
        begin, end = stated["data_offsets"]
        if type(begin) is not int or type(end) is not int or begin < 0:
            raise ValueError(f"{key} has the data_offsets {stated['data_offsets']}")
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise UserError(f"{self.path} is damaged: {key} of shape {shape} has {end - begin} bytes")
        if base + end > size:
            raise UserError(
                f"{self.path} is cut short: {key} ends at byte {base + end}, and the file has {size}; download it again"
            )
        return shape, dtype, base + begin

    def _check_that_all_bytes_are_claimed(self, base: int, size: int) -> None:
        spans = sorted((at, at + math.prod(s) * d.itemsize, key) for key, (s, d, at) in self._places.items())
        at = base
        for begin, end, key in spans:
            if begin != at:
                what = "shares bytes with another tensor" if begin < at else f"begins {begin - at} bytes too late"
                raise UserError(f"{self.path} is refused: {key} {what}, which the format forbids")
            at = end
        if at != size:
            raise UserError(f"{self.path} is refused: {size - at} bytes follow after its last tensor")

    def read(self, key: str) -> np.ndarray:
        shape, dtype, place = self._places[key]
        array = np.fromfile(self.path, dtype, math.prod(shape), offset=place)
        if array.size != math.prod(shape):
            raise UserError(f"{self.path} is cut short inside {key}")
        return array.reshape(shape)
