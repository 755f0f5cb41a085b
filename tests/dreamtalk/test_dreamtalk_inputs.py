"""What enters DreamTalk: speech features, motion files, portraits; and what is refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.io
import soundfile
from PIL import Image

from empatheia_jax.dreamtalk import features, motion, portrait, windows
from empatheia_jax.errors import UserError


def test_sound_and_picture_differ_by_at_most_one_frame_from_a_fifth_of_a_second_to_ten_minutes():
    lengths = [*range(3200, 12_000), *range(9_590_000, 9_600_001, 13)]
    off = [abs(features.frames_of(n) * 640 - n) / 640 for n in lengths]
    assert max(off) <= 1.0


def test_log_mel_rows_are_counted_like_wav2vec_and_ignore_loudness():
    wave = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    rows = features.log_mel(wave, 40)
    assert rows.shape == (features.rows_of(16_000), 40) == (49, 40)
    np.testing.assert_allclose(features.log_mel(0.1 * wave + 0.2, 40), rows, atol=1e-3)
    low = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000).astype(np.float32)
    assert features.log_mel(low, 40)[10].argmax() < 10
    assert np.isfinite(features.log_mel(np.zeros(8000, np.float32), 40)).all()


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (np.zeros(0, np.float32), "shorter"),
        (np.zeros(500, np.float32), "shorter"),
        (np.full(16_000, np.nan, np.float32), "NaN"),
        (np.zeros((16_000, 2), np.float32), "mono"),
        (np.zeros(16_000, np.int16), "floating"),
    ],
)
def test_unusable_speech_is_refused_in_one_line(wave, reason):
    with pytest.raises(UserError, match=reason) as error:
        features.check_wave(wave)
    assert "\n" not in str(error.value)


def test_a_style_clip_is_padded_or_cut_and_never_empty():
    clip = np.arange(30, dtype=np.float32).reshape(10, 3)
    padded, padding, _ = motion.style_clip(clip, 16)
    assert padding.sum() == 6 and not padding[:10].any() and (padded[10:] == 0).all()
    cut, padding, begin = motion.style_clip(clip, 4, "middle")
    assert begin == 3 and not padding.any()
    np.testing.assert_array_equal(cut, clip[3:7])
    with pytest.raises(UserError, match="no frames"):
        motion.style_clip(clip[:0], 16)
    with pytest.raises(UserError, match="NaN"):
        motion.style_clip(np.full_like(clip, np.nan), 16)


def test_the_last_pose_is_held_where_speech_outlasts_the_pose_clip():
    pose = np.arange(18, dtype=np.float32).reshape(2, 9)
    got = motion.with_pose(np.zeros((4, 64), np.float32), pose)
    np.testing.assert_array_equal(got[:, 64:], pose[[0, 1, 1, 1]])


@pytest.mark.parametrize("damage", ["absent", "text", "cut", "no coeff", "narrow", "nan", "uneven"])
def test_a_broken_track_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "clip.mat"
    arrays = {"coeff": np.zeros((5, 257), np.float32), "transform_params": np.zeros((5, 5), np.float32)}
    if damage == "no coeff":
        del arrays["coeff"]
    if damage == "narrow":
        arrays["coeff"] = arrays["coeff"][:, :80]
    if damage == "nan":
        arrays["coeff"][2, 90] = np.nan
    if damage == "uneven":
        arrays["coeff"] = arrays["coeff"][:4]
    if damage != "absent":
        scipy.io.savemat(path, arrays)
    if damage == "text":
        path.write_text("no track")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UserError) as error:
        motion.read_mat(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(5, 64), (5, 73), (5, 257)])
def test_expression_is_read_from_arrays_too(tmp_path, shape):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    begin = 80 if shape[1] == 257 else 0
    np.testing.assert_array_equal(motion.read_expression(tmp_path / "a.npy"), array[:, begin : begin + 64])


def test_arrays_of_objects_are_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.asarray([{"a": 1}]), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"):
        motion.read_array(tmp_path / "a.npy")


def face_like(side: int, background=(40, 90, 160)) -> np.ndarray:
    """An oval of the colour of skin with dark eyes and mouth on a plain ground."""
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    picture = np.broadcast_to(np.asarray(background, np.uint8), (side, side, 3)).copy()
    picture[(x / 0.24) ** 2 + (y / 0.33) ** 2 < 1] = (224, 172, 140)
    for cx, cy, rx, ry in ((-0.1, -0.08, 0.04, 0.02), (0.1, -0.08, 0.04, 0.02), (0.0, 0.17, 0.09, 0.03)):
        picture[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = (60, 30, 30)
    return picture


@pytest.mark.parametrize("side", [64, 500, 2000])
def test_a_face_is_found_at_any_size_and_cut_out_square(side):
    picture = face_like(side)
    left, top, right, bottom = portrait.find_face(picture)
    assert 0.2 < left / side < 0.35 and 0.65 < right / side < 0.8
    assert 0.1 < top / side < 0.45 and 0.6 < bottom / side < 0.95
    wide = np.concatenate([picture, picture[:, :1].repeat(side // 2, axis=1)], axis=1)
    assert portrait.prepare(wide, 64).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((200, 150, 3), np.uint8),
        np.full((200, 150, 3), (224, 172, 140), np.uint8),
        np.random.default_rng(0).integers(0, 256, (200, 150, 3)).astype(np.uint8),
    ],
    ids=["black", "wall", "noise"],
)
def test_a_portrait_without_a_face_is_refused_with_what_to_do(picture):
    with pytest.raises(UserError, match="--face="):
        portrait.prepare(picture, 64)
    assert portrait.prepare(picture, 64, face=(40, 50, 110, 120)).shape == (64, 64, 3)
    with pytest.raises(UserError, match="square"):
        portrait.prepare(picture, 64, crop=False)
    with pytest.raises(UserError, match="does not lie"):
        portrait.prepare(picture, 64, face=(40, 50, 400, 120))


def test_tiny_portraits_are_refused_and_huge_ones_averaged():
    with pytest.raises(UserError, match="at least"):
        portrait.prepare(np.zeros((40, 40, 3), np.uint8), 64)
    stripes = np.zeros((4096, 4096, 3), np.uint8)
    stripes[:, ::2] = 200
    assert portrait.prepare(stripes, 256, crop=False).std() < 1.0  # 100 everywhere, not a moiré


def test_a_square_that_leaves_the_picture_is_not_squashed():
    picture = np.arange(100, dtype=np.uint8)[:, None, None].repeat(80, 1).repeat(3, 2)
    box = (-10, 20, 90, 120)
    assert portrait.cut(picture, box).shape == (100, 100, 3)
    assert portrait.cut(picture, box, squash=True).shape == (80, 80, 3)
    np.testing.assert_array_equal(portrait.cut(picture, box)[-1, :, 0], 99)


def test_inputs_agree_with_the_reference(shared):
    """`preprocess.npz` and `portrait_crop.npz` of the reference vectors, exactly."""
    folder, media = shared / "parity" / "dreamtalk", shared / "media"
    want = np.load(folder / "preprocess.npz")
    for given, expected in zip(want["bbox_in"], want["bbox_out"], strict=True):
        found = portrait.widen(tuple(given[:4]), float(want["bbox_increase"]), int(given[4]), int(given[5]))
        np.testing.assert_array_equal(found, expected)
    for (frame, frames, radius), expected in zip(want["seq_cases"], want["seq_index"], strict=True):
        np.testing.assert_array_equal(windows.motion_window_index(frames, radius, frame, frame + 1)[0], expected)
    assert [features.rows_of(int(n)) for n in want["len_samples"]] == want["len_wav2vec"].tolist()
    crop = np.load(folder / "portrait_crop.npz")
    picture = np.asarray(Image.open(media / "portraits" / "uncropped" / "male_face.png"))[..., :3]
    box = portrait.box_around(tuple(crop["face_rect_ltrb"]), *picture.shape[:2])
    np.testing.assert_array_equal(box, crop["bbox_ltrb"])
    whole = portrait.resize_bilinear(portrait.cut(picture, box, squash=True), 256, 256)
    np.testing.assert_array_equal(whole[::4, ::4], crop["crop_rgb_every4"])
    published = np.asarray(Image.open(media / "reference_run" / "acknowledgement_english_src_img.png").convert("RGB"))
    np.testing.assert_array_equal(whole, published)


def test_the_published_run_has_our_number_of_frames_and_our_pose_columns(shared):
    run = shared / "media" / "reference_run"
    made = np.load(run / "acknowledgement_english_facemotion.npy")
    rows = np.load(run / "acknowledgement_english_wav2vec.npy", mmap_mode="r")
    samples = soundfile.info(run / "acknowledgement_english_16k.wav").frames
    assert features.rows_of(samples) == len(rows) == 828
    assert features.frames_of(samples) == windows.video_frames(len(rows)) == len(made) == 414
    assert windows.audio_windows(np.asarray(rows), radius=5).shape == (414, 11, 1024)
    pose = motion.read_pose(shared / "media" / "pose" / "RichardShelby_front_neutral_level1_001.mat")
    np.testing.assert_array_equal(motion.hold_pose(pose, 414), made[:, 64:])
    assert json.loads((shared / "parity" / "dreamtalk" / "config.json").read_text())["renderer"]["fps"] == 25


def test_real_portraits_have_their_faces_found(shared):
    media = shared / "media" / "portraits"
    for path in sorted(media.glob("*/*")):
        picture = np.asarray(Image.open(path).convert("RGB"))
        assert portrait.find_face(picture) is not None, path.name
        assert portrait.prepare(picture, 256).shape == (256, 256, 3)
    found = portrait.find_face(np.asarray(Image.open(media / "uncropped" / "male_face.png").convert("RGB")))
    want = np.load(shared / "parity" / "dreamtalk" / "portrait_crop.npz")["face_rect_ltrb"]
    assert np.abs(np.asarray(found) - want).max() < 0.1 * (want[2] - want[0])
