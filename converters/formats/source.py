"""Checkpoints as lists of named tensors that are read one at a time: the interface, and sources made of others."""

from __future__ import annotations

import math
from collections.abc import Iterator, KeysView, Mapping
from typing import Any

import numpy as np

from empatheia_jax.errors import UserError


class Source:
    """Named tensors, each read when asked for.

    Attributes:
      name: what error messages call it.
      metadata: what else the file says (GGUF fields, safetensors metadata, scalars of a torch file).
    """

    def __init__(self, name: str, manifest: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, Any] | None = None):
        self.name = name
        self.metadata = dict(metadata or {})
        self._manifest = dict(manifest)

    def __str__(self) -> str:
        return self.name

    def keys(self) -> KeysView[str]:
        """All tensor names."""
        return self._manifest.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self._manifest)

    def __len__(self) -> int:
        return len(self._manifest)

    def __contains__(self, key: object) -> bool:
        return key in self._manifest

    def manifest(self) -> dict[str, dict[str, Any]]:
        """{key: {"shape": […], "dtype": name}} of every tensor."""
        return {key: dict(entry) for key, entry in self._manifest.items()}

    def read(self, key: str) -> np.ndarray:
        """One tensor, read from where it lies."""
        raise NotImplementedError(f"{type(self).__name__} must say how a tensor of its files is read")


def entry(shape, dtype) -> dict[str, Any]:
    """A tensor's line of a manifest."""
    return {"shape": [int(n) for n in shape], "dtype": np.dtype(dtype).name}


MOST_AXES = 32  # what NumPy takes
MOST_ELEMENTS = 1 << 60


def checked_shape(name: str, shape: Any, itemsize: int = 1) -> tuple[int, ...]:
    """`shape` as a tuple, where it is a list of whole numbers that an array can have. `name` is for the message.

    Raises: UserError for anything else (a negative or fractional side, a word, more axes or bytes than there can be).
    """
    if not isinstance(shape, list | tuple) or len(shape) > MOST_AXES:
        raise UserError(f"{name} has a shape that is no list of at most {MOST_AXES} sides; the file is damaged")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape):
        raise UserError(f"{name} has a side that is no whole number from 0 up; the file is damaged")
    if math.prod(n for n in shape if n) * itemsize > MOST_ELEMENTS:
        raise UserError(f"{name} claims more bytes than any file has; the file is damaged")
    return tuple(shape)


class DictSource(Source):
    """A mapping of arrays in memory."""

    def __init__(self, arrays: Mapping[str, Any], name: str = "the given tensors"):
        super().__init__(name, {k: entry(v.shape, v.dtype) for k, v in arrays.items()})
        self._arrays = arrays

    def read(self, key: str) -> np.ndarray:
        return np.asarray(self._arrays[key])


class JoinedSource(Source):
    """Several sources as one; no key may occur twice. `index` is the key list that an index file promises."""

    def __init__(self, name: str, parts: list[Source], index: Mapping[str, str] | None = None):
        self._owner: dict[str, Source] = {}
        for part in parts:
            for key in part:
                if key in self._owner:
                    raise UserError(f"{key} is in {self._owner[key]} and in {part}")
                self._owner[key] = part
        if index is not None:
            lost = [f"{key} (of {shard})" for key, shard in index.items() if key not in self._owner]
            extra = [f"{key} (in {part})" for key, part in self._owner.items() if key not in index]
            if lost or extra:
                raise UserError(f"{name} and its shards differ: missing {lost[:10]}, unexpected {extra[:10]}")
        manifest: dict[str, dict[str, Any]] = {}
        for part in parts:
            manifest.update(part.manifest())
        super().__init__(name, manifest, {k: v for part in parts for k, v in part.metadata.items()})

    def read(self, key: str) -> np.ndarray:
        return self._owner[key].read(key)


class RenamedSource(Source):
    """A source under other names: `rename(key)` gives the new name, or None to leave the tensor out."""

    def __init__(self, source: Source, rename):
        self._source = source
        self._names: dict[str, str] = {}
        for key in source:
            new = rename(key)
            if new is None:
                continue
            if new in self._names:
                raise UserError(f"{source}: {key} and {self._names[new]} would both be called {new}")
            self._names[new] = key
        manifest = source.manifest()
        super().__init__(source.name, {new: manifest[old] for new, old in self._names.items()}, source.metadata)

    def read(self, key: str) -> np.ndarray:
        return self._source.read(self._names[key])
