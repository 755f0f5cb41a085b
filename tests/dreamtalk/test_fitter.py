"""Coefficients are found in the points of a face that were made from known ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import safetensors.numpy
from scipy.spatial.transform import Rotation

from empatheia_jax.dreamtalk import fitter
from empatheia_jax.errors import UserError

RANDOM = np.random.default_rng(0)
FACE = RANDOM.standard_normal((468, 3)) * [40, 50, 20]
BASIS = RANDOM.standard_normal((64, 468, 3))
BASIS -= BASIS.mean(axis=1, keepdims=True)


def film(name: str, frames: int = 60, size: tuple[int, int] = (512, 512), seed: int = 0) -> fitter.Example:
    """A person's own face plus the basis times known coefficients, turned, moved and scaled by a known pose."""
    who, random = np.random.default_rng(sum(map(ord, name.split("_")[0]))), np.random.default_rng(seed)
    own = FACE + 3 * who.standard_normal((468, 3))
    expression = random.standard_normal((frames, 64))
    angles, scale = 0.2 * random.standard_normal((frames, 3)), 1 + 0.1 * random.random(frames)
    moved = np.concatenate([10 * random.standard_normal((frames, 2)), np.zeros((frames, 1))], axis=1)
    points = own + np.einsum("fe,enc->fnc", expression, BASIS)
    points = np.einsum("fnc,fdc->fnd", points, Rotation.from_euler("xyz", angles).as_matrix())
    points = scale[:, None, None] * points + moved[:, None] + [128, 140, 0]
    pose = np.concatenate([angles, moved[:, :2] / 100, scale[:, None], np.zeros((frames, 3))], axis=1)
    points = points * (size[1] / 256)
    return fitter.Example(name, name.split("_")[0], points, size, expression, pose)


@pytest.fixture(scope="module")
def learned() -> fitter.Fitter:
    return fitter.learn([film(f"{who}_{n}", seed=10 * k + n) for k, who in enumerate(("ann", "ben")) for n in range(4)])


def test_coefficients_of_a_person_that_was_never_seen_are_found(learned):
    # The whole basis moves, so a face's turn and scale and its expression are not quite apart: hence 0.15, not 0.
    found, films = [], [film(f"cyd_{n}", seed=100 + n) for n in range(2)]
    person = np.mean([learned.relative(each.points).mean(axis=0) for each in films], axis=0)
    truth = np.concatenate([each.expression for each in films])
    found = np.concatenate([learned.absolute(learned.relative(each.points), person) for each in films])
    assert np.abs(found - truth).mean() < 0.15
    assert min(np.corrcoef(found[:, k], truth[:, k])[0, 1] for k in range(64)) > 0.95


def test_the_pose_is_found_in_films_of_any_size(learned):
    for each in (film("cyd_7", seed=7), film("cyd_8", seed=8, size=(256, 256))):
        found = learned.pose_of(each.points, each.size)
        correlation = [np.corrcoef(found[:, k], each.pose[:, k])[0, 1] for k in range(6)]
        assert min(correlation) > 0.9, np.round(correlation, 2)


def test_a_film_that_is_not_square_is_cut_around_the_face(learned):
    square = film("cyd_9", seed=9, size=(512, 512))
    wide = learned.pose_of(2 * square.points + [700, 30, 0], (1080, 1920))
    np.testing.assert_allclose(wide[:, :3], learned.pose_of(square.points, (512, 512))[:, :3], atol=0.02)


def test_what_was_left_out_of_the_learning_is_measured():
    films = [film(name, seed=n) for n, name in enumerate(("ann_0", "ben_0", "ben_1"))]
    found = fitter.correlations(films)
    assert set(found) == {"clips", "persons"}
    shuffled = [
        dataclasses.replace(each, expression=RANDOM.permutation(each.expression)) for each in (films[0], films[1])
    ]
    assert np.median(found["persons"][0]) > 0.5 > 0.3 > np.median(fitter.correlations(shuffled)["persons"][0])


def test_a_map_is_read_as_it_was_written(learned, tmp_path):
    learned.save(tmp_path / "map.safetensors")
    again = fitter.load(tmp_path / "map.safetensors")
    assert again.fingerprint == learned.fingerprint
    np.testing.assert_array_equal(again.expression, learned.expression)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"no safetensors", "cannot be read"),
        (safetensors.numpy.save({"face": np.zeros((3, 3), np.float32)}), "without face, place, expression"),
    ],
)
def test_another_file_is_refused_in_one_line(content, words, tmp_path):
    path = tmp_path / "map.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as refused:
        fitter.load(path)
    assert "\n" not in str(refused.value)


def test_short_gaps_are_filled_and_long_ones_refused():
    points = np.broadcast_to(np.arange(20.0)[:, None, None], (20, 468, 3)).copy()
    points[[0, 5, 6]] = np.nan
    filled = fitter.filled(points, "a.mp4")[:, 0, 0]
    np.testing.assert_allclose(filled, [1, *range(1, 20)])
    points[2:9] = np.nan
    with pytest.raises(UserError, match=r"no face is seen in 8 of 20 frames of a\.mp4"):
        fitter.filled(points, "a.mp4")
