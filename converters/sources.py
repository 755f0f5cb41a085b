"""Opens a checkpoint, whatever its format is.

`open_source(path)` finds out what a file or folder is: safetensors (single, sharded), `torch.save` (`.bin`, `.pt`,
`.pth`; single, sharded), GGUF, npz. All have the same small interface, `formats.source.Source`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.formats.npz_file import NpzSource
from converters.formats.safetensors_file import SafetensorsSource
from converters.formats.source import DictSource, JoinedSource, Source
from converters.formats.torch_file import TorchSource
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object


def _open_index(path: Path, kind) -> Source:
    weight_map = read_json_object(path, "an index of shards").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise UserError(f"{path} is no index of shards: its weight_map names no files")
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if Path(shard).name != shard or "\0" in shard:
            raise UserError(f"{path} names the shard {shard!r} outside its folder")
        if not (path.parent / shard).is_file():
            raise UserError(f"{path} names the shard {shard}, which is not there; download it again")
    return JoinedSource(str(path), [kind(path.parent / shard) for shard in shards], weight_map)


_FOLDER_FILES = (
    ("model.safetensors.index.json", lambda p: _open_index(p, SafetensorsSource)),
    ("model.safetensors", SafetensorsSource),
    ("adapter_model.safetensors", SafetensorsSource),
    ("pytorch_model.bin.index.json", lambda p: _open_index(p, TorchSource)),
    ("pytorch_model.bin", TorchSource),
    ("adapter_model.bin", TorchSource),
    ("pytorch_model.pt", TorchSource),
)


def open_source(path: str | os.PathLike, root: str = "") -> Source:
    """Opens a checkpoint file or a folder that holds one.

    Args:
      path: a `.safetensors`, `.bin`/`.pt`/`.pth`/`.ckpt`/`.t7`, `.gguf` or `.npz` file, an index of shards
        (`….index.json`), or a folder with one of the usual names (or with a single such file).
      root: for torch files: where in the nested dictionary the tensors are, see `TorchSource`.
    """
    path = Path(path)
    if path.is_dir():
        for name, opener in _FOLDER_FILES:
            if (path / name).is_file():
                return opener(path / name)
        files = [
            f for f in sorted(path.iterdir()) if f.suffix in (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".npz")
        ]
        if len(files) == 1:
            return open_source(files[0], root)
        raise UserError(
            f"{path} holds {'several checkpoints: ' + ', '.join(f.name for f in files) if files else 'no checkpoint'}; "
            f"expected one of {', '.join(name for name, _ in _FOLDER_FILES)}, or give the file"
        )
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    if path.name.endswith(".index.json"):
        return _open_index(path, TorchSource if ".bin." in path.name else SafetensorsSource)
    with open(path, "rb") as file:
        head = file.read(4)
    if path.suffix == ".safetensors":
        return SafetensorsSource(path)
    if head == b"GGUF":
        # Here, so that nothing else asks for the package `gguf`: networks are also checked on machines that lack it.
        from converters.formats.gguf_file import GGUFSource

        return GGUFSource(path)
    if path.suffix == ".npz":
        return NpzSource(path)
    if head[:2] in (b"PK",) or head[:1] == b"\x80":
        return TorchSource(path, root)
    raise UserError(
        f"{path} is no checkpoint that is read here (it begins with {head!r}); expected safetensors, a file of "
        "torch.save, GGUF or npz"
    )


def as_source(source: Any) -> Source:
    """A `Source` as it is, a mapping of arrays wrapped, a path opened."""
    if isinstance(source, Source):
        return source
    if isinstance(source, Mapping):
        return DictSource(source)
    return open_source(source)
