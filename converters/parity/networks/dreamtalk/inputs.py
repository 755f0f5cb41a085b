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
from converters.parity.result import Result, left_out
from converters.parity.vectors import Arrays
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
    sums = windows.audio_windows(wide, count, radius=radius, start=int(given["start_idx"])).sum(axis=-1)
    yield v.exact("audio_window", "windows_rowsum", sums, given["windows_rowsum"], 1e-4)
    sums = windows.audio_windows(wide, tail, radius=radius, start=start).sum(axis=-1)
    yield v.exact("audio_window", "tail_rowsum", sums, given["tail_rowsum"], 1e-4)


def preprocessing(v: Vectors) -> Iterator[Result]:
    """Boxes, windows of coefficients, lengths, pictures as numbers and back."""
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
    wave, head = v.load("wav2vec2_full")["wav_int16"].astype(np.float32) / 32768, want["wav_norm_head"]
    yield v.exact(file, "wav_norm_head", features.standardise(wave)[: len(head)], head, EXACT)


def clips(v: Vectors) -> Iterator[Result]:
    """What is read from the style clip, the pose clip and the motion of the reference's own run."""
    file, want = "preprocess", v.load("preprocess")
    length = len(want["style_clip"])
    tracks = [motion.read_mat(path) for path in v.media_files("*.mat")]
    named = v.media_files(f"{want['mat_name']}.mat")
    if not named:
        yield left_out(f"{file}.npz", "clips", f"the media folder has no {want['mat_name']}.mat")
        return
    track, transform = motion.read_mat(named[0])
    expression = motion.expression_of(track)
    clip, padding, _ = motion.style_clip(expression, length)
    found = {
        "mat_exp_rows": expression[[0, 1, -1]],
        "mat_exp_colsum": expression.astype(np.float64).sum(axis=0),
        "mat_len": len(expression),
        "clip_pose_rows": motion.pose_of(track, transform)[[0, -1]],
        "transform_params_rows": transform[[0, -1]],
        "style_clip": clip,
        "style_mask": padding,
    }
    long = next((t for t in tracks if _has_pose(motion.pose_of(*t), want)), None)
    if long is None:
        yield left_out(
            f"{file}.npz", "pose clip", f"no clip of {want['pose_len']} frames in the media folder has its pose"
        )
    else:
        pose = motion.pose_of(*long)
        middle, _, begin = motion.style_clip(motion.expression_of(long[0]), length, "middle")
        found |= {"pose_rows": pose[want["pose_rows_idx"]], "pose_len": len(pose)}
        found |= {"middle_start_idx": begin, "middle_first_row": middle[0]}
        motions = [np.load(path) for path in v.media_files("*motion*.npy")]
        made = next((m for m in motions if len(m) == int(want["real_facemotion_len"])), None)
        if made is not None:
            width = want["real_exp_mean"].shape[0]
            found |= {
                "real_facemotion_len": len(made),
                "real_pose_equals_mat": (motion.hold_pose(pose, len(made)) == made[:, width:]).all(),
                "real_exp_mean": made[:, :width].mean(axis=0),
                "real_exp_std": made[:, :width].std(axis=0),
            }
    for name, ours in found.items():
        yield v.exact(file, name, ours, want[name], EXACT)


def _has_pose(pose: np.ndarray, want: Arrays) -> bool:
    rows = want["pose_rows_idx"]
    return len(pose) == int(want["pose_len"]) and np.allclose(pose[rows], want["pose_rows"], atol=1e-3)


def portraits(v: Vectors) -> Iterator[Result]:
    want = v.load("portrait_crop")
    sizes = tuple(int(n) for n in want["image_hw"])
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in v.media_files("*.png", "*.jpg")]
    fitting = [picture for picture in pictures if picture.shape[:2] == sizes]
    if not fitting:
        yield left_out("portrait_crop.npz", "crop", f"the media folder has no picture of {sizes[1]} x {sizes[0]}")
        return
    picture = min(fitting, key=lambda each: _crop_difference(each, want))
    yield v.exact("portrait_crop", "image_hw", picture.shape[:2], want["image_hw"])
    box = portrait.box_around(tuple(want["face_rect_ltrb"]), *picture.shape[:2])
    yield v.exact("portrait_crop", "bbox_ltrb", box, want["bbox_ltrb"])
    yield v.exact("portrait_crop", "crop_rgb_every4", _crop(picture, want), want["crop_rgb_every4"])


def _crop(picture: np.ndarray, want: Arrays) -> np.ndarray:
    """Every fourth pixel of the square portrait."""
    box = portrait.box_around(tuple(want["face_rect_ltrb"]), *picture.shape[:2])
    size = 4 * len(want["crop_rgb_every4"])
    return portrait.resize_bilinear(portrait.cut(picture, box, squash=True), size, size)[::4, ::4]


def _crop_difference(picture: np.ndarray, want: Arrays) -> float:
    return float(np.abs(_crop(picture, want).astype(float) - want["crop_rgb_every4"]).max())
