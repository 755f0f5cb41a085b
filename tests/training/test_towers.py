"""The small encoders are trained by the trainer of everything else, and become weights folders."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.runs.run import Run
from empatheia_jax.training import towers

SMALL = {"width": 16, "layers": 1, "heads": 2, "mlp": 16}
CONFIGS = {
    "toy-hubert": dataclasses.replace(
        towers.TOY_HUBERT, **SMALL, conv_channels=(8,) * 7, position_width=4, position_groups=2
    ),
    "toy-clip": dataclasses.replace(towers.TOY_CLIP, **{**SMALL, "layers": 2}, patch=32),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("set"), np.random.default_rng(0)
    for name in ("audio_v5_0", "video_v5_0", "motion_v5_0"):
        (root / name).mkdir()
    write_wav(root / "audio_v5_0" / "a.wav", (0.1 * rng.normal(size=30_000)).astype(np.float32), 16_000)
    with VideoWriter(root / "video_v5_0" / "a.mp4", 25, (32, 32)) as film:
        film.write(rng.integers(0, 255, (12, 32, 32, 3), np.uint8))
    np.save(root / "motion_v5_0" / "a.npy", rng.normal(size=(12, 73)).astype(np.float32))
    return root


@pytest.mark.parametrize("job", towers.JOBS, ids=lambda job: job.name)
def test_a_tower_is_trained_in_a_run_and_becomes_a_weights_folder(job, data, tmp_path):
    job = dataclasses.replace(job, config=CONFIGS[job.name])
    options = (job, data, tmp_path / "weights", tmp_path / "run")
    towers.train(*options, steps=2, batch=2, seed=0)
    kind, _, first = weights.load(tmp_path / "weights" / job.name)
    assert kind == job.kind and not any(path.startswith("head") for path in first)
    assert {value.dtype.name for value in first.values()} == {"bfloat16"}
    assert Run(tmp_path / "run").completion(job.name)["step"] == 2
    towers.train(*options, steps=2, batch=2, seed=0)  # complete: the same weights again
    for path, value in weights.load(tmp_path / "weights" / job.name)[2].items():
        np.testing.assert_array_equal(value, first[path])
    with pytest.raises(UserError, match="another run"):
        towers.train(*options, steps=2, batch=2, seed=1)


def test_the_video_tower_learns_from_people_who_are_drawn_for_it_and_needs_no_set(tmp_path):
    job = dataclasses.replace(towers.VIDEO, config=CONFIGS["toy-clip"])
    missing = tmp_path / "no set"
    towers.train(job, missing, tmp_path / "weights", tmp_path / "run", steps=2, batch=2, seed=0, people=2)
    assert weights.describe(tmp_path / "weights" / "toy-clip")["provenance"]["people"] == 2
    frames, coefficients = towers.drawn_people(2, seed=0)
    assert len(frames) == len(coefficients) == 2 * len(towers.EMOTIONS) * towers.MOMENTS
    np.testing.assert_allclose(coefficients.mean(0), 0, atol=1e-5)
    with pytest.raises(UserError, match="another run"):
        towers.train(job, missing, tmp_path / "weights", tmp_path / "run", steps=2, batch=2, seed=0, people=3)
