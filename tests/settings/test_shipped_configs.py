"""Every file of `configs/` and every variant is read without a word, and each ablation changes what its row of the paper says."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs import baselines, drawn_face, joint
from empatheia_jax import settings
from empatheia_jax.dreamtalk.settings import DrawnFace
from tests.command_line import parse

FOLDER = Path(joint.__file__).parent
ARGUMENTS = [
    *(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "common", "drawn_face", "tables")),
    *(f"joint.py:{variant}" for variant in joint.ABLATIONS if variant),
    "quickstart.py:bare",
    "baselines.py:smollm2",
    *("joint.py:debug", *(f"joint.py:debug-{core}" for core in joint.CORES)),
]
EVERY = ("coe", "content", "style", "joint")
ROWS = {
    "paper": {"objective.kl_weight": 0.0, "bridge.style_inputs": "speech"},
    "pipeline": {"schedule": ("coe",), "data.chain_of_empathy": False, "decoding.content_blend": 0.0},
    "chatglm3": {"networks.llm": "chatglm3-6b", "lora.targets": ("query_key_value",), "schedule": EVERY},
    "flan-t5": {"networks.llm": "flan-t5-xxl", "lora.targets": ("q", "v"), "schedule": EVERY},
    "without-coe": {"data.chain_of_empathy": False, "data.instruction": "plain", "schedule": EVERY},
    "without-media": {"data.modalities": (), "schedule": EVERY},
    "without-cs": {"bridge.content_kind": "linear", "bridge.style_kind": "vae"},
    "without-sd": {"bridge.content_kind": "vae", "bridge.style_kind": "linear"},
    "without-joint": {"schedule": ("coe", "content", "style")},
    "joint-only": {"schedule": ("joint",)},
    "without-ccl": {"schedule": ("coe", "style", "joint")},
    "without-sac": {"schedule": ("coe", "content", "joint")},
}
"""Variant → typed values that its row of Tables 2 and 3 asks for."""


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_a_config_file_is_read_as_it_is(argument, monkeypatch):
    monkeypatch.chdir(FOLDER.parent)
    name = argument if ":" in argument else f"{argument}.py"
    _, found = parse(["launch.py", f"--config=configs/{name}"])
    assert settings.read(type(found), settings.plain(found)) == found


def test_the_fine_tuned_language_model_is_the_core_alone_and_learns_emotion_and_reply():
    found = settings.resolve(baselines.get_config("smollm2"))
    assert (found.start, found.schedule, found.data.modalities) == ("", ("coe",), ())
    assert not found.data.chain_of_empathy and not found.data.persona
    assert found.objective.emotion_weight > 1  # an answer without steps has one label among dozens of words


def test_the_drawn_faces_config_is_read_as_it_is():
    found = settings.read(DrawnFace, drawn_face.get_config())
    assert settings.read(DrawnFace, settings.plain(found)) == found


def test_every_row_is_looked_at():
    assert set(ROWS) == {variant for variant in joint.ABLATIONS if variant}


@pytest.mark.parametrize("variant", ROWS)
def test_an_ablation_is_the_row_of_its_table(variant):
    found = settings.resolve(joint.get_config(variant))
    for key, value in ROWS[variant].items():
        block = found
        for part in key.split("."):
            block = getattr(block, part)
        assert block == value
    left_out = {"without-ccl": "ccl", "without-sac": "sac"}.get(variant)
    for stage in found.schedule:
        assert found.losses(stage) == tuple(loss for loss in settings.PARTS[stage] if loss != left_out)
