"""Reads `.npz` archives."""

from __future__ import annotations

import io
import math
import os

import numpy as np

from converters.formats.source import Source, checked_shape, entry
from converters.formats.zip_archive import ZipArchive
from empatheia_jax.errors import UserError

_LONGEST_HEADER = 1 << 16


class NpzSource(Source):
    """An `.npz` archive of arrays of plain numbers."""

    def __init__(self, path: str | os.PathLike):
        self._archive = ZipArchive(path, compressed=True)
        manifest = {}
        for name in self._archive.names():
            if not name.endswith(".npy"):
                raise UserError(f"{path} is no npz archive: it holds {name!r}")
            key = name.removesuffix(".npy")
            shape, dtype = self._header(name, key)
            manifest[key] = entry(shape, dtype)
        super().__init__(str(path), manifest)

    def _header(self, name: str, key: str) -> tuple[tuple[int, ...], np.dtype]:
        path, size = self._archive.path, self._archive.size(name)
        head = io.BytesIO(self._archive.read(name)[:_LONGEST_HEADER])
        try:
            version = np.lib.format.read_magic(head)
            first = version == (1, 0)
            read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(head)
        except Exception as error:  # NumPy reads the header as Python text, which can fail in any way
            raise UserError(f"{path} is damaged: the array {key!r} has no readable header: {error}") from error
        if dtype.kind not in "biufc":
            raise UserError(f"{path}: the array {key!r} is of the type {dtype}; only plain numbers are read")
        shape = checked_shape(f"{path}: {key}", shape, dtype.itemsize)
        if head.tell() + math.prod(shape) * dtype.itemsize != size:
            raise UserError(f"{path} is damaged: the array {key!r} of shape {shape} has {size - head.tell()} bytes")
        return shape, dtype

    def read(self, key: str) -> np.ndarray:
        try:
            return np.lib.format.read_array(io.BytesIO(self._archive.read(f"{key}.npy")), allow_pickle=False)
        except (ValueError, OSError) as error:
            raise UserError(f"{self._archive.path} is damaged: the array {key!r} cannot be read: {error}") from error
