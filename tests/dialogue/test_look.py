"""A voice, a face and an emotion that a person chose, beside what the model would have taken."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue import look
from empatheia_jax.dialogue.asking import Ask
from empatheia_jax.dialogue.faces import DrawnFaces, FaceFolder
from empatheia_jax.dialogue.responder import Blend
from empatheia_jax.dreamtalk import photo
from empatheia_jax.dreamtalk.drawn_face.layout import NEUTRAL_POSE
from empatheia_jax.dreamtalk.motion import REST_POSE
from empatheia_jax.errors import UserError
from empatheia_jax.media import face_detection
from empatheia_jax.media.image import write_image
from empatheia_jax.styletts2.voices import VoiceTable


class Speaker:
    """Two tabled voices, no style encoder."""

    model = SimpleNamespace(config=SimpleNamespace(networks=()))
    voices = VoiceTable({"low": np.zeros((5, 256)), "high": np.ones((5, 256))})

    def voice_style(self, voice, phonemes):
        return self.voices.style(voice, phonemes)


def model(rest_pose=NEUTRAL_POSE):
    animator = SimpleNamespace(
        config=SimpleNamespace(rest_pose=tuple(map(float, rest_pose))),
        image_size=64,
        render=lambda portrait, moves: iter([np.repeat(portrait[None], len(moves), 0)]),
    )
    return SimpleNamespace(
        speaker=Speaker(), animator=animator, faces=DrawnFaces(), voices=None, blend=Blend.of(1.0, 1.0), style_clip=""
    )


def test_nothing_asked_is_the_model_itself():
    ours = model()
    assert look.chosen(ours, Ask(text="hello")) == (ours, [])


def test_a_voice_by_name_speaks_for_every_profile_and_is_not_blended():
    ours = model()
    changed, notes = look.chosen(ours, Ask(voice="low:1+high:3"))
    assert changed.voices.style(Profile.of(3), 2) == pytest.approx(0.75) and changed.blend.speech_style == 0.0
    assert ours.voices is None and ours.blend.speech_style == 1.0 and not notes and changed.blend.video_style == 1.0
    with pytest.raises(UserError, match="unknown voice 'nobody'; expected one of low, high"):
        look.chosen(ours, Ask(voice="nobody"))


def test_a_recording_needs_weights_that_can_take_a_voice_from_it(tmp_path):
    with pytest.raises(UserError, match=r"cannot take a voice from me\.wav; expected one of low, high"):
        look.chosen(model(), Ask(voice=tmp_path / "me.wav"))


def test_an_emotion_is_shown_whatever_was_understood():
    changed, _ = look.chosen(model(), Ask(emotion="happy"))
    assert changed.style_clip == "happy" and (changed.blend.speech_style, changed.blend.video_style) == (0.0, 0.0)


def test_a_voice_that_plays_no_emotion_is_said():
    ours = model()
    assert look.chosen(ours, Ask(emotion="happy"))[1] == []
    ours.speaker.voices = VoiceTable({})
    assert look.chosen(ours, Ask(emotion="happy"))[1] == [look.VOICE_NOTE.format(emotion="happy")]


def test_faces_without_style_clips_speak_in_no_particular_style(tmp_path):
    write_image(tmp_path / "default.png", np.zeros((8, 8, 3), np.uint8))
    assert FaceFolder(tmp_path).style_clip("sad") is None
    assert FaceFolder(tmp_path, drawn=True).style_clip("sad").shape == (100, 64)


needs_detector = pytest.mark.skipif(not face_detection.is_installed(), reason="needs the extra faces")


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    write_image(path, data.astronaut())
    return path


@needs_detector
def test_a_photograph_is_laid_over_the_drawn_face_moves_less_and_says_so(photograph):
    changed, (note,) = look.chosen(model(), Ask(portrait=photograph))
    assert "learnt from drawings" in note
    portrait = changed.faces.portrait(Profile.of(0))
    (face,) = face_detection.find(portrait)
    eyes, mouth = np.mean(face.eyes, axis=0) / 64, np.asarray(face.mouth) / 64
    assert np.abs(eyes - (0.5, 0.508)).max() < 0.04 and np.abs(mouth - (0.5, 0.715)).max() < 0.06
    seen = []
    changed.animator._animator.render = lambda portrait, moves: (seen.append(moves), iter([np.stack([portrait] * 2)]))[
        1
    ]
    (frames,) = changed.animator.render(portrait, np.ones((2, 73), np.float32))
    assert frames.shape == (2, 64, 64, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(seen[0], photo.calmed(np.ones((2, 73), np.float32)))
    assert changed.faces.style_clip("sad").shape == (100, 64)


@needs_detector
def test_released_weights_get_the_released_square_and_no_drawn_clip(photograph, tmp_path):
    changed, (note,) = look.chosen(model(REST_POSE), Ask(portrait=photograph))
    assert "no style clip" in note and changed.faces.style_clip("sad") is None
    assert changed.faces.portrait(Profile.of(0)).shape == (64, 64, 3)
