"""Claims about the true flow that teaches the warping network."""

import numpy as np
import pytest

from empatheia_jax.dreamtalk import renderer_layers
from empatheia_jax.dreamtalk.drawn_face import coefficients, draw, portrait, sample_identity
from empatheia_jax.training.drawn_face.flow import true_flow
from empatheia_jax.training.drawn_face.quality import ssim

PEOPLE = [sample_identity(seed) for seed in (31, 32, 33, 34)]


def warped(person, face, motion, size=64):
    flow, _ = true_flow(person, motion, size)
    grid = renderer_layers.flow_to_deformation(flow[None])
    return np.asarray(renderer_layers.warp(face[None].astype(np.float32), grid))


def test_at_rest_the_warp_gives_the_portrait_back():
    person = sample_identity(4)
    face = portrait(person)
    inner = warped(person, face, coefficients(1)[0])[0, 2:-2, 2:-2]
    assert np.abs(inner - face[2:-2, 2:-2]).max() < 1.0  # of 255


@pytest.mark.parametrize(
    "change",
    [
        {"yaw": 0.15, "roll": 0.08},
        {"jaw_open": 0.8},
        {"brow_raise": 1.0},
        {"brow_inner_raise": 1.0},
        {"brow_frown": 1.0},
        {"smile": 1.0},
        {"squint": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_warped_portraits_are_nearer_to_the_drawings_than_portraits_are(change):
    """At full resolution, on the whole: what only appears (teeth, lines of a frown) no flow can bring."""
    motion = coefficients(1, **change)
    before = after = 0.0
    for person in PEOPLE:
        face, frame = portrait(person), draw(person, motion)
        before += 1.0 - float(ssim(face[None], frame)[0])
        after += 1.0 - float(ssim(warped(person, face, motion[0], 128), frame)[0])
    assert after < 0.75 * before


def test_hair_and_glasses_stay_where_they_are_while_brows_move():
    """Nor does a fringe that hides the brows follow them, nor the frame of glasses: both lie over the skin that moves."""
    fringed = sample_identity(9, age="young")  # her fringe ends below her brows
    face, motion = portrait(fringed), coefficients(1, brow_raise=1.0)
    moved = np.abs(warped(fringed, face, motion[0], 128)[0] - draw(fringed, motion)[0])
    assert moved.max(-1).mean() < 0.6  # of 255
    glasses = next(person for person in map(sample_identity, range(22, 60)) if person.glasses)
    face, motion = portrait(glasses), coefficients(1, brow_frown=1.0)
    before = 1.0 - float(ssim(face[None], draw(glasses, motion))[0])
    assert 1.0 - float(ssim(warped(glasses, face, motion[0], 128), draw(glasses, motion))[0]) < 0.75 * before


def test_a_smile_leaves_the_chin_where_it_is_and_an_open_jaw_takes_it_along():
    person = PEOPLE[0]
    _, smiling = true_flow(person, coefficients(1, smile=1.0)[0], 64)
    _, open_mouth = true_flow(person, coefficients(1, jaw_open=1.0)[0], 64)
    chin = 32 + int(32 * (0.13 + 0.58 + (0.155 + person.jaw_length - 0.58) * person.size))
    # In pixels of a map of 64: half a pixel of the picture at most, against two or more.
    assert smiling[chin - 1, 30:34].max() < 0.25 < 1.0 < open_mouth[chin - 1, 30:34].min()


def test_expression_moves_only_the_face():
    person = sample_identity(9)
    _, still = true_flow(person, coefficients(1)[0], 64)
    assert np.abs(still).max() < 1e-6
    _, moved = true_flow(person, coefficients(1, jaw_open=1.0)[0], 64)
    assert moved[40:56, 26:38].max() > 3.0 and moved[:24].max() < 0.3
