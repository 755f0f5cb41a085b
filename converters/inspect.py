"""Says what a checkpoint or a weights folder is, and whether it fits our model.

    python -m converters.inspect PATH [--source=NAME] [--base=FOLDER] [--keys] [--verify]

Exit codes: 0 it fits exactly, 1 it does not (every missing, extra or misshapen key is listed), 2 it cannot be read.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (makes NumPy know "bfloat16" by name)
import numpy as np

from converters import interpreter
from converters.registry import conversions, find_conversion, recognize
from converters.release import layout
from converters.tables import peft_adapter
from empatheia_jax import weights
from empatheia_jax.errors import UserError, main_guard


def _sizes(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Tensors, elements and bytes of a manifest, by type."""
    count: collections.Counter[str] = collections.Counter()
    for entry in entries.values():
        count[entry["dtype"]] += math.prod(entry["shape"])
    size = sum(np.dtype(name).itemsize * number for name, number in count.items())
    kinds = ", ".join(f"{number:,} {name}" for name, number in count.most_common())
    return f"{len(entries)} tensors, {kinds}, {size / 1e9:.3f} GB"


def _print_keys(entries: Mapping[str, Mapping[str, Any]]) -> None:
    for key, entry in entries.items():
        print(f"  {key}  {entry['dtype']}{list(entry['shape'])}")


def ignored_lines(ignored: Mapping[str, str]) -> list[str]:
    """One line for each reason to ignore tensors, with their number and the first of them."""
    by_reason: dict[str, list[str]] = {}
    for key, reason in ignored.items():
        by_reason.setdefault(reason, []).append(key)
    return [
        f"ignored: {keys[0]}: {reason}" if len(keys) == 1 else f"ignored: {len(keys)} tensors ({keys[0]}, …): {reason}"
        for reason, keys in by_reason.items()
    ]


def _inspect_weights(path: Path, keys: bool, verify: bool) -> int:
    description = weights.describe(path)
    print(f"{path}: weights folder of the kind {description['kind']!r}")
    print(f"  {_sizes(description['params'])}")
    provenance = dict(description["provenance"])
    ignored = provenance.pop("ignored", None)
    print(f"  provenance: {json.dumps(provenance)}")
    for line in ignored_lines(ignored if isinstance(ignored, dict) else {}):
        print(f"  {line}")
    print(f"  config: {json.dumps(description['config'])}")
    print(f"  files: {', '.join(description['files']) or 'none'}")
    print(f"  sha256: {description['sha256']}")
    if keys:
        _print_keys(description["params"])
    known = next((c for c in conversions().values() if c.kind == description["kind"] and c.config_class), None)
    if known is not None and known.config_class is not None:
        config = weights.config_from_dict(known.config_class, description["config"])
        ours = known.abstract(config)
        differing = [p for p in ours.keys() | description["params"].keys() if _differs(p, ours, description["params"])]
        for name in sorted(differing):
            print(f"  does not fit the model: {name}")
        if differing:
            return 1
    if verify:
        weights.verify(path)
        print("  every hash is right")
    return 0


def _differs(path: str, ours: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    return path not in ours or path not in stored or tuple(ours[path].shape) != tuple(stored[path]["shape"])


def _inspect_release(path: Path, name: str | None, base: Path | None, keys: bool, verify: bool) -> int:
    if name:
        conversion = find_conversion(name)
        source = conversion.open(path)
    else:
        conversion, source = recognize(path)
    if conversion.name == peft_adapter.NAME:
        conversion = peft_adapter.on(base)
    elif base is not None:
        raise UserError(f"--base belongs to adapters, and {path} is of the source {conversion.name}")
    print(f"{path}: {conversion.name}, {conversion.about}")
    print(f"  {_sizes(source.manifest())}")
    if conversion.kind == layout.KIND:
        print(f"  {layout.told_format(path)}")
    if keys:
        _print_keys(source.manifest())
    config, table, abstract = conversion.describe(path, source)
    print(f"  config: {config}")
    report = interpreter.check(source.manifest(), table, abstract)
    for line in ignored_lines(report.ignored):
        print(f"  {line}")
    for line in report.lines():
        print(f"  {line}")
    if verify and (path / weights.SUMS_FILE).is_file():
        weights.sums.check(path)
        print("  every checksum is right")
    if report.ok:
        print("  fits exactly: nothing missing, nothing unexpected, every shape right")
    return 0 if report.ok else 1


@main_guard
def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser("converters.inspect", description="What is this checkpoint, and does it fit?")
    parser.add_argument("path", type=Path, metavar="PATH", help="checkpoint file or folder, or weights folder")
    parser.add_argument("--source", help="format of the release (default: found out)")
    parser.add_argument(
        "--base", type=Path, help="of an adapter: its base model, as a weights folder or as the original release"
    )
    parser.add_argument("--keys", action="store_true", help="list every tensor")
    parser.add_argument("--verify", action="store_true", help="recompute the hashes of a weights folder or a release")
    options = parser.parse_args(arguments)
    if _is_weights_folder(options.path):
        return _inspect_weights(options.path, options.keys, options.verify)
    return _inspect_release(options.path, options.source, options.base, options.keys, options.verify)


def _is_weights_folder(path: Path) -> bool:
    return (path / weights.CONFIG_FILE).is_file() and (path / weights.PARAMS_FOLDER).is_dir()


if __name__ == "__main__":
    sys.exit(main())
