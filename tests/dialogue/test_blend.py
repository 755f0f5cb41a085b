"""What no loss of a run has trained does not reach the generators, unless one asks for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from configs import joint
from empatheia_jax import settings
from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.labels import EMOTIONS_7
from empatheia_jax.dialogue.commands import blend
from empatheia_jax.dialogue.responder import Blend
from empatheia_jax.runs.checkpoint import RUN_FILE
from empatheia_jax.runs.integrity import write_record
from empatheia_jax.runs.run import Run


def run_of(folder, config, stages) -> Run:
    """A run that has a checkpoint of each of these stages."""
    run = Run(folder)
    run.write_config(settings.plain(config))
    for stage in stages:
        (run.stage_folder(stage) / "2").mkdir(parents=True)
    return run


@pytest.mark.parametrize(
    ("variant", "stages", "expected"),
    [
        ("", None, (1, 1)),
        ("", ("coe", "content"), (1, 0)),  # not there yet: the style is still the random one
        ("without-ccl", None, (0, 1)),
        ("without-sac", None, (1, 0)),
        ("without-cs", None, (1, 1)),  # its linear map is trained
        ("without-joint", None, (1, 1)),
        ("joint-only", None, (1, 1)),
        ("pipeline", None, (0, 0)),
    ],
)
def test_a_path_that_no_loss_trained_is_left_out(tmp_path, variant, stages, expected):
    config = settings.resolve(joint.get_config(variant))
    run = run_of(tmp_path, config, config.schedule if stages is None else stages)
    assert blend(config.decoding, run.trained_losses()) == Blend.of(*expected)


def test_the_run_decides_and_not_the_name_of_the_config_that_asks(tmp_path):
    config = settings.resolve(joint.get_config("without-ccl"))
    run = run_of(tmp_path, config, config.schedule)
    other = settings.resolve(joint.get_config())
    assert blend(other.decoding, run.trained_losses()) == Blend.of(0, 1)


def test_a_stage_that_was_trained_without_a_loss_stays_so_whatever_the_newest_start_says(tmp_path):
    run = run_of(tmp_path, settings.resolve(joint.get_config()), ("coe", "joint"))
    for stage, fingerprint in (("coe", {}), ("joint", {"objective.without": "ccl"})):
        write_record(run.stage_folder(stage) / RUN_FILE, {"fingerprint": fingerprint, "metadata": {}, "versions": {}})
    assert run.trained_losses() == {"emp", "sac"}
    (run.stage_folder("content") / "2").mkdir(parents=True)
    write_record(run.stage_folder("content") / RUN_FILE, {"fingerprint": {}, "metadata": {}, "versions": {}})
    assert run.trained_losses() == {"emp", "ccl", "sac"}


def test_a_share_that_is_asked_for_is_given(tmp_path):
    config = settings.resolve(joint.get_config("without-ccl"))
    asked = dataclasses.replace(config.decoding, content_blend=1.0, style_blend=0.25)
    assert blend(asked, run_of(tmp_path, config, config.schedule).trained_losses()) == Blend.of(1.0, 0.25)


def test_where_the_start_answers_alone_a_bridge_that_nothing_trained_says_nothing(tmp_path):
    asked = dataclasses.replace(settings.resolve(joint.get_config()).decoding, content_blend=0.5, style_blend=0.25)
    assert blend(asked, {"emp"}, begun=False) == Blend.of(0, 0)
    assert blend(asked, {"emp", "sac"}, begun=False) == Blend.of(0, 0.25)


def test_a_classifier_that_nothing_trained_is_neither_reported_nor_followed(responder, monkeypatch):
    logits = {"emotion": np.eye(7, dtype=np.float32)[:1]}
    said = Answer("a letter came", "quite something", "it was late", "listen", "I see.", complete=True)
    assert responder.emotion(said, logits)["of_7"] == responder.emotion(said, logits)["classified"] == EMOTIONS_7[0]
    monkeypatch.setattr(responder, "classifies", False)
    untrained = responder.emotion(said, logits)
    assert untrained["classified"] is None and untrained["of_7"] is None
    assert responder.shown(untrained) == ("neutral", 1.0)
