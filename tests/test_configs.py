"""Every experiment of `configs/` builds every stage of its schedule at its full size, abstractly: networks, step and losses."""

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
from empatheia_jax.training import preflight, schedule, stages

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


@pytest.fixture(scope="module", autouse=True)
def networks_are_built_once():
    """The networks do not depend on how the stages train."""
    build, built = preflight.abstract_model, {}

    def once(config):
        values = settings.plain(config)
        key = json.dumps({name: each for name, each in values.items() if name not in ("schedule", *stages.STAGES)})
        if key not in built:
            built[key] = build(config)
        return built[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "abstract_model", once)
        yield


@functools.cache
def planned(stage: str, plain: str) -> preflight.Plan:
    """Equal stages of several configs are built once."""
    return preflight.plan(resolve(json.loads(plain)), stage, make_mesh(1, 1, 1, devices=jax.devices()[:1]))


@functools.cache
def losses(stage: str, plain: str) -> dict:
    """Names and shapes of the losses of a stage, in the form for training."""
    plan = planned(stage, plain)
    return {name: (total.shape, weight.shape) for name, (total, weight) in plan.step.rehearse(plan.batch).items()}


def plain_of(config, stage: str) -> str:
    """The config with all that does not change this stage as in every other config, so that equal steps are built once."""
    usual, values = settings.plain(resolve(common.base())), settings.plain(config)
    values |= {key: usual[key] for key in ("name", "decoding")} | {"schedule": stage}
    values["data"] = {**usual["data"], **{key: values["data"][key] for key in SHAPING}}
    values |= {other: usual[other] for other in set(config.schedule) - {stage}}
    return json.dumps(values, sort_keys=True)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_stage_of_every_variant_builds(name, variant):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config(variant) if variant else module.get_config()
    config.networks.weights_dir = "no-such-folder"  # sizes of the releases, whatever is converted here
    if config.networks.llm == "smollm2-135m-instruct":
        config.networks.llm = "vicuna-7b-v1.5"  # the plans know no sizes of that one; the rest of the config counts
    config = resolve(config)
    for stage in config.schedule:
        plain = plain_of(config, stage)
        assert planned(stage, plain).step.abstract_state().trainable
        found = losses(stage, plain)
        assert set(stages.coefficients(stage, schedule.objective(config))) <= set(found)
        assert set(found.values()) == {((), ())}


@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_step_at_full_size_gives_the_state_that_it_takes(stage):
    """With gradients and optimizer: the variants differ in what goes into the losses, and the steps are the same."""
    config = joint.get_config()
    config.networks.weights_dir = "no-such-folder"
    plan = planned(stage, plain_of(resolve(config), stage))
    state, metrics = plan.step.trace(plan.batch).out_info
    before = plan.step.abstract_state()
    assert jax.tree.map(lambda leaf: leaf.shape, state) == jax.tree.map(lambda leaf: leaf.shape, before)
    assert {metrics[item].shape for item in ("loss", "grad_norm")} == {()}


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


def test_what_trains_the_core_learns_to_do_without_a_recording():
    """Otherwise a core that was trained on films writes no chain where somebody only types."""
    for name, variant in VARIANTS:
        config = importlib.import_module(f"configs.{name}").get_config(*([variant] if variant else []))
        if (
            "coe" in config.schedule.split(",")
            and config.data.modalities
            and name != "debug"
            and "debug" not in variant
        ):
            assert config.data.modality_dropout > 0, (name, variant)
