"""What a config may say: every number is accepted deliberately or refused in one line, every word comes from its set."""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import operator
import typing
from pathlib import Path

import pytest
from ml_collections import config_flags

import launch
from configs import baselines, common, debug, drawn_face, joint, quickstart
from empatheia_jax import settings
from empatheia_jax.baselines.settings import BaselineTraining
from empatheia_jax.dreamtalk.settings import DenoiserTraining, DrawnFace, RendererTraining
from empatheia_jax.errors import UserError
from empatheia_jax.runs.fit import flat
from empatheia_jax.settings import choices, rules
from tests.command_line import parse

FOLDER = Path(joint.__file__).parent
BLOCKS = {
    "baselines": BaselineTraining,
    "drawn_face": DrawnFace,
    "joint": settings.Experiment,
    "dreamtalk_denoiser": DenoiserTraining,
    "dreamtalk_renderer": RendererTraining,
}
OFF = "switches off what it measures"
LEGAL = {
    ("mesh.data", -1): "the axis takes the devices that the others leave",
    ("networks.video_layer", -1): "counted from the last layer",
    ("networks.video_layer", 0): "the embeddings",
    ("seed", 0): "a seed like any other",
    ("data.workers", 0): "threads instead of processes",
    ("warmup", 0): "the rate is at its peak from the first step",
    ("pretrain_steps", 0): "no training on the bag of words alone",
    ("warp_steps", 0): "the renderer starts without a phase for the warping",
    ("data.answer_length", 0): "the prompt may fill the whole row but for a known answer",
    ("decoding.temperature", 0): "greedy",
    ("decoding.top_k", 0): "all tokens",
    ("decoding.no_repeat_ngram", 0): "repetition is allowed",
    ("preflight_price", 0): "the example price of the device",
    ("window_radius", 0): "of speech: a frame hears itself alone",
    ("mapping_layers", 0): "the first convolution alone",
    ("edit_residual_blocks", 0): "none between two resolutions",
    ("leaky_relu_slope", 0): "a plain ReLU",
    **{(key, 0): OFF for key in ("dropout", "modality_dropout", "valid_every", "average", "trust", "null_style")},
    **{(key, 0): OFF for key in ("objective.alpha", "objective.beta", "objective.kl_weight", "data.quarantine_limit")},
    **{(key, 0): OFF for key in ("weight_decay", "clip", "ema", "eval_every", "beta1", "beta2")},
    **{(key, 0): OFF for key in ("decoding.guidance", "decoding.content_blend", "decoding.style_blend")},
    **{(f"objective.{key}", 0): OFF for key in ("null_probability", "velocity_weight")},
    **{(f"objective.{key}", 0): OFF for key in ("warp", "final", "style", "pixel")},
}
"""(key, or its last part, value) → why it is accepted."""
ILLEGAL = {
    ("dreamtalk_renderer", "network.window_radius", 0),
    ("drawn_face", "renderer.window_radius", 0),
    ("baselines", "warmup", 0),
}
"""What shares its name with a legal one: a renderer sees a frame's neighbours, Noam's rate is divided by its warmup."""


def numbers(block: type) -> list[str]:
    return [key for key, rule in settings.keys(block).items() if isinstance(rule, rules.Whole | rules.Number)]


@functools.cache
def refused(name: str, *overrides: str) -> list[str]:
    """The lines that a command line with these overrides ends with; none where it is accepted."""
    try:
        parse(["launch.py", f"--config=configs/{name}.py", *(f"--config.{each}" for each in overrides)])
    except UserError as error:
        return [line.strip() for line in str(error).splitlines()]
    return []


def refused_in_file(key: str, value: object) -> list[str]:
    """The same of a value in `configs/drawn_face.py`, whose commands are others than `launch.py`."""
    config = drawn_face.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    try:
        settings.read(DrawnFace, config)
    except UserError as error:
        return [line.strip() for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize("value", [-1, 0, math.nan, "word"])
@pytest.mark.parametrize(("name", "key"), [(name, key) for name, block in BLOCKS.items() for key in numbers(block)])
def test_a_number_is_legal_for_a_reason_or_refused_in_one_line(name, key, value):
    lines = refused_in_file(key, value) if name == "drawn_face" else refused(name, f"{key}={value}")
    legal = (key, value) in LEGAL or (key.rpartition(".")[2], value) in LEGAL
    if legal and (name, key, value) not in ILLEGAL:
        assert lines == []
        return
    mine = [line for line in lines if line.startswith(f"{key}=")]
    assert len(mine) == 1 and "; expected " in mine[0]
    assert mine[0].startswith(f"{key}={value!r}") or mine[0].startswith(f"{key}={str(value)!r}")


FILES = sorted(path.stem for path in FOLDER.glob("*.py") if "def get_config(" in path.read_text())


@pytest.mark.parametrize("file", FILES)
def test_every_number_of_every_config_is_tried(file):
    config = importlib.import_module(f"configs.{file}").get_config()
    block = DrawnFace if file == "drawn_face" else launch.settings_class(config)
    values = {key: value for key, value in flat(config.to_dict()).items() if type(value) in (int, float)}
    assert values and values.keys() <= set(numbers(block)) and block in BLOCKS.values()


WRONG = {
    "objective.without=clc": "emp, ccl, sac",
    "objective.without=ccl,ccl": "distinct",
    "objective.regression=l1": "mse, l2 or sum",
    "bridge.style_inputs=video": "own or speech",
    "bridge.fuse=max": "linear or mean",
    "bridge.speech_target=bert": "text_encoder or with_bert",
    "bridge.signal_source=words": "tokens or all",
    "bridge.sharing=some": "all, modality or none",
    "bridge.content_kind=gan": "vae or linear",
    "bridge.style_kind=vea": "vae or linear",
    "networks.video_pooling=mean": "patches or cls",
    "networks.dtype=foo": "bfloat16, float16 or float32",
    "networks.remat=some": "nothing, dots or full",
    "networks.attention=flash": "blocked",
    "networks.llm=": "not empty",
    "data.modalities=speech,speech": "distinct words out of speech, video",
    "data.modalities=audio": "distinct words out of speech, video",
    "data.instruction=long": "paper, short or plain",
    "data.label_map=mine": "paper, e3rg_recognition or e3rg_face",
    "data.buckets=x": "whole numbers",
    "data.buckets=64,64": "distinct",
    "data.buckets=4096": "at most data.max_length=1024",
    "data.reply_tokens=1024": "fewer than data.max_length=1024",
    "data.packing=True": 'data.modalities=""',
    "data.max_length=1000000": "12 GB",
    "data.workers=1000": "a process of its own",
    "lora.rank=100000": "no low rank",
    "lora.alpha=inf": "a finite number above 0",
    "lora.targets=": "distinct names",
    "bridge.heads=3": "a divisor of bridge.width=512",
    "bridge.width=511 bridge.heads=7": "even",
    "joint.batch=3": "a multiple of the stage's accumulation=2",
    "content.accumulation=5": "content.batch=32; expected a multiple of the stage's accumulation=5",
    "coe.decay=never": "cosine, linear or constant",
    "coe.ema=1.0": "below 1",
    "coe.ema=nan": "finite",
    "coe.warmup=30000": "at most the stage's steps=21000",
    "coe.group_rates=core.*": "GLOB=FACTOR",
    "coe.group_rates=core.*=slow": "GLOB=FACTOR",
    "coe.group_rates=core.*=-1": "at least 0",
    "coe.group_rates=core.*=1e300": "float32 holds",
    "seed=4294967296": "less than 2^31",
    "name=../../x": "plain name",
    "name=": "plain name",
    "name=.": "plain name",
    f"name={'x' * 101}": "at most 100",
    "schedule=": "distinct words out of coe, content, style, joint",
    "schedule=coe,coe": "distinct",
    "schedule=joint,coe": "in the order in which they build on each other, coe,joint",
    "schedule=coe,talk": "distinct words out of",
    "profile_steps=a": "2 whole numbers",
    "profile_steps=1": "2 whole numbers",
    "profile_steps=9,3": "the first not above the last",
    "compiler_options=xla_flag": "name=value",
    "mesh.fsdp=-1": "only one axis",
    "mesh.tensor=0": "at least 1",
    "decoding.top_p=0": "above 0",
    "decoding.temperature=1e38": "at most 100",
    "decoding.repetition_penalty=0.001": "at least 0.01",
    "decoding.guidance=1e6": "at most 100",
    "decoding.no_repeat_ngram=1": "at least 2",
    "decoding.response_tokens=1025": "at most data.max_length=1024",
    "decoding.max_new_tokens=65536": "at most data.max_length=1024",
    "networks.voices=gs://bucket/voices": "a path of this machine",
    f"networks.llm={'x' * 256}": "a path of this machine",
    f"data.path={'x/' * 2100}": "a path of this machine",
    "decoding.style_blend=1.5": "at most 1",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_value_outside_its_set_is_one_line_that_says_what_is_allowed(override):
    lines = refused("joint", *override.split(" "))
    assert len(lines) == 1 and WRONG[override] in lines[0] and "; expected " in lines[0]
    assert lines[0].startswith((f"{override.partition('=')[0]}=", f"{override.partition('.')[0]}.batch="))


BEYOND_FLOAT32 = [1e39, 1e-39, -1e300, 10**400, 10**6000]
ODD = ["", "word", "x" * 100_000, "\ud800", "\0", [], ["a"], (1, 2), {}, {"a": 1}, b"x", None, True, 2.5, object()]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_value_of_any_type_is_read_or_refused_in_lines_that_have_an_end(name):
    given = importlib.import_module(f"configs.{name}").get_config().to_dict()
    for key, value in itertools.product(settings.keys(BLOCKS[name]), ODD + BEYOND_FLOAT32):
        try:
            settings.read(BLOCKS[name], replaced(given, key.split("."), value))
        except UserError as error:
            lines = str(error).splitlines()
            assert any(key.rpartition(".")[2] in line for line in lines), key
            assert all(len(line) < 600 for line in lines), key
        else:
            assert value not in BEYOND_FLOAT32, key


def replaced(values: dict, path: list[str], value: object) -> dict:
    name, *rest = path
    return values | {name: replaced(values[name], rest, value) if rest else value}


@pytest.mark.parametrize("key", ["decoding.style_blend", "coe.warmup"])
def test_what_may_be_none_can_be_said_to_be_none(key):
    config = ["launch.py", "--config=configs/joint.py:pipeline", "--config.coe.steps=50"]
    read = operator.attrgetter(key)
    nothing, something = f"--config.{key}=None", f"--config.{key}=1"
    given, found = parse([*config, something, nothing])
    assert read(found) == (5 if key == "coe.warmup" else None)
    assert config_flags.get_override_values(given["config"])[key] is None
    assert read(parse([*config, nothing, something])[1]) == 1


def test_all_that_is_wrong_is_said_at_once():
    overrides = ("coe.steps=0", "nosuch=1", "lora.alpha=fast", "bridge.fuse=max", "data={}", "mesh.tensor=0")
    lines = refused("debug", *overrides)
    assert len(lines) == len(overrides)
    assert {line.split("=")[0].split(" ")[0] for line in lines} == {each.split("=")[0] for each in overrides}


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("data.worker=1", "data.workers"),
        ("coe.lr=1", "coe"),
        ("learning_rate=1", "coe.learning_rate"),
        ("networks.lm=x", "networks.llm"),
        ("schedul=coe", "schedule"),
        ("nosuch=1", ","),
    ],
)
def test_a_key_that_does_not_exist_names_the_nearest(override, near):
    (line,) = refused("debug", override)
    assert "is no key of the config; the nearest are " in line and near in line.partition("nearest are")[2]


def test_every_word_of_a_switch_is_a_word_of_its_owner():
    from empatheia_jax.conversation import labels, prompt
    from empatheia_jax.nn import attention, stack
    from empatheia_jax.training import stages

    assert set(typing.get_args(choices.Remat)) == set(stack.REMAT_POLICIES)
    assert set(typing.get_args(choices.Attention)) == set(attention.IMPLEMENTATIONS)
    assert set(typing.get_args(choices.LabelMap)) == set(labels.MAPS_TO_7)
    assert set(typing.get_args(choices.Instruction)) == set(prompt.INSTRUCTIONS)
    assert settings.STAGES == stages.STAGES and settings.PARTS == stages.PARTS


def test_values_that_follow_from_others_follow_when_those_change():
    config = common.base()
    config.coe.steps = 40
    assert settings.resolve(config).coe.warmup == 4
    config.coe.warmup = 7
    assert settings.resolve(config).coe.warmup == 7
    config = quickstart.get_config()
    assert settings.resolve(config).content.eval_every == 15
    config.content.steps = 12
    found = settings.resolve(config).content
    assert (found.eval_every, found.warmup) == (12, 1)
    _, config = parse(["launch.py", "--config=configs/joint.py", "--config.joint.steps=50"])
    assert config.joint.warmup == 5


@pytest.mark.parametrize(("name", "steps"), [("cem", 500), ("kemp", 7999), ("case", 1999)])
def test_a_baseline_that_would_warm_up_to_its_end_is_refused(name, steps):
    config = baselines.get_config(name)
    settings.read(BaselineTraining, config)
    config.steps = steps
    with pytest.raises(UserError, match="warmup=.*; expected at most the .* steps of the training"):
        settings.read(BaselineTraining, config)
    config.warmup = steps
    settings.read(BaselineTraining, config)


@pytest.mark.parametrize("variant", [*joint.ABLATIONS, "debug", *(f"debug-{core}" for core in joint.CORES)])
def test_settings_are_the_config_and_can_be_written_and_read_again(variant):
    config = joint.get_config(variant)
    found = settings.resolve(config)
    plain = settings.plain(found)
    assert settings.resolve(plain) == found
    given = config.to_dict()
    for stage in settings.STAGES:
        given[stage]["warmup"] = found[stage].warmup
    assert plain == given


def test_settings_are_typed_and_frozen():
    found = settings.resolve(debug.get_config())
    assert found.schedule == settings.STAGES and found.data.modalities == ("speech", "video")
    assert found.lora.targets == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert found.compiler_options == {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }
    with pytest.raises(AttributeError):
        found.seed = 3
    with pytest.raises(KeyError):
        found["data"]
