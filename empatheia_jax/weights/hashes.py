"""SHA-256 of parameters and files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def array_hash(path: str, array: np.ndarray) -> str:
    """SHA-256 of one parameter: its path, type, shape and bytes (little-endian, row-major)."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{path}|{np.dtype(array.dtype).name}|{tuple(array.shape)}|".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def total_hash(hashes: Mapping[str, str]) -> str:
    """SHA-256 over the hashes of all parameters, in the order of their paths."""
    return hashlib.sha256("".join(hashes[path] for path in sorted(hashes)).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
