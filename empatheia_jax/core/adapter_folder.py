"""Starts the adapter of a language model from a weights folder: a converted PEFT adapter, or the authors' baseline.

Both keep `….lora.default.a` and `.b`, and where vocabulary tables were trained, the tables. What belongs to neither (the
baseline's projection of other features, rows of its own tokens) has no place in our model and is left out by name.
"""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from empatheia_jax import weights
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.lora import LoRAConfig
from empatheia_jax.errors import UserError

PEFT_KIND, BASELINE_KIND = "lora-adapter", "avamerg-baseline"
_PREFIXES = {PEFT_KIND: "", BASELINE_KIND: "core."}
_TABLES = ("embed_tokens.embedding", "lm_head.kernel")


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


def _like(value: np.ndarray, leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """`value` with the type and the place of `leaf`, which is on the host where the weights are made up."""
    if isinstance(leaf, np.ndarray):
        return np.asarray(value, leaf.dtype)
    return jax.device_put(jnp.asarray(value, leaf.dtype), leaf.sharding)
