"""`--mode=export`: a run as a folder that PyTorch, PEFT, transformers, vLLM and llama.cpp load.

The export is made in a hidden folder beside its place and appears complete or not at all. It goes on where it was interrupted:
parts and shards that are there stay, as long as run, base and parts are the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from converters.convert import parameters_of, to_release
from converters.registry import find_conversion
from converters.release import base as bases
from converters.release import card, generators, layout, licences, trained
from converters.release.gguf_writer import write_gguf
from converters.tables.empatheia import TrainedConfig
from converters.tables.peft import CONFIG_FILE, TENSOR_FILE
from empatheia_jax import requirements, weights
from empatheia_jax.errors import UserError, disk_full
from empatheia_jax.files import read_json_object, write_json
from empatheia_jax.parallel.distributed import on_first_host
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Experiment, plain

PARTS = ("merged", "base_with_tokens", "gguf", "speech", "face")
"""What an export may hold beside the adapter and the bridge, which it always does."""
_GENERATORS = {"speech": "tts", "face": "talking_head"}


@dataclasses.dataclass
class Export:
    """One export under way. place: the hidden folder; release: what will become the output; done: parts that are complete."""

    config: Experiment
    run: Run
    place: Path
    parts: tuple[str, ...]
    done: list[str]
    identity: str
    left_out: dict[str, str]

    @property
    def release(self) -> Path:
        return self.place / "release"

    @property
    def folder(self) -> Path:
        """The weights folder of what was trained."""
        return self.place / "weights"

    def step(self, name: str, make: Callable[[], Any]) -> None:
        """Does a part, unless it is done; notes that it is."""
        if name in self.done:
            return
        make()
        self.done.append(name)
        write_json(self.place / layout.PROGRESS_FILE, {"identity": self.identity, "done": self.done}, durable=True)


def chosen_parts(config: Experiment, asked: str | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """(the parts to write, {part that is left out: why, and where to get it}).

    Args:
      config: the run's config.
      asked: names separated by commas; "" = none; None = all that licences allow.

    Raises: UserError for an unknown name, or a part that a licence forbids.
    """
    names = PARTS if asked is None else tuple(name.strip() for name in asked.split(",") if name.strip())
    if unknown := sorted(set(names) - set(PARTS)):
        raise UserError(f"--parts={asked}: {unknown[0]!r} is no part of a release; expected some of {', '.join(PARTS)}")
    kept, left_out = [], {}
    for part in PARTS:
        key = _GENERATORS.get(part, "llm")
        name, licence = licences_of(config)[f"networks.{key}"]
        if part not in names:
            left_out[part] = f"not asked for; the original is {name} ({licence.source})"
        elif part in _GENERATORS and requirements.is_debug(config, key):
            left_out[part] = f"networks.{key}={name} has made-up weights"
        elif licence.redistribution is False:
            if asked is not None:
                licences.require_allowed(part, f"networks.{key}", name, licence)
            left_out[part] = f"the licence of {name} ({licence.name}) does not allow it; get it from {licence.source}"
        else:
            kept.append(part)
    return tuple(kept), left_out


def licences_of(config: Experiment) -> dict[str, tuple[str, licences.Licence]]:
    """Network's key → (name, licence)."""
    found = {}
    for network in requirements.NETWORKS:
        name = config.networks[network]
        made_up = requirements.is_debug(config, network)
        description = None if made_up else weights.describe(requirements.folder(config, network))
        found[f"networks.{network}"] = (name, licences.licence_of(name, description))
    return found


def of_flags(given: flags.FlagValues, config: Experiment, workdir: Path) -> int:
    """Exports as the flags say. Raises `UserError` as `run`."""
    if given.output is None:
        raise UserError("--mode=export needs --output=folder")
    output = requirements.writable(given.output, "--output")
    return on_first_host(lambda: run(config, workdir, output, given.parts))


def run(config: Experiment, workdir: Path, output: Path, parts: str | None = None) -> int:
    """Exports a run.

    Args:
      config: the run's config.
      workdir: its folder.
      output: the folder to make; it must not exist, or be empty.
      parts: see `chosen_parts`.

    Raises: UserError where the run is not finished, the base is another one, a licence forbids a part that was asked for, or
      the output is not empty.
    """
    place = output.parent / f".{output.name}.partial"
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if (place / layout.PROGRESS_FILE).exists() and not (place / "release").exists():
            shutil.rmtree(place)  # of an export that was killed when the release had its name already
        raise UserError(f"--output={output} is not empty; choose another folder, or remove it")
    source = Run(workdir)
    trained.require_finished(config, source)
    requirements.require(config, data=False)
    kept, left_out = chosen_parts(config, parts)
    base = trained.base_of(config)
    trained.require_same_base(config, source, base)
    values = trained.trained_config(config, base)
    export = _begin(config, source, place, kept, left_out)
    try:
        _make(export, base, values)
        _finish(export, base, output)
    except KeyboardInterrupt:
        print(f"{place} keeps what was written; the same command goes on there", file=sys.stderr)
        raise
    except OSError as error:
        if disk_full(error):
            raise UserError(
                f"{place}: {error.strerror or error}; free some space, and run the same command again"
            ) from None
        raise
    print(f"release: {output} ({', '.join(kept) or 'adapter and bridge alone'})")
    for part, why in left_out.items():
        print(f"  without {part}: {why}")
    return 0


def _make(export: Export, base: trained.Base, values: TrainedConfig) -> None:
    """Everything of a release but its card, `config.json` and checksums."""
    sizes = _sizes(base, values, export)
    _require_space(export, sizes)
    if "weights" not in export.done:
        sizes["weights"] = bases.total_bytes(base.parameters)
    with _bar("export", sum(sizes.values())) as bar:
        export.step("weights", lambda: trained.save(export.config, export.run, export.folder, base, bar.update))
        flat = parameters_of(export.folder, weights.describe(export.folder))
        _write_parts(export, base, values, flat, bar.update)
    export.step("core", lambda: _core(export))


def _begin(config: Experiment, source: Run, place: Path, parts: tuple[str, ...], left_out: dict[str, str]) -> Export:
    """The export to go on with, or a new one."""
    base = [] if requirements.is_debug(config) else [weights.describe(requirements.folder(config, "llm"))["sha256"]]
    said = {"stages": trained.stage_records(source), "config": plain(config), "parts": parts, "base": base}
    said["format"] = [str(layout.FORMAT), hashlib.sha256(b"".join(layout.code().values())).hexdigest()]
    identity = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
    done: list[str] = []
    if place.exists():
        known = (
            read_json_object(place / layout.PROGRESS_FILE, "the progress of an export")
            if (place / layout.PROGRESS_FILE).is_file()
            else {}
        )
        if known.get("identity") == identity and isinstance(known.get("done"), list):
            done = known["done"]
            print(f"{place}: going on with an export that was interrupted", file=sys.stderr)
            _remove_temporary(place)
        else:
            shutil.rmtree(place)
    (place / "release").mkdir(parents=True, exist_ok=True)
    write_json(place / layout.PROGRESS_FILE, {"identity": identity, "done": done}, durable=True)
    return Export(config, source, place, parts, done, identity, left_out)


def _remove_temporary(place: Path) -> None:
    """Removes the temporary files and folders that a killed export left, so that none of them is released."""
    for path in [path for path in place.rglob("*") if path.name.startswith((".", bases.UNFINISHED))]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _bar(name: str, total: int) -> tqdm:
    """A bar over bytes."""
    return tqdm(total=total, unit="B", unit_scale=True, desc=name, disable=not total, mininterval=1.0)


def _sizes(base: trained.Base, values: TrainedConfig, export: Export) -> dict[str, int]:
    """Bytes of each large part that is still to be written."""
    flat = find_conversion(layout.KIND).abstract(values)
    sizes = {
        "merged": lambda: bases.total_bytes(bases.merged(base, values, flat)),
        "base_with_tokens": lambda: bases.total_bytes(bases.resized(base, values, flat)),
        "gguf": lambda: bases.total_bytes(bases.merged(base, values, flat)),
    }
    return {part: sizes[part]() for part in export.parts if part in sizes and part not in export.done}


def _require_space(export: Export, sizes: Mapping[str, int]) -> None:
    """Raises UserError where the disk has no room for the large parts; what is there of them from before counts."""
    there = [path for part in sizes for path in (export.release / part).rglob("*") if path.is_file()]
    needed = sum(sizes.values()) - sum(path.stat().st_blocks * 512 for path in there)
    free = shutil.disk_usage(export.place).free
    if needed > free:
        if not export.done:
            shutil.rmtree(export.place)
        raise UserError(
            f"{export.place}: {' and '.join(sizes)} take {needed / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free; free some "
            "space, choose another --output, or leave some out with --parts"
        )


def _write_parts(
    export: Export, base: trained.Base, values: TrainedConfig, flat: Any, told: Callable[[int], Any]
) -> None:
    config, files = bases.resized_config(values), _tokenizer_files(export.folder)
    generation = {
        key: value
        for key, value in json.loads((export.folder / "generation_config.json").read_text(encoding="utf-8")).items()
        if key != "answer_form" and value is not None
    }
    files["generation_config.json"] = (json.dumps(generation, indent=1) + "\n").encode()

    def model(part: str, parameters: Any) -> None:
        kinds = {np.dtype(leaf.dtype) for leaf in parameters.values()}
        dtype = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
        source_config = bases.released_config(base, values, dtype)
        bases.write_model(export.release / part, parameters, config, source_config, files, told)

    makers: dict[str, Callable[[], Any]] = {
        "merged": lambda: model("merged", bases.merged(base, values, flat)),
        "base_with_tokens": lambda: _base_with_tokens(
            export, lambda: model("base_with_tokens", bases.resized(base, values, flat))
        ),
        "gguf": lambda: _gguf(export, base, values, flat, told),
        "speech": lambda: generators.write(requirements.folder(export.config, "tts"), export.release / "speech"),
        "face": lambda: generators.write(requirements.folder(export.config, "talking_head"), export.release / "face"),
    }
    for part in export.parts:
        export.step(part, makers[part])


def _tokenizer_files(folder: Path) -> dict[str, bytes]:
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _base_with_tokens(export: Export, write: Callable[[], None]) -> None:
    """The base with its added rows, and the adapter without them."""
    write()
    core = _converted(export)
    config = json.loads((core / layout.ADAPTER_CONFIG).read_text(encoding="utf-8"))
    config |= {"trainable_token_indices": None, "base_model_name_or_path": "base_with_tokens"}
    from safetensors.numpy import load_file, save_file

    tensors = {
        key: value for key, value in load_file(core / layout.ADAPTER_FILE).items() if ".token_adapter." not in key
    }
    folder = export.release / "lora"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / TENSOR_FILE, metadata={"format": "pt"})
    write_json(folder / CONFIG_FILE, config)


def _gguf(export: Export, base: trained.Base, values: TrainedConfig, flat: Any, told: Callable[[int], Any]) -> None:
    folder = export.release / "gguf"
    folder.mkdir(exist_ok=True)
    tokenizer = json.loads((export.folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    template = export.folder / "chat_template.jinja"
    pieces = base.folder / "tokenizer.model" if base.folder is not None else None
    bases.write_whole(
        folder / f"{export.config.name}-bf16.gguf",
        lambda path: write_gguf(
            path,
            export.config.name,
            bases.merged(base, values, flat),
            bases.resized_config(values),
            (export.folder / "tokenizer.json").read_text(encoding="utf-8"),
            {key: tokenizer.get(key) for key in ("bos_token", "eos_token", "pad_token")},
            template.read_text(encoding="utf-8") if template.is_file() else None,
            pieces.read_bytes() if pieces is not None and pieces.is_file() else None,
            told,
        ),
    )


def _converted(export: Export) -> Path:
    """The adapter, the bridge and their files, by the table."""
    core = export.place / "core"
    if not core.exists():
        to_release(find_conversion(layout.KIND), export.folder, core)
    return core


def _core(export: Export) -> None:
    """Adapter, bridge, tokenizer and code into the release; `config.json` stays behind until everything is there."""
    core = _converted(export)
    for path in sorted(core.rglob("*")):
        place = export.release / path.relative_to(core)
        if path.is_file() and path != core / "config.json":
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def _finish(export: Export, base: trained.Base, output: Path) -> None:
    """The card, `config.json` last, checksums; then the release gets its name."""
    core, release = _converted(export), export.release
    config = read_json_object(core / "config.json", "the config of the release")
    names = sorted({path.relative_to(release).parts[0] for path in release.rglob("*")} | {"config.json", "SHA256SUMS"})
    text = card.card(
        export.config, export.run, base, config["base_sha256"], names, licences_of(export.config), export.left_out
    )
    card.write(release, text)
    shutil.copyfile(core / "config.json", release / "config.json")
    with _bar("checksums", sum(path.stat().st_size for path in release.rglob("*") if path.is_file())) as bar:
        weights.seal(release, bar.update)
    if output.exists():
        output.rmdir()
    release.rename(output)
    shutil.rmtree(export.place)
