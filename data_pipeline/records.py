"""Records of named arrays in ArrayRecord files: what the feature cache and the TFDS builder's readers share."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing

_MAGIC = b"EMPA"
_HALF = {"bfloat16": ml_dtypes.bfloat16}


def pack(arrays: Mapping[str, np.ndarray], note: Mapping[str, Any]) -> bytes:
    """Arrays and a JSON note → bytes: a magic word, the length of the header, the header (JSON), the arrays' bytes."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    fields = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"note": dict(note), "arrays": fields}, sort_keys=True, ensure_ascii=False).encode()
    return b"".join([_MAGIC, struct.pack("<I", len(header)), header, *(array.tobytes() for array in arrays.values())])


def unpack(record: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The inverse of `pack`. Raises `ValueError` on bytes that are no such record."""
    if record[:4] != _MAGIC or len(record) < 8:
        raise ValueError("not a record of named arrays")
    (length,) = struct.unpack("<I", record[4:8])
    header = json.loads(record[8 : 8 + length])
    arrays, place = {}, 8 + length
    for name, kind, shape in header["arrays"]:
        dtype = np.dtype(_HALF.get(kind, kind))
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        if place + size > len(record):
            raise ValueError(f"array {name!r} is cut")
        arrays[name] = np.frombuffer(record, dtype, count=size // dtype.itemsize, offset=place).reshape(shape)
        place += size
    return arrays, header["note"]


def write_records(path: str | os.PathLike, records: Sequence[bytes]) -> None:
    """Writes one ArrayRecord file for random access, whole or not at all."""
    with replacing(Path(path)) as temporary:
        writer = ArrayRecordWriter(str(temporary), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()


class RecordFile:
    """Random access to one ArrayRecord file; opened when first read, so that it can be sent to a worker process."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._reader: ArrayRecordReader | None = None

    def __getstate__(self) -> dict:
        return {"path": self.path, "_reader": None}

    def _open(self) -> ArrayRecordReader:
        if self._reader is None:
            try:
                self._reader = ArrayRecordReader(str(self.path), "readahead_buffer_size:0,max_parallelism:0")
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"{self.path} is no readable ArrayRecord file ({error}); delete it and make it again"
                ) from None
        return self._reader

    def __len__(self) -> int:
        return self._open().num_records()

    def __getitem__(self, position: int) -> bytes:
        try:
            return self._open().read([position])[0]
        except (RuntimeError, IndexError) as error:
            raise UserError(
                f"{self.path}: record {position} cannot be read ({error}); delete the file and make it again"
            ) from None

    def __iter__(self) -> Iterator[bytes]:
        return (self[position] for position in range(len(self)))
