"""A photograph: its face is found, judged, and cut out as a renderer expects it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from empatheia_jax.dreamtalk import photo, portrait
from empatheia_jax.dreamtalk.drawn_face import layout
from empatheia_jax.dreamtalk.drawn_face.profiles import portrait_for_profile
from empatheia_jax.errors import UserError
from empatheia_jax.media import face_detection, tflite
from empatheia_jax.media.face_detection import Face
from empatheia_jax.media.image import read_image


@pytest.fixture(scope="module")
def astronaut():
    return pytest.importorskip("skimage.data").astronaut()


def small(picture, width):
    return np.asarray(Image.fromarray(picture).resize((width, width)))


needs_detector = pytest.mark.skipif(not face_detection.is_installed(), reason="needs the extra faces")


@needs_detector
def test_a_photograph_is_judged_in_one_line(astronaut):
    assert photo.judged(astronaut).score > 0.8
    wall = np.full((300, 200, 3), 180, np.uint8)
    twice = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    for picture, message in (
        (wall, r"no face was found in me\.jpg \(200 x 300 pixels\)"),
        (twice, r"2 faces were found in me\.jpg"),
        (small(astronaut, 150), r"pixels wide; expected at least 48"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            photo.judged(picture, "me.jpg")
        assert "\n" not in str(caught.value)


@needs_detector
def test_a_small_face_in_the_background_is_no_rival(astronaut):
    scene = np.concatenate([astronaut, np.full((512, 170, 3), 200, np.uint8)], axis=1)
    scene[:170, 512:] = small(astronaut, 170)
    assert photo.judged(scene).width > 60


@needs_detector
def test_the_detector_knows_drawn_faces_and_where_theirs_lie():
    (face,) = face_detection.find(portrait_for_profile("young", "female", "mild"))
    assert (face.eyes[1][0] - face.eyes[0][0]) / 128 == pytest.approx(0.208, abs=0.03)
    assert face.mouth[1] / 128 == pytest.approx(0.715, abs=0.03)


@needs_detector
def test_real_portraits_are_cut_out_as_the_released_program_does(shared):
    media = shared / "media" / "portraits"
    for path in sorted(media.glob("cropped/*")):
        picture = read_image(path)
        assert photo.cut_out(picture, photo.judged(picture), 256) is not None, path.name
        np.testing.assert_array_equal(photo.cut_out(picture, photo.judged(picture), 256), portrait.scale(picture, 256))
    picture = read_image(media / "uncropped" / "male_face.png")
    want = np.load(shared / "parity" / "dreamtalk" / "portrait_crop.npz")["face_rect_ltrb"]
    found = photo._rectangle(photo.judged(picture), *picture.shape[:2])
    assert np.abs(np.asarray(found) - want).max() < 0.15 * (want[2] - want[0])


def test_a_large_photograph_is_laid_over_a_drawn_face_in_little_memory():
    picture = np.random.default_rng(0).integers(0, 256, (1500, 1200, 3)).astype(np.uint8)
    face = Face((300, 300, 900, 900), ((450, 500), (750, 500)), (600, 650), (600, 790), 1.0)
    tracemalloc.start()
    laid = photo.overlay(picture, face, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert laid.picture.shape == (64, 64, 3)
    assert peak < 8e6  # a grid of its 1,472² places at once took 100 MB, that of a 5,462² photograph 2.6 GB


def test_without_a_detector_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tflite, "folder", lambda: None)
    with pytest.raises(UserError, match=r"no face detector is installed; run: pip install 'empatheia-jax\[faces\]'"):
        face_detection.require()


def test_a_photograph_moves_less_than_a_drawing_and_its_mouth_least_where_it_would_be_distorted():
    moves = layout.coefficients(2, jaw_open=1.0, lips_round=1.0, brow_raise=1.0, yaw=0.2)
    calm = photo.calmed(moves)
    shares = {name: calm[0, layout.ACTIONS[name]] / layout.FULL for name in ("brow_raise", "jaw_open", "lips_round")}
    assert shares == pytest.approx({"brow_raise": 0.6, "jaw_open": 0.5, "lips_round": 0.25})
    np.testing.assert_array_equal(calm[:, layout.EXPRESSION :], moves[:, layout.EXPRESSION :])
