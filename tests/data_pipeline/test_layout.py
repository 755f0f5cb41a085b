"""Recordings are found under every name in use, and what is no recording is named when it is asked for."""

from __future__ import annotations

import os

import numpy as np
import pytest
import scipy.io

from data_pipeline.layout import Tree
from empatheia_jax.conversation import schema
from empatheia_jax.errors import UserError
from tests.data_pipeline.trees import small_tree


def first_clip(root):
    tree = Tree(root)
    return tree.clips(schema.read(tree.split_file("train"))[0])[0]


def test_endings_in_capitals_are_found(tmp_path):
    root = small_tree(tmp_path / "set", 1)
    small = first_clip(root)
    for path in (small.audio, small.video):
        path.rename(path.with_suffix(path.suffix.upper()))
    clip = first_clip(root)
    assert (clip.audio.name[-4:], clip.video.name[-4:]) == (".WAV", ".MP4")
    assert len(clip.samples()) == 4000 and clip.frames().shape == (6, 16, 16, 3)


def test_of_two_files_with_the_same_numbers_one_is_used_and_the_other_is_named(tmp_path):
    root = small_tree(tmp_path / "set", 1)
    clip = first_clip(root)
    twin = clip.audio.with_suffix(".WAV")
    twin.write_bytes(clip.audio.read_bytes())
    tree = Tree(root)
    assert [{used, again} for again, used in tree.claimed_twice] == [{clip.audio, twin}]


@pytest.mark.parametrize("ending", [".npy", ".npz", ".txt", ".mat", ".MAT"])
def test_face_coefficients_are_a_table_or_a_track_of_a_fitter(tmp_path, ending):
    root = small_tree(tmp_path / "set", 1)
    track = np.random.default_rng(0).standard_normal((7, 257)).astype(np.float32)
    path = root / "motion_v5_0" / f"{first_clip(root).audio.stem}{ending}"
    path.parent.mkdir()
    if ending.lower() == ".mat":
        content = {"coeff": track, "transform_params": np.zeros((7, 5), np.float32)}
        scipy.io.savemat(path, content, appendmat=False)
    elif ending == ".txt":
        np.savetxt(path, track[:, 80:144])
    else:
        (np.save if ending == ".npy" else np.savez)(path, track[:, 80:144])
    np.testing.assert_array_equal(first_clip(root).coefficients(), track[:, 80:144])


def test_a_pipe_under_the_name_of_a_track_is_not_waited_for(tmp_path):
    root = small_tree(tmp_path / "set", 1)
    (root / "motion_v5_0").mkdir()
    os.mkfifo(root / "motion_v5_0" / f"{first_clip(root).audio.stem}.npy")
    with pytest.raises(UserError, match="FIFO"):
        first_clip(root).coefficients()
