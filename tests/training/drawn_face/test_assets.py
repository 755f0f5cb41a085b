"""Claims about the small DreamTalk that ships: it loads by name, speaks, feels, and keeps its size."""

import numpy as np
import pytest

from empatheia_jax import weights
from empatheia_jax.dreamtalk.animator import Animator
from empatheia_jax.dreamtalk.drawn_face import coefficients, draw, perform, portrait, sample_identity
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION
from empatheia_jax.training.drawn_face import measure
from empatheia_jax.training.drawn_face.babble import babble
from empatheia_jax.training.drawn_face.performances import HELD_OUT, performance
from empatheia_jax.training.drawn_face.quality import ssim

SEED = HELD_OUT + 300  # a person and a sound that neither trained the networks nor gave the published figures


@pytest.fixture(scope="module")
def animator():
    return Animator.load(weights.SHIPPED / "drawn-face")


def test_the_assets_are_small():
    total = sum(p.stat().st_size for p in (weights.SHIPPED / "drawn-face").rglob("*") if p.is_file())
    assert total <= 8e6


def test_it_is_found_by_name_where_no_other_weights_are(monkeypatch, tmp_path):
    monkeypatch.setenv(weights.ROOT_VARIABLE, str(tmp_path))
    assert weights.find("drawn-face") == weights.SHIPPED / "drawn-face"


def test_the_mouth_follows_unheard_speech(animator):
    person = sample_identity(SEED)
    wave = babble(np.random.default_rng(SEED), 2.0)
    _, truth, _ = performance(SEED, 0.0, wave, "neutral", idle=False)
    motion = animator.motion(wave, perform("neutral", 100, seed=1)[:, :EXPRESSION], pose=truth[:1, EXPRESSION:])
    length = min(len(truth), len(motion))
    jaw = ACTIONS["jaw_open"]
    assert np.corrcoef(motion[:length, jaw], truth[:length, jaw])[0, 1] > 0.85
    frames = np.concatenate(list(animator.render(portrait(person), motion)))
    seen = measure.measure_opening(frames, person)[:length]
    assert np.corrcoef(seen, measure.mouth_opening(person, truth)[:length])[0, 1] > 0.6


def test_the_expression_follows_the_style(animator):
    wave = babble(np.random.default_rng(SEED + 1), 1.0)
    means = {
        emotion: animator.motion(wave, perform(emotion, 100, seed=2)[:, :EXPRESSION])[:, :EXPRESSION].mean(0)
        for emotion in ("happy", "sad", "angry")
    }
    assert means["happy"][ACTIONS["smile"]] > 1.5 > -1.0 > means["sad"][ACTIONS["smile"]]
    assert means["angry"][ACTIONS["brow_frown"]] > 2.0 > means["happy"][ACTIONS["brow_frown"]] + 1.0


def test_rendered_frames_look_like_the_drawing(animator):
    person = sample_identity(SEED + 2)
    motion = perform("happy", 30, seed=3)
    frames = np.concatenate(list(animator.render(portrait(person), motion)))[::6]
    assert np.asarray(ssim(frames, draw(person, motion[::6]))).mean() > 0.85


def test_a_portrait_for_every_profile(animator):
    faces = [animator.portrait_for(age, gender, tone) for age in range(4) for gender in range(2) for tone in range(3)]
    assert all(face.shape == (128, 128, 3) for face in faces)
    assert len({face.tobytes() for face in faces}) == 24
    still = np.concatenate(list(animator.render(faces[0], coefficients(2))))
    assert np.abs(still[0].astype(int) - faces[0]).mean() < 12
