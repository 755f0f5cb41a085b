"""Starts the adapter of a language model from a weights folder: a converted PEFT adapter, the authors' baseline, or a release.

Both keep `….lora.default.a` and `.b`, and where vocabulary tables were trained, the tables. What belongs to neither (the
baseline's projection of other features, rows of its own tokens) has no place in our model and is left out by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from empatheia_jax import weights
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.lora import LoRAConfig
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object

PEFT_KIND, BASELINE_KIND, RELEASE_KIND = "lora-adapter", "avamerg-baseline", "empatheia"
_PREFIXES = {PEFT_KIND: "", BASELINE_KIND: "core."}
_TABLES = ("embed_tokens.embedding", "lm_head.kernel")
SAID_FILE, BASE_KEY = "source_config.json", "base_weights_sha256"
"""Where a converted release says which weights its language model had: the hash of their weights folder."""


def start(network: LanguageModel, folder: Path, lora: LoRAConfig, name: str = "default") -> list[str]:
    """Puts the folder's adapter into the adapter `name` of `network`, in place, and its vocabulary tables into the base.

    Args:
      network: a language model that has the adapter already (`core.lora.add_lora`).
      folder: weights folder made by `converters.convert --source=peft` or `--source=avamerg-baseline`.
      lora: the run's own sizes, which must be the folder's.

    Returns: the parameters of the folder that have no place in the model.
    Raises: UserError where the folder holds something else, or belongs to another model or another size of adapter.
    """
    kind, values, flat = weights.load(folder)
    if kind not in _PREFIXES:
        raise UserError(f"networks.adapter: {folder} holds a {kind!r}; expected {' or '.join(_PREFIXES)}")
    _require_fit(folder, values, network, lora)
    prefix = _PREFIXES[kind]
    found = {path.removeprefix(prefix): value for path, value in flat.items() if path.startswith(prefix)}
    found = {path.replace(".lora.default.", f".lora.{name}."): value for path, value in found.items()}
    ours = weights.flatten(network)
    wanted = {path for path in ours if f".lora.{name}." in path}
    given = {path for path in found if f".lora.{name}." in path}
    if wanted != given:
        maps = sorted({path.split(".lora.")[0].rsplit(".", 1)[-1] for path in given})
        raise UserError(
            f"lora.targets are not those of the adapter in {folder}; set --config.lora.targets={','.join(maps)}"
        )
    tables = {path for path in _TABLES if path in found}
    if lost := tables - ours.keys():
        raise UserError(f"networks.adapter: the frozen core has no {', '.join(sorted(lost))}; switch off frozen_int8")
    chosen = wanted | tables
    weights.update(network, ours | {path: _like(found[path], ours[path]) for path in chosen})
    return sorted(set(flat) - {prefix + path.replace(f".lora.{name}.", ".lora.default.") for path in chosen})


def _require_fit(folder: Path, values: Mapping[str, Any], network: LanguageModel, lora: LoRAConfig) -> None:
    """Raises UserError where a folder belongs to another language model or another size of adapter."""
    base = json.loads(json.dumps(weights.config_to_dict(network.config)))
    if values.get("core") != base:
        other = sorted(key for key in base if values.get("core", {}).get(key) != base[key])
        raise UserError(
            f"networks.adapter: {folder} belongs to another language model; they differ in {', '.join(other)}"
        )
    stated = values.get("lora", {})
    for key in ("rank", "alpha", "rslora"):
        if stated.get(key) != getattr(lora, key):
            raise UserError(
                f"lora.{key} is {getattr(lora, key)}, and the adapter in {folder} has {stated.get(key)}; set "
                f"--config.lora.{key}={stated.get(key)}"
            )


def _require_base(folder: Path, base: str | None) -> None:
    """Raises UserError where a release was trained on other weights than `base`; a release of before says of none."""
    if base is None or not (folder / SAID_FILE).is_file():
        return
    trained = read_json_object(folder / SAID_FILE, "what a release says of itself").get(BASE_KEY)
    if trained not in (None, base):
        raise UserError(
            f"networks.adapter: {folder} was trained on other weights of the language model (SHA-256 {trained!s:.16}…, found "
            f"{base:.16}…); set networks.llm to the weights that it was trained on"
        )


def start_whole(
    model: nnx.Module, network: LanguageModel, folder: Path, lora: LoRAConfig, base: str | None = None
) -> None:
    """Puts everything that a converted release trained into `model`, in place: adapter, added rows, projections and bridge.

    Args:
      model: the whole around `network`, with a `config`.
      network: its language model, with the adapter on it.
      folder: weights folder of kind `empatheia`.
      lora: the run's own sizes, which must be the folder's.
      base: SHA-256 of the language model's weights folder; None compares nothing.

    Raises: UserError where the folder belongs to another language model, to other weights of it, or to a bridge of other sizes.
    """
    _, values, flat = weights.load(folder)
    _require_fit(folder, values, network, lora)
    _require_base(folder, base)
    ours = weights.flatten(model)
    wrong = sorted(p for p, v in flat.items() if p not in ours or tuple(ours[p].shape) != tuple(v.shape))
    wrong += sorted(p for p in ours if p not in flat and (not p.startswith("core.") or ".lora." in p))
    if wrong:
        raise UserError(
            f"networks.adapter: {folder} was trained with other settings ({wrong[0]} and {len(wrong) - 1} more do not fit); take "
            "lora.*, bridge.* and networks.* from the release's training_config.json"
        )
    weights.update(model, ours | {path: _like(value, ours[path]) for path, value in flat.items()})


def _like(value: np.ndarray, leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """`value` with the type and the place of `leaf`, which is on the host where the weights are made up."""
    if isinstance(leaf, np.ndarray):
        return np.asarray(value, leaf.dtype)
    return jax.device_put(jnp.asarray(value, leaf.dtype), leaf.sharding)
