"""Turns released checkpoints into weights folders, and weights folders into released checkpoints.

    python -m converters.convert --source=NAME --input=PATH --output=FOLDER [--dtype=bfloat16]
    python -m converters.convert --source=peft --base=WEIGHTS_FOLDER --input=ADAPTER_FOLDER --output=FOLDER
    python -m converters.convert --target=hf --input=WEIGHTS_FOLDER --output=FOLDER [--shard-gb=5]

A conversion fits exactly or stops with every key that does not and the reason; nothing is left behind then. Exit codes:
0 done, 2 the input is refused.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (makes NumPy know "bfloat16" by name)
import numpy as np

from converters import interpreter
from converters.conversion import Conversion
from converters.formats.safetensors_writer import DEFAULT_SHARD_BYTES, write_safetensors
from converters.formats.torch_writer import write_torch_file
from converters.registry import conversions, find_conversion, recognize
from converters.tables import peft_adapter
from empatheia_jax import weights
from empatheia_jax.errors import UserError, main_guard

MANIFEST_FILE = "source_manifest.json"
SOURCE_CONFIG_FILE = "source_config.json"


def to_weights(
    conversion: Conversion,
    path: Path,
    output: Path,
    dtype: str | None = None,
    overwrite: bool = False,
    redistribution: str | None = None,
) -> Path:
    """Converts the checkpoint at `path` into the weights folder `output`, one parameter at a time.

    Args:
      conversion: what the input is.
      path: checkpoint file or folder.
      output: weights folder to make.
      dtype: type of the floating-point parameters; None keeps the checkpoint's.
      overwrite: replace an existing weights folder.
      redistribution: "allowed" or "forbidden": whether a release may hold these weights; None = as their licence is known to say.
    """
    source = conversion.open(path)
    config, table, abstract = conversion.describe(path, source)
    parameters = interpreter.lazy(source, table, abstract, np.dtype(dtype) if dtype else None)
    ignored = interpreter.check(source.manifest(), table, parameters).ignored
    kept = {key: entry for key, entry in source.manifest().items() if key not in ignored}
    files = dict(conversion.files(path, source))
    files[MANIFEST_FILE] = (json.dumps(kept, indent=1) + "\n").encode()
    provenance: dict[str, Any] = {"source": conversion.name, "input": path.name, "ignored": ignored}
    provenance |= {} if redistribution is None else {"redistribution": redistribution}
    return weights.save(output, parameters, config, conversion.kind, provenance, files, overwrite)


def to_release(conversion: Conversion, folder: Path, output: Path, shard_bytes: int = DEFAULT_SHARD_BYTES) -> Path:
    """Writes a weights folder as a released checkpoint: safetensors under the source's keys, with its config."""
    description = weights.describe(folder)
    if description["kind"] != conversion.kind:
        raise UserError(
            f"{folder} holds {description['kind']!r}, and the source {conversion.name!r} is {conversion.kind!r}"
        )
    if output.exists():
        raise UserError(f"{output} exists already; remove it or choose another folder")
    parameters = parameters_of(folder, description)
    config = _config(conversion, description["config"])
    made: dict[str, bytes] = {}
    if conversion.release is not None:
        name, released = conversion.release(config)
        conversion = find_conversion(name)
        made["config.json"] = (json.dumps(released, indent=1) + "\n").encode()
    table = (conversion.export_table or conversion.table)(config)
    if conversion.export_files is not None:
        made |= conversion.export_files(config)
    keys = None
    if description["provenance"].get("source") == conversion.name and MANIFEST_FILE in description["files"]:
        keys = list(json.loads((folder / MANIFEST_FILE).read_text()))
    elif conversion.keys is not None:
        keys = conversion.keys(config, interpreter.export_manifest(parameters, table))
    manifest = interpreter.export_manifest(parameters, table, keys)
    ordered = {key: manifest[key] for key in keys or manifest}
    temporary = output.parent / f".{output.name}.{uuid.uuid4().hex[:8]}.tmp"
    temporary.mkdir(parents=True)
    try:
        for file, places in files_of(conversion, ordered).items():
            tensors = interpreter.export(parameters, table, keys, only=places.keys())
            write_tensors(temporary / file, tensors, ordered, places, shard_bytes)
        for name, content in conversion.code().items():
            (temporary / name).write_bytes(content)
        for name in description["files"]:
            if name == MANIFEST_FILE:
                continue
            place = temporary / ("config.json" if name == SOURCE_CONFIG_FILE else name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, place)
        for name, content in made.items():
            (temporary / name).write_bytes(content)
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return output


SMALL = 1 << 30
"""Bytes up to which a weights folder is read at once, which is many times as quick as parameter by parameter."""


def parameters_of(folder: Path, description: Mapping[str, Any]) -> Mapping[str, Any]:
    """{path: array, or `Lazy` where the folder is large} of a weights folder."""
    entries = description["params"].values()
    size = sum(math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize for entry in entries)
    return weights.load(folder)[2] if size <= SMALL else weights.lazy_params(folder)


def files_of(conversion: Conversion, keys: Iterable[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """{file of an export: {key: its place in there}}, in the order of the keys."""
    place = conversion.place or (lambda key: (conversion.tensor_file, (key,)))
    files: dict[str, dict[str, tuple[str, ...]]] = {}
    for key in keys:
        file, inside = place(key)
        files.setdefault(file, {})[key] = inside
    return files


def write_tensors(
    path: Path,
    tensors: Iterable[tuple[str, np.ndarray]],
    manifest: Mapping[str, Mapping[str, Any]],
    places: Mapping[str, tuple[str, ...]],
    shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> None:
    """Writes the tensors that `places` names, as a file of torch.save (`.pt`, `.pth`) or as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".pt", ".pth"):
        write_torch_file(path, tensors, {key: manifest[key] for key in places}, places)
        return
    named = {place[-1]: manifest[key] for key, place in places.items()}
    write_safetensors(path.parent, ((places[key][-1], a) for key, a in tensors), named, path.name, shard_bytes)


def _config(conversion: Conversion, values: dict):
    config_class = conversion.config_class
    return weights.config_from_dict(config_class, values) if config_class is not None else values


def _default_input(source: str | None, target: str) -> Path:
    find = find_conversion(source).default_input if source and target == "jax" else None
    if find is None:
        raise UserError("--input is missing: the checkpoint's file or folder (with --target=hf, the weights folder)")
    return find()


@main_guard
def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        "converters.convert",
        description="Released checkpoints ⇄ weights folders.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="sources:\n" + "\n".join(f"  {c.name:18} {c.about}" for c in conversions().values()),
    )
    parser.add_argument("--source", help="format of the release, see the list below (default: found out)")
    parser.add_argument(
        "--input",
        type=Path,
        help="checkpoint file or folder; with --target=hf a weights folder; may be left out for sources inside packages",
    )
    parser.add_argument(
        "--base", type=Path, help="of an adapter: its base model, as a weights folder or as the original release"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--target", choices=("jax", "hf"), default="jax", help="jax: our layout (default); hf: the release's"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16", "float64"), help="default: the checkpoint's own"
    )
    parser.add_argument(
        "--shard-gb", type=float, default=DEFAULT_SHARD_BYTES / 1e9, help="largest shard with --target=hf"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing weights folder")
    parser.add_argument(
        "--redistribution",
        choices=("allowed", "forbidden"),
        help="whether a release may hold these weights (default: as far as their licence is known here)",
    )
    options = parser.parse_args(arguments)
    if options.input is None:
        options.input = _default_input(options.source, options.target)
    if options.target == "hf":
        name = options.source or weights.describe(options.input)["provenance"].get("source")
        if name is None:
            raise UserError(f"{options.input} does not say what it was made from; give --source")
        folder = to_release(find_conversion(name), options.input, options.output, int(options.shard_gb * 1e9))
        print(f"wrote {folder}")
        return 0
    conversion = find_conversion(options.source) if options.source else recognize(options.input)[0]
    if conversion.name == peft_adapter.NAME:
        conversion = peft_adapter.on(options.base)
    folder = to_weights(
        conversion, options.input, options.output, options.dtype, options.overwrite, options.redistribution
    )
    description = weights.describe(folder)
    count = sum(int(np.prod(entry["shape"])) for entry in description["params"].values())
    print(f"wrote {folder}: {description['kind']}, {count:,} parameters, sha256 {description['sha256'][:16]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
