"""Reads GGUF files."""

from __future__ import annotations

import os
from typing import Any

import ml_dtypes
import numpy as np

from converters.formats.source import Source, entry
from empatheia_jax.errors import UserError


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
            {n: entry(self._shape(t), self._plain.get(t.tensor_type, np.float32)) for n, t in self._tensors.items()},
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
