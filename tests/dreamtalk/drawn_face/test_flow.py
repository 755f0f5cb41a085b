"""Claims about the true flow that teaches the warping network."""

import numpy as np

from empatheia_jax.dreamtalk.drawn_face import coefficients, sample_identity
from empatheia_jax.dreamtalk.drawn_face.flow import true_flow

PEOPLE = [sample_identity(seed) for seed in (31, 32, 33, 34)]


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
