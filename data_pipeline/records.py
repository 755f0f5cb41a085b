"""Records of named arrays with a checksum, in ArrayRecord files: what the feature cache is made of."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from empatheia_jax.errors import UserError, first_line
from empatheia_jax.files import replacing, require_regular

_MAGIC = b"EMP2"
_HASH_SIZE = 16
_HALF = {"bfloat16": ml_dtypes.bfloat16}


def pack(arrays: Mapping[str, np.ndarray], note: Mapping[str, Any]) -> bytes:
    """Arrays and a JSON note → bytes.

    A magic word, a BLAKE2b hash of everything after it, the length of the header, the header (JSON), the arrays' bytes.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    fields = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"note": dict(note), "arrays": fields}, sort_keys=True).encode()
    body = b"".join([struct.pack("<I", len(header)), header, *(array.tobytes() for array in arrays.values())])
    return _MAGIC + _hash(body) + body


def _hash(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=_HASH_SIZE).digest()


def unpack(record: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The inverse of `pack`. Raises `ValueError` on bytes that are no such record, or that changed since."""
    start = len(_MAGIC) + _HASH_SIZE
    if record[: len(_MAGIC)] != _MAGIC or len(record) < start + 4:
        raise ValueError("not a record of named arrays")
    if _hash(memoryview(record)[start:]) != record[len(_MAGIC) : start]:
        raise ValueError("its checksum does not fit its content")
    (length,) = struct.unpack("<I", record[start : start + 4])
    place = start + 4 + length
    header = json.loads(record[start + 4 : place])
    arrays = {}
    for name, kind, shape in header["arrays"]:
        dtype = np.dtype(_HALF.get(kind, kind))
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(record, dtype, count=size // dtype.itemsize, offset=place).reshape(shape)
        place += size
    return arrays, header["note"]


def write_records(path: str | os.PathLike, records: Sequence[bytes]) -> None:
    """Writes one ArrayRecord file for random access, whole or not at all. Raises `UserError` where it cannot be written."""
    with replacing(Path(path)) as temporary:
        try:
            writer = ArrayRecordWriter(str(temporary), "group_size:1")
            for record in records:
                writer.write(record)
            writer.close()
        except RuntimeError as error:
            raise UserError(f"{path} cannot be written ({first_line(error)})") from None


class RecordFile:
    """Random access to one ArrayRecord file; opened when first read, so that it can be sent to a worker process."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._reader: ArrayRecordReader | None = None

    def __getstate__(self) -> dict:
        return {"path": self.path, "_reader": None}

    def _open(self) -> ArrayRecordReader:
        if self._reader is None:
            require_regular(self.path, "a file of features")
            try:
                self._reader = ArrayRecordReader(str(self.path), "readahead_buffer_size:0,max_parallelism:0")
            except (RuntimeError, ValueError) as error:
                raise self._damaged(error) from None
        return self._reader

    def _damaged(self, error: Exception, position: int | None = None) -> UserError:
        where = "" if position is None else f" at record {position}"
        return UserError(
            f"{self.path} is damaged{where} ({first_line(error)}); run --mode=extract --verify, which makes anew what is damaged"
        )

    def __len__(self) -> int:
        try:
            return self._open().num_records()
        except RuntimeError as error:
            raise self._damaged(error) from None

    def __getitem__(self, position: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and note of a record. Raises `UserError` where it cannot be read or its checksum does not fit."""
        try:
            return unpack(self._open().read([position])[0])
        except (RuntimeError, IndexError, ValueError) as error:
            raise self._damaged(error, position) from None

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
        return (self[position] for position in range(len(self)))
