"""What goes into the networks: audio windows, coefficients of a face, portraits."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from PIL import Image

from converters.parity.networks.dreamtalk.vectors import (
    EXACT,
    Vectors,
)
from converters.parity.result import Result
from empatheia_jax.dreamtalk import features, motion, portrait, windows
from empatheia_jax.dreamtalk.renderer import normalise_image, to_uint8


def inputs(v: Vectors) -> Iterator[Result]:
    given = v.load("audio_window")
    count, radius, feat = int(given["num_frames"]), int(given["win_size"]), given["feat"]
    start, tail = int(given["tail_start_idx"]), int(given["tail_num_frames"])
    index = windows.audio_window_index(int(given["start_idx"]), count, len(feat), radius)
    yield v.exact("audio_window", "window_index", index, given["window_index"])
    index = windows.audio_window_index(start, tail, len(feat), radius)
    yield v.exact("audio_window", "tail_window_index", index, given["tail_window_index"])
    wide = feat.astype(np.float64)
    sums = windows.audio_windows(wide, count, radius=radius).sum(axis=-1)
    yield v.exact("audio_window", "windows_rowsum", sums, given["windows_rowsum"], 1e-4)
    sums = windows.audio_windows(wide, tail, radius=radius, start=start).sum(axis=-1)
    yield v.exact("audio_window", "tail_rowsum", sums, given["tail_rowsum"], 1e-4)

    file, want = "preprocess", v.load("preprocess")
    boxes = [portrait.widen(tuple(b[:4]), float(want["bbox_increase"]), int(b[4]), int(b[5])) for b in want["bbox_in"]]
    yield v.exact(file, "bbox_out", boxes, want["bbox_out"])
    index = [windows.motion_window_index(n, radius, i, i + 1)[0] for i, n, radius in want["seq_cases"]]
    yield v.exact(file, "seq_index", index, want["seq_index"])
    rows = [features.rows_of(int(n)) for n in want["len_samples"]]
    yield v.exact(file, "len_wav2vec", rows, want["len_wav2vec"])
    yield v.exact(file, "len_video", [windows.video_frames(n) for n in rows], want["len_video"])
    yield v.exact(file, "out_uint8", to_uint8(jnp.asarray(want["out_ramp"])), want["out_uint8"])
    unit = normalise_image(jnp.asarray(want["img_uint8_crop"])).transpose(2, 0, 1)
    yield v.exact(file, "img_norm_crop", unit, want["img_norm_crop"], EXACT)
    wave = v.load("wav2vec2_full")["wav_int16"].astype(np.float32) / 32768
    yield v.exact(file, "wav_norm_head", features.standardise(wave)[:64], want["wav_norm_head"], EXACT)
    if v.media is None:
        return
    track, transform = motion.read_mat(v.media / "style_clips" / f"{want['mat_name']}.mat")
    expression = motion.expression_of(track)
    clip, padding, _ = motion.style_clip(expression, 256)
    long_track, long_transform = motion.read_mat(v.media / "pose" / "RichardShelby_front_neutral_level1_001.mat")
    pose = motion.pose_of(long_track, long_transform)
    middle, _, begin = motion.style_clip(motion.expression_of(long_track), 256, "middle")
    made = np.load(v.media / "reference_run" / "acknowledgement_english_facemotion.npy")
    for name, ours in {
        "mat_exp_rows": expression[[0, 1, -1]],
        "mat_exp_colsum": expression.astype(np.float64).sum(axis=0),
        "mat_len": len(expression),
        "pose_rows": pose[want["pose_rows_idx"]],
        "pose_len": len(pose),
        "clip_pose_rows": motion.pose_of(track, transform)[[0, -1]],
        "transform_params_rows": transform[[0, -1]],
        "style_clip": clip,
        "style_mask": padding,
        "middle_start_idx": begin,
        "middle_first_row": middle[0],
        "real_facemotion_len": len(made),
        "real_pose_equals_mat": (motion.hold_pose(pose, len(made)) == made[:, 64:]).all(),
        "real_exp_mean": made[:, :64].mean(axis=0),
        "real_exp_std": made[:, :64].std(axis=0),
    }.items():
        yield v.exact(file, name, ours, want[name], EXACT)


def portraits(v: Vectors) -> Iterator[Result]:
    if v.media is None:
        return
    want = v.load("portrait_crop")
    picture = np.asarray(Image.open(v.media / "portraits" / "uncropped" / "male_face.png"))[..., :3]
    yield v.exact("portrait_crop", "image_hw", picture.shape[:2], want["image_hw"])
    box = portrait.box_around(tuple(want["face_rect_ltrb"]), *picture.shape[:2])
    yield v.exact("portrait_crop", "bbox_ltrb", box, want["bbox_ltrb"])
    whole = portrait.resize_bilinear(portrait.cut(picture, box, squash=True), 256, 256)
    yield v.exact("portrait_crop", "crop_rgb_every4", whole[::4, ::4], want["crop_rgb_every4"])
