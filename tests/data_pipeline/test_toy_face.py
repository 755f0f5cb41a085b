"""The drawn face of the toy set moves with the words and is the same in every run."""

from __future__ import annotations

import numpy as np

from data_pipeline.toy import media
from empatheia_jax.conversation.schema import Profile


def test_the_face_follows_the_phonemes_and_the_feeling_to_the_bit():
    silence = media.Spoken(np.zeros(6000, np.float32), ["m"], [0.25])
    open_mouth = media.Spoken(np.zeros(6000, np.float32), ["ɑ"], [0.25])
    face, person = media.DrawnFace(size=32), Profile.of(9)

    def seen(spoken, emotion="happy", profile=person):
        motion, pictures = face(spoken, profile, emotion, 1.0, seed=5)
        return motion, np.concatenate(list(pictures))

    motion, pictures = seen(silence)
    assert motion.shape == (6, 73) and pictures.shape == (6, 32, 32, 3) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(seen(silence)[1], pictures)
    assert seen(open_mouth)[0][:, 0].mean() > motion[:, 0].mean()  # the jaw
    for other in (seen(open_mouth), seen(silence, "sad"), seen(silence, profile=Profile.of(20))):
        assert (other[1] != pictures).any()
