"""Every experiment of `configs/` builds the abstract train step of every stage of its schedule, at its full size."""

from __future__ import annotations

import functools
import importlib
import json
from pathlib import Path

import jax
import pytest

from configs import common, joint
from empatheia_jax import settings
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.settings import resolve
from empatheia_jax.training import preflight, schedule

NAMES = sorted(path.stem for path in Path(joint.__file__).parent.glob("*.py"))
STAGED = ("debug", "joint", "quickstart", "starter")
# Networks that train by themselves, on losses of their own: tests/dreamtalk and tests/baselines build their steps.
ALONE = ("baselines", "dreamtalk_denoiser", "dreamtalk_renderer", "drawn_face")
SHAPING = (
    "max_length",
    "answer_length",
    "slots",
    "reply_tokens",
    "phonemes",
    "frames",
    "utterances",
    "modalities",
)  # of a batch
# The tiny twins of the other backbones (`debug-chatglm3`, `debug-flan-t5`) train for real in tests/test_cores.py.
VARIANTS = [(name, "") for name in STAGED] + [("joint", variant) for variant in [*joint.ABLATIONS, "debug"] if variant]


def test_no_config_is_left_out():
    assert sorted([*STAGED, *ALONE, "__init__", "common", "tables"]) == NAMES


@functools.cache
def shapes(stage: str, plain: str) -> tuple[dict, dict]:
    """Names and shapes of state and metrics after one abstract step; equal stages of several configs are traced once."""
    config = resolve(json.loads(plain))
    planned = preflight.plan(config, stage, make_mesh(1, 1, 1, devices=jax.devices()[:1]))
    state, metrics = planned.step.trace(planned.batch).out_info
    before = planned.step.abstract_state().trainable
    assert {path: leaf.shape for path, leaf in state.trainable.items()} == {
        path: leaf.shape for path, leaf in before.items()
    }
    return {path: leaf.shape for path, leaf in before.items()}, {name: leaf.shape for name, leaf in metrics.items()}


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_stage_of_every_variant_builds(name, variant):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config(variant) if variant else module.get_config()
    config.networks.weights_dir = "no-such-folder"  # sizes of the releases, whatever is converted here
    if config.networks.llm == "smollm2-135m-instruct":
        config.networks.llm = "vicuna-7b-v1.5"  # the plans know no sizes of that one; the rest of the config counts
    config = resolve(config)
    usual = settings.plain(resolve(common.base()))
    for stage in config.schedule:
        # What does not change the step is as in every other config, so that equal steps are traced once.
        values = {**settings.plain(config), **{key: usual[key] for key in ("name", "decoding")}, "schedule": stage}
        values["data"] = {**usual["data"], **{key: values["data"][key] for key in SHAPING}}
        values |= {other: usual[other] for other in set(config.schedule) - {stage}}
        trained, metrics = shapes(stage, json.dumps(values, sort_keys=True))
        expected = schedule.stages.coefficients(stage, schedule.objective(config))
        assert trained and set(expected) <= set(metrics)
        assert {metrics[item] for item in ("loss", "grad_norm")} == {()}


def test_the_three_backbones_of_table_3_have_their_own_weights():
    cores = {variant: joint.get_config(variant).networks.llm for variant in joint.ABLATIONS}
    assert (cores[""], cores["chatglm3"], cores["flan-t5"]) == ("vicuna-7b-v1.5", "chatglm3-6b", "flan-t5-xxl")
    assert set(cores.values()) <= set(preflight.released.CORES)


def test_an_ablation_changes_what_it_says_and_nothing_else():
    whole = joint.get_config().to_dict()
    for variant, changes in joint.ABLATIONS.items():
        found = joint.get_config(variant).to_dict()
        for key, value in changes.items():
            part, *rest = key.split(".")
            assert (found[part][rest[0]] if rest else found[part]) == value
            if rest:
                found[part][rest[0]] = whole[part][rest[0]]
            else:
                found[part] = whole[part]
        assert {**found, "name": whole["name"]} == whole


def test_rates_by_group_and_a_moving_average_are_config_values():
    config = common.base()
    assert schedule.optimizer_config(resolve(config).coe).ema is None
    config.coe.ema, config.coe.group_rates = 0.99, "core.*=0.2, synchronizer.*=1.5"
    found = schedule.optimizer_config(resolve(config).coe)
    assert found.ema == 0.99 and found.group_rates == {"core.*": 0.2, "synchronizer.*": 1.5}
