"""A PEFT adapter's folder as a weights folder of its own, in both directions.

The base model says which linear maps there are, so a conversion needs its folder (`--base`: the weights folder, or the
release as it was downloaded); of its weights nothing is read or copied. The weights folder keeps what the adapter trains:
`….lora.default.a` and `.b`, and where modules are saved whole, the vocabulary tables with the added rows apart. `attach` puts
it on a core.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from converters.conversion import Conversion
from converters.formats.source import DictSource, Source
from converters.huggingface import hf_files, hf_model_type
from converters.table import Table
from converters.tables import chatglm, llama, t5
from converters.tables.peft import CONFIG_FILE, TENSOR_FILE, adapter_table, plan, read_folder
from empatheia_jax import weights
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.lora import LoRAConfig, add_lora
from empatheia_jax.errors import UserError

NAME, KIND = "peft", "lora-adapter"
_ADAPTER = "default"


_BASES = {conversion.name: conversion for module in (chatglm, llama, t5) for conversion in module.CONVERSIONS}
"""The language models, which an adapter may belong to."""
_MODEL_TYPES = {"llama": llama.FAMILY, "chatglm": ("chatglm",), "t5": ("t5",)}
"""`model_type` of the releases that each of them is read from."""


def _base(name: str) -> Conversion:
    if name not in _BASES:
        raise UserError(f"an adapter of a model made from {name!r}; expected {', '.join(_BASES)}")
    return _BASES[name]


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """source, core: the base model's conversion and config; lora: with our paths as targets; saved: modules of ours that
    are saved whole; added: their rows beyond the base's vocabulary (where none is saved: trained tokens).
    """

    source: str
    core: dict[str, Any]
    lora: LoRAConfig
    saved: tuple[str, ...]
    added: int

    @property
    def base(self) -> Conversion:
        """How the base model was converted."""
        return _base(self.source)

    def core_config(self) -> Any:
        """The base model's config as its own dataclass."""
        kind = self.base.config_class
        if kind is None:
            raise ValueError(f"the conversion {self.base.kind!r} has no config")
        return weights.config_from_dict(kind, self.core)

    def abstract_core(self, adapted: bool = True) -> LanguageModel:
        """The base model without weights, with the adapter on it or not."""

        def build():
            config = self.core_config()
            core = self.base.construct(config)(config, rngs=nnx.Rngs(0))
            if adapted:
                add_lora(core, self.lora, rngs=nnx.Rngs(0), name=_ADAPTER)
            return core

        return weights.abstract(build)


def _config(folder: Path | None, path: Path, source: Source) -> AdapterConfig:
    if folder is None:
        raise UserError(f"{path} is an adapter; say which model it belongs to with --base=FOLDER")
    name, core_config = _described(folder)
    bare = AdapterConfig(name, core_config, LoRAConfig(1, 1.0, ("-",)), (), 0)
    config, _ = read_folder(path)
    core = bare.abstract_core(adapted=False)
    settings, saved, rows = plan(core, bare.base.table(bare.core_config()), config, source)
    return dataclasses.replace(bare, lora=settings, saved=tuple(saved), added=rows)


def _described(folder: Path) -> tuple[str, dict[str, Any]]:
    """(conversion's name, config) of a base model: a weights folder, or a Hugging Face folder as it was released."""
    released = hf_model_type(folder) if folder.is_dir() else None
    if released is not None:
        for conversion in _BASES.values():
            if released in _MODEL_TYPES.get(conversion.name, ()):
                return conversion.name, weights.config_to_dict(conversion.config(folder, DictSource({})))
        raise UserError(f"{folder} is of the model type {released!r}; adapters are read for {', '.join(_MODEL_TYPES)}")
    described = weights.describe(folder)
    origin = described["provenance"].get("source")
    base = _BASES.get(origin)
    if base is None or base.config_class is None:
        raise UserError(f"{folder} does not say which release it was made from; convert the base model again")
    # SmolLM2's GGUF names its tensors otherwise; adapters are made for the same model's Hugging Face form
    name = described["kind"] if base.kind == described["kind"] and described["kind"] == "llama" else origin
    return name, described["config"]


def table(config: AdapterConfig) -> Table:
    """Rows of one adapter, keys with and without the adapter's name."""
    rows = config.base.table(config.core_config())
    return adapter_table(rows, config.abstract_core(), config.lora.targets, _ADAPTER, config.saved, config.added)


class _AdapterConversion(Conversion):
    def abstract(self, config: AdapterConfig) -> dict[str, jax.ShapeDtypeStruct]:
        """Only what the adapter holds."""
        core = config.abstract_core()
        flat = weights.flatten(core)
        tables = {"embed_tokens": "embed_tokens.embedding", "lm_head": "lm_head.kernel"}
        kept = {tables[module] for module in config.saved} & set(flat)  # a tied head has no table of its own
        found = {path: leaf for path, leaf in flat.items() if f".lora.{_ADAPTER}." in path or path in kept}
        if config.saved or config.added:
            added = weights.abstract(lambda: _rows(core, config.added))
            found |= {f"added.{path}": leaf for path, leaf in weights.flatten(added).items()}
        return found


def _rows(core: LanguageModel, count: int) -> AddedTokens:
    tied = core.lm_head is None
    embedding = core.embed_tokens
    return AddedTokens(embedding.count, count, embedding.features, tied=tied, rngs=nnx.Rngs(0), dtype=core.dtype)


def on(base: Path | None) -> Conversion:
    """The conversion of adapters of the model in the weights folder `base`."""
    return _AdapterConversion(
        name=NAME,
        kind=KIND,
        about="a PEFT LoRA adapter's folder (with --base=FOLDER of its model)",
        config=lambda path, source: _config(base, path, source),
        construct=lambda config: config.base.construct(config.core_config()),
        table=table,
        recognizes=lambda path, source: (path / CONFIG_FILE).is_file(),
        open=lambda path: read_folder(path)[1],
        files=lambda path, source: {**hf_files(path, source), CONFIG_FILE: path / CONFIG_FILE},
        tensor_file=TENSOR_FILE,
        config_class=AdapterConfig,
    )


def attach(core: LanguageModel, folder: Path) -> AddedTokens | None:
    """Puts a converted adapter on its base model, in place; returns the added rows, None where it has none.

    Raises: UserError where the folder holds something else, or the base is another model.
    """
    kind, values, flat = weights.load(folder)
    if kind != KIND:
        raise UserError(f"{folder} holds weights of the kind {kind!r}, expected {KIND!r}")
    config: AdapterConfig = weights.config_from_dict(AdapterConfig, values)
    if core.config != config.core_config():
        raise UserError(f"{folder} is an adapter of the model {config.core_config()}, and this one is {core.config}")
    arrays = {path: jnp.asarray(value) for path, value in flat.items()}
    add_lora(core, config.lora, rngs=nnx.Rngs(0), name=_ADAPTER)
    weights.update(core, weights.flatten(core) | {k: v for k, v in arrays.items() if not k.startswith("added.")})
    if not config.added:
        return None
    added = _rows(core, config.added)
    weights.update(added, {k.removeprefix("added."): v for k, v in flat.items() if k.startswith("added.")})
    return added


CONVERSIONS = [on(None)]
