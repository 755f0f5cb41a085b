"""What identifies the maker of a cached array: the weights of its network and every setting that changes the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from empatheia_jax import requirements, weights
from empatheia_jax.settings import Experiment
from empatheia_jax.styletts2 import phonemes
from empatheia_jax.tokens import SLOTS

VERSION = 2
"""Raised when the meaning of a cached array changes."""
NETWORK = {
    "speech": "speech_encoder",
    "video": "video_encoder",
    "speech_content": "tts",
    "speech_style": "tts",
    "video_content": "talking_head",
    "video_style": "talking_head",
}
"""Feature or target → the block of `config.networks` that makes it."""
STORE = {"video_content": "float16"}
"""Types in the cache that are not float32: eleven windows a frame would take the real set 120 GB."""


def fingerprints(config: Experiment, wanted: Sequence[str] = tuple(NETWORK)) -> dict[str, str]:
    """Fingerprint of each wanted feature and target under this config: weights and settings, nothing that is not read."""
    hashes = {network: _hash(config, network) for network in {NETWORK[what] for what in wanted}}
    networks = config.networks
    spelt = {"phonemizer": phonemes.name_in_use(networks.phonemizer)}
    settings: dict[str, Any] = {
        "speech_content": spelt,
        "speech_style": spelt,
        "speech": {"slots": SLOTS},
        "video": {"slots": SLOTS, "layer": networks.video_layer, "pooling": networks.video_pooling},
    }
    if config.bridge.speech_target != "text_encoder":
        settings["speech_content"] = {**spelt, "target": config.bridge.speech_target}
    if config.bridge.video_target != "content":
        settings["video_content"] = {"target": config.bridge.video_target}
    return {
        what: hashlib.sha256(
            json.dumps(
                [VERSION, what, hashes[NETWORK[what]], networks.dtype, settings.get(what)], sort_keys=True
            ).encode()
        ).hexdigest()
        for what in wanted
    }


def _hash(config: Experiment, network: str) -> str:
    """The hash of a network's weights. The tiny networks are always made in the same way, so their name is enough."""
    if requirements.is_debug(config, network):
        return config.networks[network]
    return weights.describe(requirements.folder(config, network))["sha256"]
