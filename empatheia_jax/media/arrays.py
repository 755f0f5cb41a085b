"""Arrays in files of users: `.npy`, `.npz`, `.txt` and MATLAB's `.mat`. Sizes are checked before anything is built.

A header of a few bytes can claim an array of terabytes, and a few kilobytes of a zip can unpack to as much; an array of
objects would run code. All of these are refused in one line.
"""

from __future__ import annotations

import io
import lzma
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.io

from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular

LARGEST = 2**28
"""Most bytes of a file, and of what it unpacks to."""
_COMPRESSED = 15  # MATLAB's number of an element that is compressed


class _Broken(ValueError):
    """The reason why a file cannot be read, as the words of a message."""


def read_array(path: str | os.PathLike, expected: str) -> np.ndarray:
    """The array of a `.npy`, the only one of a `.npz`, or the table of a `.txt`.

    Args:
        path: the file.
        expected: what it should be, for the message.

    Raises:
        UserError: no regular file, damaged, larger than `LARGEST`, several arrays, or objects.
    """
    path = Path(path)
    _require_small(path, expected)
    try:
        if path.suffix.lower() == ".txt":
            return np.loadtxt(path, ndmin=2)
        if zipfile.is_zipfile(path):
            return _npz(path)
        return _npy(path.read_bytes())
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError, RecursionError, *_ZIP_ERRORS) as error:
        raise _refusal(path, error, expected) from None


_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, MemoryError, KeyError)


def read_mat(path: str | os.PathLike, expected: str) -> Mapping[str, np.ndarray]:
    """The variables of a MATLAB file (up to version 7). Raises `UserError` as `read_array`."""
    path = Path(path)
    _require_small(path, expected)
    try:
        content = path.read_bytes()
        _require_small_elements(content)
        found = scipy.io.loadmat(io.BytesIO(content))
    except Exception as error:  # scipy raises nearly anything on a damaged file
        raise _refusal(path, error, expected) from None
    return {name: value for name, value in found.items() if not name.startswith("__")}


def _require_small(path: Path, expected: str) -> None:
    size = require_regular(path, expected).st_size
    if size > LARGEST:
        raise UserError(f"{path} has {size} bytes; at most {LARGEST} are read; expected {expected}")


def _refusal(path: Path, error: Exception, expected: str) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{path} cannot be read ({reason}); expected {expected}")


def _npy(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise _Broken("it holds objects, which are never read")
    start, size = file.tell(), math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or size != len(content) - start:
        raise _Broken(f"its header says {dtype} {shape}, which are {size} bytes, and {len(content) - start} follow")
    return np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def _npz(path: Path) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise _Broken(f"it holds the arrays {[name.removesuffix('.npy') for name in names[:8]]}, not one")
        member = archive.getinfo(names[0])
        if member.file_size > LARGEST:
            raise _Broken(f"it unpacks to {member.file_size} bytes; at most {LARGEST} are read")
        return _npy(archive.read(member))


def _require_small_elements(content: bytes) -> None:
    """Unpacks the compressed elements of a MATLAB 5 file in pieces, only to count. Raises `_Broken`."""
    order: Literal["big", "little"] = "big" if content[126:128] == b"MI" else "little"
    place, total = 128, 0
    while place + 8 <= len(content):
        kind, size = (int.from_bytes(content[place + n : place + n + 4], order) for n in (0, 4))
        if kind == _COMPRESSED:
            unpack, rest = zlib.decompressobj(), content[place + 8 : place + 8 + size]
            while rest and not unpack.eof:
                total += len(unpack.decompress(rest, 2**20))
                rest = unpack.unconsumed_tail
                if total > LARGEST:
                    raise _Broken(f"it unpacks to more than {LARGEST} bytes")
        place += 8 + size
