"""The projections of the starter: fitted in closed form, and what the shipped one reads."""

from __future__ import annotations

import numpy as np
import pytest

from configs import debug, quickstart
from empatheia_jax import assemble, settings, weights
from empatheia_jax.conversation import labels
from empatheia_jax.dreamtalk.drawn_face import EMOTIONS
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import local_mesh
from empatheia_jax.training import projections


def test_a_linear_map_is_found_again():
    rng = np.random.default_rng(0)
    features = 3 + 2 * rng.normal(size=(4000, 5))
    kernel, bias = rng.normal(size=(5, 7)), rng.normal(size=7)
    found_kernel, found_bias = projections.fit(features, features @ kernel + bias)
    np.testing.assert_allclose(found_kernel, kernel, atol=2e-3)
    np.testing.assert_allclose(found_bias, bias, atol=2e-2)


def test_faces_are_projected_onto_words_of_one_length_and_a_face_at_rest_onto_nothing():
    config = settings.resolve(debug.get_config())
    assembly = assemble.empatheia(config, local_mesh(1, 1, 1))
    vectors = projections.words(assembly)
    lengths = dict(zip(EMOTIONS, np.linalg.norm(vectors, axis=1)))
    assert lengths.pop("neutral") == 0
    np.testing.assert_allclose(list(lengths.values()), lengths["happy"])
    envy = projections.embedding(assembly, " jealous")  # the one label of its emotion
    assert labels.emotion7("jealous") == "contempt"
    direction = vectors[EMOTIONS.index("contempt")]
    assert direction @ envy == pytest.approx(np.linalg.norm(direction) * np.linalg.norm(envy))


def test_the_shipped_starter_reads_the_faces_of_people_whom_it_has_not_seen():
    """The same expression of another person is nearer than most other expressions; on chance 1 in 8 would be the nearest."""
    leaves = weights.open_start("starter").leaves()
    tower = assemble.towers(settings.resolve(quickstart.get_config())).see
    features, shown, strength = projections.draw_lessons(tower, people=3, seed=99)
    read = features.mean(1) @ leaves["video_projection.kernel"] + np.asarray(leaves["video_projection.bias"])
    who, strong = np.arange(len(read)) // len(EMOTIONS), strength > 0.5
    distances = np.square(read[:, None] - read[None]).sum(-1)
    distances[who[:, None] == who[None]] = np.inf  # compare with other people alone
    nearest = shown[np.argmin(np.where(strong[None], distances, np.inf), 1)]
    assert (nearest == shown)[strong].mean() > 0.6
    assert strength[shown == EMOTIONS.index("neutral")].max() == 0


def test_a_projection_needs_people_to_be_fitted_to_and_others_to_be_tried_on():
    with pytest.raises(UserError, match="--people=4; expected at least 5"):
        projections.teach("starter", 4, seed=0)
