"""Tracks are fitted to films: drawn faces, whose coefficients are known, through real files and the real network."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from data_pipeline import check, fit_motion
from data_pipeline.layout import Tree
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.recordings import media_name
from empatheia_jax.dreamtalk import motion
from empatheia_jax.dreamtalk.drawn_face import drawing, layout
from empatheia_jax.dreamtalk.drawn_face.identity import sample_identity
from empatheia_jax.media import face_landmarks
from empatheia_jax.media.video_writer import VideoWriter
from tests.data_pipeline.trees import small_tree

pytestmark = pytest.mark.skipif(not face_landmarks.is_installed(), reason="needs the extra faces")
FRAMES, SIZE = 20, 96


def coefficients(seed: int) -> np.ndarray:
    """A mouth that opens and smiles, and a head that turns and rolls."""
    random, time = np.random.default_rng(seed), np.linspace(0, 2 * np.pi, FRAMES)
    wave = [0.5 + 0.5 * np.sin(time * random.integers(1, 4) + random.uniform(0, 6)) for _ in range(4)]
    return layout.coefficients(
        FRAMES, jaw_open=wave[0], smile=wave[1], roll=0.2 * (wave[2] - 0.5), shift_right=0.1 * (wave[3] - 0.5)
    )


def draw(path, person: int, seed: int) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    motion_of = coefficients(seed)
    with VideoWriter(path, 25, (SIZE, SIZE)) as film:
        film.write(np.asarray(drawing.draw(sample_identity(person), motion_of, SIZE)))
    return motion_of


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A map from films of two drawn people, and what the command said."""
    root = tmp_path_factory.mktemp("clips")
    for person in (0, 1):
        name = root / f"p{person}-calm" / "0.mp4"
        np.save(name.with_suffix(".npy"), draw(name, person, person))
    output = root / "map.safetensors"
    assert fit_motion.main(["learn", str(root), f"--output={output}"]) == 0
    return output


def tree_of(root):
    """A data set whose replies are films of a drawn person; returns the truth by the stem of the film."""
    small_tree(root, train=1)
    truth: dict[str, np.ndarray] = {}
    for conversation in schema.read(root / "train.json"):
        for said in conversation.utterances():
            if said.role == "listener":
                avatar = conversation.profile(said.role).media_id
                path = root / "video_v5_0" / media_name(conversation.conversation_id, said.index, avatar, "video")
                truth[path.stem] = draw(path, 0, 100 + said.index)
    for split in ("valid", "test"):
        (root / f"{split}.json").unlink()
    return truth


def test_every_reply_gets_a_track_that_training_reads(learned, tmp_path, capsys):
    truth = tree_of(tmp_path / "set")
    assert check.main([str(tmp_path / "set"), "--stages=style", "--limit=1"]) == 0
    assert "has no face coefficients" in capsys.readouterr().out
    command = ["fit", str(tmp_path / "set"), f"--fitter={learned}", "--workers=1"]
    assert fit_motion.main([*command, "--part=0/2"]) == 0 and not Tree(tmp_path / "set").files("motion")
    assert fit_motion.main(command) == 0
    assert f"{len(truth)} tracks were written" in capsys.readouterr().out
    assert not (tmp_path / "set" / fit_motion.UNFINISHED).exists()
    for stem, wanted in truth.items():
        track = tmp_path / "set" / "motion_v5_0" / f"{stem}.mat"
        found, pose = motion.read_expression(track), motion.read_pose(track)
        assert np.corrcoef(found[:, 0], wanted[:, 0])[0, 1] > 0.85, "the jaw"
        assert np.corrcoef(pose[:, 2], wanted[:, 66])[0, 1] > 0.85, "the roll"
        assert np.abs(found - wanted[:, :64]).mean() < np.abs(wanted[:, :64]).mean()
    assert check.main([str(tmp_path / "set"), "--stages=style", "--headers-only", "--limit=1"]) == 0
    assert "face coefficients" not in capsys.readouterr().out
    assert fit_motion.main(command) == 0 and "0 tracks were written" in capsys.readouterr().out


def test_a_film_without_a_face_is_said_and_counted(learned, tmp_path, capsys):
    shutil.copy(learned.parent / "p0-calm" / "0.mp4", tmp_path / "anna_1.mp4")
    with VideoWriter(tmp_path / "anna_2.mp4", 25, (64, 64)) as film:
        film.write(np.full((8, 64, 64, 3), 120, np.uint8))
    command = ["fit", str(tmp_path), f"--fitter={learned}", "--workers=1"]
    assert fit_motion.main(command) == 1
    said = capsys.readouterr().out
    assert "no face is seen in 8 of 8 frames" in said and "1 tracks were written" in said
    assert (tmp_path / "anna_1.mat").exists() and not (tmp_path / "anna_2.mat").exists()
    assert fit_motion.main([*command, "--limit=1"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "{}/nowhere", "--fitter={map}"], "is no folder"),
        (["fit", "{}", "--fitter={map}"], "holds no films"),
        (["fit", "{}", "--fitter={map}", "--part=4/4"], "--part=4/4"),
        (["fit", "{}", "--fitter={map}", "--workers=0"], "expected at least 1"),
        (["fit", "{}", "--fitter={}/none.safetensors"], "none.safetensors"),
        (["learn", "{}", "--output={}/map.npz"], "ends in .safetensors"),
        (["learn", "{}", "--output={}/map.safetensors"], "holds no clips"),
        (["learn", "{}", "--output={}/map.safetensors", "--person=("], "no regular expression"),
    ],
)
def test_a_wrong_command_ends_in_one_line(arguments, words, learned, tmp_path, capsys):
    filled = [each.replace("{map}", str(learned)).replace("{}", str(tmp_path)) for each in arguments]
    assert fit_motion.main(filled) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_tracks_of_another_map_are_left_alone(learned, tmp_path, capsys):
    shutil.copy(learned.parent / "p0-calm" / "0.mp4", tmp_path / "anna_1.mp4")
    (tmp_path / fit_motion.NOTE).write_text('{"fitter": "another", "persons": {}}')
    assert fit_motion.main(["fit", str(tmp_path), f"--fitter={learned}"]) == 2
    assert "another map made" in capsys.readouterr().err
