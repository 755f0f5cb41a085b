"""What a later stage cannot do is said before the first one starts."""

from __future__ import annotations

import pytest

from configs import debug, joint
from data_pipeline import features
from empatheia_jax import settings
from empatheia_jax.errors import UserError
from empatheia_jax.training import schedule


def test_every_stage_that_cannot_be_built_is_named_before_anything_trains(tmp_path):
    config = debug.get_config()
    config.content.group_rates = "core.*=0.5"  # nothing of the core trains there
    config.joint.group_rates = "no.such.*=2"

    def no_batches(*_):
        raise AssertionError("a stage was started")

    with pytest.raises(UserError) as caught:
        schedule.run(settings.resolve(config), tmp_path / "run", no_batches)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert len(lines) == 2
    assert lines[0].startswith("stage content: group_rates names 'core.*'")
    assert lines[1].startswith("stage joint: group_rates names 'no.such.*'")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_loss_that_is_left_out_needs_no_features():
    config = settings.resolve(joint.get_config("without-sac"))
    assert features.targets(config, "joint") == ("speech_content", "video_content")
    config = settings.resolve(joint.get_config("without-ccl"))
    assert features.targets(config, "joint") == features.targets(config, "style") == ("speech_style", "video_style")
    assert len(features.targets(settings.resolve(joint.get_config()), "joint")) == 4
