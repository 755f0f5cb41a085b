"""Points of the face: a film's own movement scores better than another's, and what is still or disturbed is seen."""

from __future__ import annotations

import numpy as np
import pytest

from empatheia_jax.conversation.reply_folder import Manifest
from empatheia_jax.dreamtalk.drawn_face import drawing, layout
from empatheia_jax.dreamtalk.drawn_face.identity import sample_identity
from empatheia_jax.errors import UserError
from empatheia_jax.media import face_landmarks
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video_writer import VideoWriter
from evaluation import landmarks
from evaluation.judges import Judges
from evaluation.measures import measure_reply
from evaluation.store import Store
from evaluation.systems import Reply

pytestmark = pytest.mark.skipif(not face_landmarks.is_installed(), reason="needs the extra faces")
FRAMES, SIZE, RATE = 40, 96, 16_000
LOUD = np.convolve(np.random.default_rng(3).random(FRAMES + 3), np.ones(4) / 4, "valid")
LOUD = np.where(np.arange(FRAMES) < 28, (LOUD - LOUD.min()) / np.ptp(LOUD), 0)  # twelve frames of silence at the end


def sound(shift: int = 0) -> np.ndarray:
    """A tone as loud as the mouth is wide, `shift` frames late."""
    level = np.interp(np.arange(FRAMES * RATE // 25) / (RATE / 25) - 0.5, np.arange(FRAMES), np.roll(LOUD, shift))
    return (0.3 * level * np.sin(np.arange(len(level)) * 2 * np.pi * 150 / RATE)).astype(np.float32)


def film(person: int = 0, size: int = SIZE, **actions) -> np.ndarray:
    """Frames of a drawn person."""
    return np.asarray(drawing.draw(sample_identity(person), layout.coefficients(FRAMES, **actions), size))


@pytest.fixture(scope="module")
def speaking():
    """The points of a face that speaks `LOUD`."""
    return landmarks.track(film(jaw_open=LOUD))


def test_lips_that_speak_fit_their_own_sound_better_than_a_late_one(speaking):
    own = landmarks.movement(speaking, sound(), RATE)
    other = landmarks.movement(speaking, np.roll(sound()[::-1], 4000), RATE)
    still = landmarks.movement(np.repeat(speaking[:1], FRAMES, axis=0), sound(), RATE)
    assert own.opening_confidence > other.opening_confidence + 10
    assert own.opening_confidence > still.opening_confidence + 10 and still.lips == 0


def test_lips_that_move_in_silence_are_seen(speaking):
    restless = landmarks.track(
        film(jaw_open=np.where(np.arange(FRAMES) < 28, LOUD, 0.5 + 0.5 * np.sin(np.arange(FRAMES))))
    )
    quiet, loud = (landmarks.movement(each, sound(), RATE) for each in (speaking, restless))
    assert quiet.silent_lips < 0.5 * quiet.lips and loud.silent_lips > 2 * quiet.silent_lips
    assert landmarks.movement(speaking, np.ones(FRAMES * 640), RATE).silent_lips is None


def test_the_nearer_film_has_the_smaller_distance(speaking):
    assert landmarks.distances(speaking, speaking) == (0, 0)
    shuffled = speaking[np.random.default_rng(0).permutation(FRAMES)]
    another = landmarks.track(film(1, jaw_open=LOUD))
    face, lips = landmarks.distances(shuffled, speaking)
    assert lips > 1 and landmarks.distances(another, speaking)[0] > face > 0


def test_place_size_and_roll_do_not_count_and_the_paths_tell_what_moves(speaking):
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    moved = 3 * speaking @ turn + [40, -7, 0]
    assert landmarks.distances(moved, speaking)[0] == pytest.approx(0, abs=1e-9)
    assert landmarks.opening(moved) == pytest.approx(landmarks.opening(speaking))
    nodding = speaking + np.sin(np.arange(FRAMES))[:, None, None] * [0, 5, 0]
    before, after = (landmarks.movement(each, sound(), RATE) for each in (speaking, nodding))
    assert after.head > 3 * before.head and after.lips == pytest.approx(before.lips)


def test_a_film_without_a_face_is_said_and_not_averaged(tmp_path):
    with pytest.raises(UserError, match="no face is seen in 40 of 40 frames"):
        landmarks.track(np.full((FRAMES, SIZE, SIZE, 3), 90, np.uint8))
    for name, frames in (("1_0", film(jaw_open=LOUD)), ("1_1", np.full((FRAMES, SIZE, SIZE, 3), 90, np.uint8))):
        (tmp_path / name).mkdir()
        write_wav(tmp_path / name / "reply.wav", sound(), RATE)
        with VideoWriter(tmp_path / name / "reply.mp4", 25, (SIZE, SIZE)) as written:
            written.write(frames)
    Manifest("Mine", ("1_0", "1_1"), ("text", "speech", "video")).write(tmp_path)
    judges, store = Judges(chosen=("landmarks",)), Store(tmp_path / "cache")
    found = []
    for name in ("1_0", "1_1"):
        folder = tmp_path / name
        reply = Reply(name, {"response": "Yes."}, folder / "reply.wav", folder / "reply.mp4", None)
        found.append(measure_reply(reply, None, judges, store))
    seen, unseen = found
    assert seen["face_seen"] and seen["lips_path"] > 0 and not unseen["face_seen"] and "lips_path" not in unseen
