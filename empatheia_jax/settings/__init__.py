"""The settings of an experiment: a config (`configs/`, any mapping) read once into frozen, typed, validated blocks.

    config = settings.resolve(configs.debug.get_config())
    config.coe.learning_rate, config["coe"].steps, config.data.modalities

A config file gives every value; nothing has a default here. Everything that is wrong is said at once, one line for each key.
This package imports no network and no JAX, so that a wrong value is found before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empatheia_jax.settings.experiment import (
    PARTS,
    STAGES,
    Bridge,
    Data,
    Decoding,
    Experiment,
    LoRA,
    MeshShape,
    Networks,
    Objective,
    Stage,
)
from empatheia_jax.settings.reading import (
    Block,
    Finding,
    HasDict,
    examine,
    finding,
    keys,
    plain,
    read,
    substitute,
    unknown,
)

ADDED_LATER: Mapping[str, Any] = {"bridge.speech_target": "text_encoder"}
"""Keys that the configs of earlier versions lack → the value that says what those versions did."""

__all__ = [
    "ADDED_LATER",
    "PARTS",
    "STAGES",
    "Block",
    "Bridge",
    "Data",
    "Decoding",
    "LoRA",
    "MeshShape",
    "Networks",
    "Objective",
    "Experiment",
    "Finding",
    "HasDict",
    "Stage",
    "examine",
    "finding",
    "keys",
    "plain",
    "read",
    "resolve",
    "substitute",
    "unknown",
]


def resolve(config: Mapping[str, Any] | HasDict) -> Experiment:
    """The settings of a config (a `ConfigDict`, or the JSON of a run's `config.json`, of an earlier version too: `ADDED_LATER`).

    Raises:
      UserError: one line for each key that is unknown, missing or wrong.
    """
    values = config.to_dict() if isinstance(config, HasDict) else config
    for key, value in ADDED_LATER.items():
        block, name = key.split(".")
        if isinstance(values.get(block), Mapping) and name not in values[block]:
            values = {**values, block: {**values[block], name: value}}
    return read(Experiment, values)
