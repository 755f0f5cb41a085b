"""Reads `.npz` archives."""

from __future__ import annotations

import os

import numpy as np

from converters.formats.source import Source, entry
from empatheia_jax.errors import UserError


class NpzSource(Source):
    """An `.npz` archive of arrays (no objects)."""

    def __init__(self, path: str | os.PathLike):
        try:
            self._archive = np.load(path, allow_pickle=False)
            shapes = {}
            for key in self._archive.files:
                with self._archive.zip.open(f"{key}.npy") as file:
                    version = np.lib.format.read_magic(file)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(file)
                    shapes[key] = entry(shape, dtype)
        except (ValueError, OSError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is no npz archive of plain arrays, or it is damaged: {error}") from error
        super().__init__(str(path), shapes)

    def read(self, key: str) -> np.ndarray:
        return self._archive[key]
