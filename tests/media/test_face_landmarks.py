"""The points of a face lie on it, and move with it."""

from __future__ import annotations

import numpy as np
import pytest

from empatheia_jax.dreamtalk.drawn_face.profiles import portrait_for_profile
from empatheia_jax.errors import UserError
from empatheia_jax.media import face_detection, face_landmarks, tflite

needs_detector = pytest.mark.skipif(not face_landmarks.is_installed(), reason="needs the extra faces")


@pytest.fixture(scope="module")
def picture():
    return np.asarray(portrait_for_profile("young", "female", "mild"))


@needs_detector
def test_the_points_lie_where_the_detector_sees_the_eyes(picture):
    points = face_landmarks.Tracker()(picture)
    (face,) = face_detection.find(picture)
    for corners, eye in zip(face_landmarks.EYES, face.eyes):
        assert np.abs(points[list(corners), :2].mean(axis=0) - eye).max() < 0.1 * face.width


@needs_detector
def test_the_points_move_with_the_face(picture):
    tracker, moved = face_landmarks.Tracker(), np.roll(np.roll(picture, 6, axis=0), -4, axis=1)
    before = tracker(picture)
    assert np.abs(tracker(moved)[:, :2] - before[:, :2] - [-4, 6]).mean() < 1.0


@needs_detector
def test_without_a_face_there_are_no_points_and_the_next_face_is_found(picture):
    tracker = face_landmarks.Tracker()
    assert np.isnan(tracker(np.full((96, 96, 3), 128, np.uint8))).all()
    assert np.isfinite(tracker(picture)).all()


@needs_detector
def test_a_large_picture_gives_the_same_points(picture):
    large = np.repeat(np.repeat(picture, 4, axis=0), 4, axis=1)
    difference = face_landmarks.Tracker()(large)[:, :2] / 4 - face_landmarks.Tracker()(picture)[:, :2]
    assert np.abs(difference).mean() < 1.0


def test_without_the_network_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tflite, "folder", lambda: None)
    with pytest.raises(UserError, match=r"run: pip install 'empatheia-jax\[faces\]'"):
        face_landmarks.Tracker()
