"""Faces that a user brings are found under every way of writing their endings."""

from __future__ import annotations

import numpy as np

from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue.faces import FaceFolder
from empatheia_jax.media.image import write_image


def test_a_portrait_with_an_ending_in_capitals_is_found(tmp_path):
    write_image(tmp_path / "small.png", np.full((8, 8, 3), 7, np.uint8))
    (tmp_path / "small.png").rename(tmp_path / "default.PNG")
    assert (FaceFolder(tmp_path).portrait(Profile.of(3)) == 7).all()
