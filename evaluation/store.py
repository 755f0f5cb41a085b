"""What was measured once is not measured again: values by the content that they were measured on.

Each process appends to a file of its own; all read all. A line that a stopped command left behind unfinished is passed over.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from empatheia_jax.files import parse_line


def key_of(**parts: Any) -> str:
    """The key of a value: a hash of everything that it depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@functools.cache
def _hash(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """SHA-256 of a file; read again only when its size or time changes."""
    found = path.stat()
    return _hash(path, found.st_size, found.st_mtime_ns)


class Store:
    """Values (objects of numbers and words) by key, kept in `folder`."""

    def __init__(self, folder: Path, process: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._path = folder, folder / f"values-{process}.jsonl"
        self._values: dict[str, dict[str, Any]] = {}
        self.measured = 0
        self.reload()

    def reload(self) -> None:
        """Reads what all processes have written."""
        for path in sorted(self._folder.glob("values-*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    value = parse_line(line)
                    self._values[value["key"]] = dict(value["value"])
                except (ValueError, KeyError, TypeError):
                    continue

    def get(self, key: str) -> dict[str, Any] | None:
        """The value, or None."""
        return self._values.get(key)

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keeps a value, on the disk too."""
        self._values[key] = dict(value)
        self.measured += 1
        line = json.dumps({"key": key, "value": value})
        with self._path.open("ab") as file:
            if file.tell() and not _ends_whole(self._path):
                file.write(b"\n")
            file.write(line.encode() + b"\n")


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
