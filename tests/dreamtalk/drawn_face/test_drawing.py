"""Claims about the drawn face: who it is, what its coefficients do, and that its ground truth is what is seen."""

import numpy as np
import pytest

from empatheia_jax.conversation.labels import AGES, GENDERS, TONES
from empatheia_jax.dreamtalk.drawn_face import (
    coefficients,
    draw,
    perform,
    portrait,
    sample_identity,
    template,
)
from empatheia_jax.dreamtalk.drawn_face.drawing import draw_many
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION, LOWER_INDICES, UPPER_INDICES
from empatheia_jax.dreamtalk.drawn_face.profiles import identity_for_profile
from empatheia_jax.errors import UserError
from empatheia_jax.training.drawn_face import measure


def test_a_seed_gives_one_person_and_another_seed_another():
    assert sample_identity(3) == sample_identity(3)
    first, second = portrait(sample_identity(3)), portrait(sample_identity(4))
    assert first.shape == (128, 128, 3) and first.dtype == np.uint8
    assert np.abs(first.astype(int) - second).mean() > 5


def test_profiles_are_kept_and_unknown_ones_refused():
    people = [identity_for_profile(age, gender, tone) for age in AGES for gender in GENDERS for tone in TONES]
    assert [(p.age, p.gender, p.tone) for p in people] == [(a, g, t) for a in AGES for g in GENDERS for t in TONES]
    assert len({p.seed for p in people}) == 24
    with pytest.raises(UserError, match="age is 'ancient'"):
        sample_identity(0, age="ancient")


def test_age_shows():
    young = [sample_identity(s, age="young") for s in range(20)]
    old = [sample_identity(s, age="elderly") for s in range(20)]
    assert max(p.wrinkles for p in young) == 0 and min(p.wrinkles for p in old) >= 0.8
    assert np.mean([sum(p.hair) for p in old]) > np.mean([sum(p.hair) for p in young]) + 0.5


def test_the_lower_face_holds_the_actions_of_the_mouth_as_in_dreamtalk():
    assert sorted(LOWER_INDICES + UPPER_INDICES) == list(range(64))
    for name in ("jaw_open", "lips_stretch", "lips_round", "smile", "lips_press", "tongue"):
        assert ACTIONS[name] in LOWER_INDICES
    for name in ("brow_raise", "blink_left", "squint", "gaze_right", "nose_wrinkle"):
        assert ACTIONS[name] in UPPER_INDICES
    assert len(set(ACTIONS.values())) == len(ACTIONS)


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_every_named_action_moves_its_own_part_of_the_face(name):
    person = sample_identity(11, age="young", gender="female")
    talking = {"jaw_open": 0.3}
    motion = np.concatenate([coefficients(1, **talking), coefficients(1, **(talking | {name: 1.0}))])
    rest, moved = draw(person, motion)
    change = np.abs(moved.astype(int) - rest).sum(-1)
    assert change.max() > 30
    # The head reaches from row 10 to 105; eyes are above row 70, the mouth below it.
    eyes, mouth = change[:74].sum(), change[74:].sum()
    if name in (
        "jaw_open",
        "lips_round",
        "lips_press",
        "smile",
        "smirk",
        "upper_lip_raise",
        "lower_lip_drop",
        "tongue",
    ):
        assert mouth > eyes
    if name.startswith(("brow", "blink", "gaze", "eyes")):
        assert eyes > 5 * mouth


def test_unnamed_coefficients_change_nothing():
    person = sample_identity(2)
    motion = coefficients(1)
    noise = motion.copy()
    unnamed = sorted(set(range(EXPRESSION)) - set(ACTIONS.values()))
    noise[:, unnamed] = 2.0
    np.testing.assert_array_equal(draw(person, motion), draw(person, noise))


def test_the_pose_moves_the_head_and_the_crop_the_picture():
    person = sample_identity(7)
    still = portrait(person).astype(int)
    for kw in ({"yaw": 0.2}, {"pitch": 0.2}, {"roll": 0.2}, {"shift_near": 0.1}):
        assert np.abs(draw(person, coefficients(1, **kw))[0].astype(int) - still).mean() > 2
    eight = draw(person, coefficients(1, crop_right=8 / 64))[0]
    assert np.abs(eight[:, 8:].astype(int) - still[:, :-8]).max() <= 1


@pytest.mark.parametrize("seed", [1, 5, 8])
def test_mouth_opening_is_the_ground_truth_of_what_is_drawn(seed):
    jaw = np.linspace(0.0, 1.0, 8)
    person = sample_identity(seed, age="young")
    motion = coefficients(len(jaw), jaw_open=jaw)
    truth = measure.mouth_opening(person, motion)
    assert truth[0] == 0 and np.all(np.diff(truth) > 0)
    # By hand: 0.175 half widths of opening at a whole action, on a head of that size, 64 pixels to a half width.
    np.testing.assert_allclose(truth[-1], 0.175 * person.size * 64, rtol=1e-5)
    seen = measure.measure_opening(draw(person, motion), person)
    assert np.corrcoef(seen, truth)[0, 1] > 0.95


def test_every_emotion_looks_different():
    person = sample_identity(21, age="young")
    motion = np.concatenate([coefficients(1)] * 8)
    names = ("happy", "surprised", "angry", "fear", "sad", "disgusted", "contempt", "neutral")
    motion[:, :EXPRESSION] = [template(name) for name in names]
    frames = draw(person, motion).astype(int)
    for i in range(8):
        for j in range(i):
            assert np.abs(frames[i] - frames[j])[40:100, 30:98].mean() > 2.0, (names[i], names[j])
    with pytest.raises(UserError, match="bored"):
        template("bored")


def test_a_performance_is_repeatable_and_alive():
    one, two = perform("sad", 200, seed=5), perform("sad", 200, seed=5)
    np.testing.assert_array_equal(one, two)
    assert one.shape == (200, 73)
    blink = one[:, ACTIONS["blink_left"]]
    assert blink.max() > 2.9 and np.median(blink) < 1.2
    assert np.abs(np.diff(one[:, EXPRESSION : EXPRESSION + 3], axis=0)).max() < 0.05  # radians a frame


def test_rows_are_independent_of_how_many_are_drawn():
    people = [sample_identity(s) for s in range(30)]
    motion = np.concatenate([perform("happy", 30, seed=0)])
    together = draw_many(people, motion)
    np.testing.assert_array_equal(together[26], draw(people[26], motion[26:27])[0])


def test_bad_motion_is_refused():
    person = sample_identity(0)
    with pytest.raises(UserError, match="73"):
        draw(person, np.zeros((3, 64), np.float32))
    with pytest.raises(UserError, match="NaN"):
        draw(person, np.full((1, 73), np.nan, np.float32))
