"""The trainings of the drawn face are runs like any other: they stop at a deadline, go on, and end with averaged weights."""

from __future__ import annotations

import dataclasses
import time

import jax
import numpy as np
import pytest
from flax import nnx

from configs import drawn_face
from empatheia_jax import weights
from empatheia_jax.dreamtalk.renderer import Renderer
from empatheia_jax.dreamtalk.settings import DrawnFace
from empatheia_jax.errors import UserError
from empatheia_jax.runs.checkpoint import load_trainable, steps_on_disk
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import read
from empatheia_jax.training import partition
from empatheia_jax.training.drawn_face import export, judge, train_denoiser, train_renderer


@pytest.fixture
def config():
    values = drawn_face.get_config()
    values.denoiser.update({"d_model": 16, "num_heads": 2, "feedforward_dim": 16, "style_max_len": 10})
    values.update({"denoiser_clips": 2, "denoiser_batch": 2, "denoiser_frames": 4})
    return dataclasses.replace(read(DrawnFace, values), denoiser_steps=3)


def test_a_denoiser_stopped_by_its_deadline_goes_on_and_ends_as_one_that_was_not(config, tmp_path):
    stopped = tmp_path / "stopped"
    train_denoiser.train(config, stopped, deadline=time.monotonic())
    folder = Run(stopped).stage_folder("denoiser")
    assert steps_on_disk(folder) == [1] and Run(stopped).completion("denoiser") is None
    resumed = train_denoiser.train(config, stopped)
    straight = train_denoiser.train(config, tmp_path / "straight")
    assert Run(stopped).completion("denoiser")["step"] == 3
    for path, value in load_trainable(folder).items():
        np.testing.assert_array_equal(weights.flatten(straight)[path], value)
        np.testing.assert_array_equal(weights.flatten(resumed)[path], value)
    raw = load_trainable(folder, average=False)
    assert any(not np.array_equal(raw[path], value) for path, value in load_trainable(folder).items())


def test_the_renderer_learns_the_flow_alone_and_then_everything(config, tmp_path):
    train_renderer.draw_shards(str(tmp_path), 0, 1, people=1, frames_each=2)
    flow, everything = train_renderer.phases(config, tmp_path)
    model = weights.abstract(lambda: Renderer(config.renderer, rngs=nnx.Rngs(0)))
    for phase, parts, losses in (
        (flow, {"mapping", "warping"}, {"flow"}),
        (everything, {"mapping", "warping", "editing"}, {"flow", "pixel", "edge", "plain"}),
    ):
        cut = partition.split(model, phase.trainable)
        assert {path.split(".")[0] for path in cut.trainable} == parts
        batch = next(phase.data.train())
        pairs = jax.eval_shape(
            lambda t, f, b, cut=cut, phase=phase: phase.loss(cut.merge(t, f), b, None), cut.trainable, cut.frozen, batch
        )
        assert pairs.keys() == losses and all(total.shape == weight.shape == () for total, weight in pairs.values())


def test_a_judge_is_trained_once(tmp_path, monkeypatch):
    frames = np.random.default_rng(0).integers(0, 255, (8, 128, 128, 3)).astype(np.uint8)
    monkeypatch.setattr(judge, "draw_lessons", lambda path, people: (frames, np.arange(8)))
    trained = judge.train(tmp_path, steps=2)
    monkeypatch.setattr(judge, "draw_lessons", None)
    again = judge.train(tmp_path, steps=2)
    same = jax.tree.map(np.array_equal, nnx.state(trained, nnx.Param), nnx.state(again, nnx.Param))
    assert all(jax.tree.leaves(same))
    assert judge.Reader(again).read(np.concatenate([frames, frames])) in judge.EMOTIONS


def test_what_is_not_trained_cannot_be_exported(config, tmp_path):
    with pytest.raises(UserError, match="train it first: --network=renderer"):
        export.assemble(config, tmp_path)
