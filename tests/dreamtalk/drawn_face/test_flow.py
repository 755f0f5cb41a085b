"""Claims about the true flow that teaches the warping network."""

import numpy as np
import pytest

from empatheia_jax.dreamtalk import renderer_layers
from empatheia_jax.dreamtalk.drawn_face import coefficients, draw, portrait, sample_identity
from empatheia_jax.dreamtalk.drawn_face.flow import true_flow
from empatheia_jax.dreamtalk.drawn_face.quality import ssim


def warped(person, face, motion):
    flow, _ = true_flow(person, motion, 64)
    grid = renderer_layers.flow_to_deformation(flow[None])
    return np.asarray(renderer_layers.warp(face[None].astype(np.float32), grid))


def test_at_rest_the_warp_gives_the_portrait_back():
    person = sample_identity(4)
    face = portrait(person)
    inner = warped(person, face, coefficients(1)[0])[0, 2:-2, 2:-2]
    assert np.abs(inner - face[2:-2, 2:-2]).max() < 1.0  # of 255


# Strict, so that a mended flow says so: for this person and these actions the flow leads further from the drawing than none.
# Why is not known: it may be the flow, or this person.
WRONG = pytest.mark.xfail(strict=True, reason="true_flow is further from the drawing here than no flow; cause unknown")


@pytest.mark.parametrize(
    "change",
    [
        {"yaw": 0.15, "roll": 0.08},
        {"jaw_open": 0.8},
        pytest.param({"brow_raise": 1.0}, marks=WRONG),
        pytest.param({"smile": 1.0}, marks=WRONG),
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_warped_portrait_is_nearer_to_the_drawing_than_the_portrait_is(change):
    person = sample_identity(9, age="young")
    face = portrait(person)
    motion = coefficients(1, **change)
    frame = draw(person, motion)
    before, after = ssim(face[None], frame)[0], ssim(warped(person, face, motion[0]), frame)[0]
    assert 1.0 - after < 0.75 * (1.0 - before)


def test_expression_moves_only_the_face():
    person = sample_identity(9)
    _, still = true_flow(person, coefficients(1)[0], 64)
    assert np.abs(still).max() < 1e-6
    _, moved = true_flow(person, coefficients(1, jaw_open=1.0)[0], 64)
    assert moved[40:56, 26:38].max() > 3.0 and moved[:24].max() < 0.3
