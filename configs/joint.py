"""All four stages on Vicuna-7B at full size, in one run: `python launch.py --config=configs/joint.py`.

`configs/joint.py:debug` is the same experiment with tiny made-up networks and data; `:chatglm3` and `:flan-t5` have the paper's
other backbones as their core (`:debug-chatglm3`, `:debug-flan-t5`: tiny ones); `:paper` takes the paper's letter wherever it has
one; the ablations of Tables 2 and 3 have names too (`ABLATIONS`).
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import common, debug

CORES: dict[str, dict[str, Any]] = {
    # The paper's other backbones. LoRA's targets are those that `peft` takes for such a model by itself.
    "chatglm3": {"networks.llm": "chatglm3-6b", "lora.targets": "query_key_value"},
    "flan-t5": {"networks.llm": "flan-t5-xxl", "lora.targets": "q,v"},
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "": {},
    "paper": {"objective.kl_weight": 0.0, "bridge.style_inputs": "speech", "data.expression": "mirror"},
    # Tables 2 and 3, row by row
    "pipeline": {
        "data.chain_of_empathy": False,
        "data.instruction": "plain",
        "schedule": "coe",
        "decoding.content_blend": 0.0,
        "decoding.style_blend": 0.0,
        "decoding.style_clip": "neutral",  # the baseline's DreamTalk has one fixed clip
    },
    **CORES,
    "without-coe": {"data.chain_of_empathy": False, "data.instruction": "plain"},
    "without-media": {"data.modalities": ""},
    "without-cs": {"bridge.content_kind": "linear"},
    "without-sd": {"bridge.style_kind": "linear"},
    "without-joint": {"schedule": "coe,content,style"},  # "w/o L_emp + L_ccl + L_sac": that sum is (13)
    "joint-only": {"schedule": "joint"},  # the other reading of that row
    "without-ccl": {"objective.without": "ccl", "schedule": "coe,style,joint"},
    "without-sac": {"objective.without": "sac", "schedule": "coe,content,joint"},
}
"""Variant → what it changes."""


def get_config(variant: str = "") -> ConfigDict:
    """The joint schedule, or a variant of it: a name of `ABLATIONS`, "debug", or "debug-" and a name of `CORES`."""
    kind, _, core = variant.partition("-")
    if kind == "debug" and core in ("", *CORES):
        config = debug.get_config()
        if core:
            config.update_from_flattened_dict(CORES[core])
            config.name = config.networks.llm = variant
        return config
    if variant not in ABLATIONS:
        raise ValueError(
            f"variant {variant!r} of configs/joint.py; expected debug, {', '.join(f'debug-{c}' for c in CORES)} or one of "
            f"{', '.join(filter(None, ABLATIONS))}"
        )
    config = common.base()
    config.name = "-".join(filter(None, ("joint", variant)))
    config.update_from_flattened_dict(ABLATIONS[variant])
    return config
