"""What a run of ours has trained, as a weights folder of kind `empatheia`, and as a release for PyTorch, in both directions.

A weights folder keeps LoRA, the added rows, the projections, the synchronizer and the disentangler by their paths in
`empatheia_jax.empatheia.Empatheia`; the frozen base is named by its hash. A release has the same tensors twice apart: LoRA and
the added rows as PEFT writes them (`adapter/`), the rest under the names of `modeling_empatheia.py` (`model.safetensors`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from converters.conversion import Conversion
from converters.formats.safetensors_file import SafetensorsSource
from converters.formats.source import JoinedSource, RenamedSource, Source
from converters.huggingface import TOKENIZER_FILES, hf_model_type
from converters.release import layout
from converters.table import Ignore, Row, Same, Table, prefixed
from converters.tables import chatglm, llama, peft, t5
from converters.tables.transformer import linear_rows, norm_rows
from empatheia_jax import weights
from empatheia_jax.bridge.style_disentangler import CLASSES
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.lora import LoRAConfig, adapters, add_lora
from empatheia_jax.empatheia import Empatheia, EmpatheiaConfig
from empatheia_jax.errors import UserError

NAME = "empatheia"
_BASES = {conversion.name: conversion for module in (chatglm, llama, t5) for conversion in module.CONVERSIONS}


@dataclasses.dataclass(frozen=True)
class TrainedConfig:
    """source, core: conversion and config of the frozen base; lora: of its adapter; model: sizes of everything around it."""

    source: str
    core: dict[str, Any]
    lora: LoRAConfig
    model: EmpatheiaConfig

    @property
    def base(self) -> Conversion:
        """How the base model's tensors are named in its Hugging Face form."""
        if self.source not in _BASES:
            raise UserError(f"the base was made from {self.source!r}; expected one of {', '.join(_BASES)}")
        return _BASES[self.source]

    def core_config(self) -> Any:
        """The base model's config as its own dataclass."""
        kind = self.base.config_class
        if kind is None:
            raise ValueError(f"the conversion {self.source!r} has no config")
        return weights.config_from_dict(kind, self.core)

    def base_table(self) -> Table:
        """The base's tensors."""
        return self.base.table(self.core_config())

    def abstract_core(self) -> LanguageModel:
        """The base model with its adapter, without weights."""
        return weights.abstract(self.build_core)

    def build_core(self) -> LanguageModel:
        """The base model with its adapter, freshly initialised; traceable."""
        config = self.core_config()
        construct: Any = self.base.construct(config)
        core = construct(config, rngs=nnx.Rngs(0))
        add_lora(core, self.lora, rngs=nnx.Rngs(0), name=peft.ADAPTER)
        return core


def is_trained(path: str) -> bool:
    """Whether a parameter of `Empatheia` belongs to what training moves; the rest is the frozen base."""
    return not path.startswith("core.") or f".lora.{peft.ADAPTER}." in path


def _block(source: str, target: str) -> Iterator[Row]:
    """Rows of a `bridge.transformer.Block`, whose layers are stacked here and a list there."""
    attention, cross = ("query", "key", "value", "out"), ("attention", "cross")
    for side, kinds in (("encoder", cross[:1]), ("decoder", cross)):
        layer, ours = f"{source}.{side}.{{i}}", f"{target}.{side}"
        for kind in kinds:
            yield from norm_rows(f"{layer}.norm_{kind}", f"{ours}.norm_{kind}")
            for part in attention:
                yield from linear_rows(f"{layer}.{kind}.{part}", f"{ours}.{kind}.{part}")
        yield from norm_rows(f"{layer}.norm_mlp", f"{ours}.norm_mlp")
        for part in ("up", "down"):
            yield from linear_rows(f"{layer}.mlp.{part}", f"{ours}.mlp.{part}")
        yield from norm_rows(f"{source}.{side}_norm", f"{target}.{side}_norm")


def _vae(path: str) -> Iterator[Row]:
    """Rows of a pair of blocks with the latent between them."""
    yield from _block(f"{path}.encoder", f"{path}.encoder")
    for name in ("latent.mean", "latent.log_variance", "latent_input"):
        yield from linear_rows(f"{path}.{name}", f"{path}.{name}")
    yield from _block(f"{path}.decoder", f"{path}.decoder")


def bridge_rows() -> list[Row]:
    """Rows of `model.safetensors`; those of parts that a model does not have fill nothing."""
    rows: list[Row] = []
    for name in ("speech_projection", "video_projection", "synchronizer.input"):
        rows += linear_rows(name, name)
    rows += _vae("synchronizer")
    rows += [Row(f"synchronizer.{kind}_query", f"synchronizer.{kind}_query") for kind in ("speech", "video")]
    heads = [f"disentangler.heads.{task}" for task in CLASSES]
    fuses = [f"disentangler.fuse_{what}" for what in ("emotion", "profile")]
    styles = [f"disentangler.{kind}_style" for kind in ("speech", "video")]
    for name in ("synchronizer.speech_head", "synchronizer.video_head", "disentangler.input", *fuses, *heads, *styles):
        rows += linear_rows(name, name)
    rows += [*_vae("disentangler.vaes.{k}"), Row("disentangler.queries", "disentangler.queries")]
    return rows


def table(config: TrainedConfig) -> Table:
    """Rows of a release: the adapter's keys below `adapter/`, the others as they are."""
    core = config.abstract_core()
    paths = sorted({path for path, *_ in adapters(core, peft.ADAPTER)})
    rows: list[Row | Ignore | Same] = []
    for row in prefixed(
        peft.adapter_table(config.base_table(), core, paths, peft.ADAPTER, (), config.model.added).rows,
        layout.ADAPTER_PREFIX,
    ):
        if isinstance(row, Row):
            targets = tuple(t if t.startswith("added.") else f"core.{t}" for t in row.targets)
            row = dataclasses.replace(row, target=targets)
        rows.append(row)
    return Table([*rows, *bridge_rows()])


class _TrainedConversion(Conversion):
    def abstract(self, config: TrainedConfig) -> dict[str, jax.ShapeDtypeStruct]:
        """Only what training moves."""

        def build() -> Empatheia:
            return Empatheia(config.model, config.build_core(), rngs=nnx.Rngs(0))

        flat = weights.flatten(weights.abstract(build))
        return {path: leaf for path, leaf in flat.items() if is_trained(path)}


def _open(path: Path) -> Source:
    layout.require_complete(path)
    adapter = SafetensorsSource(layout.require_file(path, layout.ADAPTER_FILE))
    rest = SafetensorsSource(layout.require_file(path, layout.MODEL_FILE))
    return JoinedSource(str(path), [RenamedSource(adapter, lambda key: layout.ADAPTER_PREFIX + key), rest])


def _config(path: Path, source: Source) -> TrainedConfig:
    found = layout.read_config(path)
    layout.require_file(path, "config.json")
    return weights.config_from_dict(TrainedConfig, found[layout.OURS])


def _files(path: Path, source: Source) -> dict[str, str | Path | bytes]:
    names = (*TOKENIZER_FILES, *layout.RECORDS)
    found: dict[str, str | Path | bytes] = {
        name: layout.require_file(path, name) for name in names if (path / name).is_file()
    }
    found["source_config.json"] = path / "config.json"
    return found


def _place(key: str) -> tuple[str, tuple[str, ...]]:
    if key.startswith(layout.ADAPTER_PREFIX):
        return layout.ADAPTER_FILE, (key.removeprefix(layout.ADAPTER_PREFIX),)
    return layout.MODEL_FILE, (key,)


CONVERSIONS = [
    _TrainedConversion(
        name=NAME,
        kind=layout.KIND,
        about="a release of ours (--mode=export): PEFT adapter, projections, synchronizer, disentangler",
        config=_config,
        construct=lambda config: Empatheia,
        table=table,
        recognizes=lambda path, source: path.is_dir() and hf_model_type(path) == layout.KIND,
        open=_open,
        files=_files,
        place=_place,
        config_class=TrainedConfig,
        code=layout.code,
    )
]
