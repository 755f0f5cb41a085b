"""`python -m empatheia_jax.dreamtalk`: a film, or one line that says what is wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.io
import soundfile
from dreamtalk_sizes import DENOISER, WHOLE, build
from PIL import Image

from empatheia_jax import weights
from empatheia_jax.dreamtalk.__main__ import _as_read, main
from empatheia_jax.dreamtalk.model import KIND
from empatheia_jax.media.video import video_info


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with weights of a tiny DreamTalk and good and bad inputs."""
    folder = tmp_path_factory.mktemp("inputs")
    weights.save(folder / "weights", build(WHOLE), WHOLE, KIND, {})
    rng = np.random.default_rng(0)
    stereo = 0.1 * rng.normal(size=(22_050, 2))
    soundfile.write(folder / "stereo.wav", stereo, 44_100, subtype="PCM_16")
    soundfile.write(folder / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(8000), 16_000)
    soundfile.write(folder / "nan.wav", np.full(8000, np.nan), 16_000, subtype="FLOAT")
    face = rng.integers(0, 255, (48, 48, 4)).astype(np.uint8)
    Image.fromarray(face, "RGBA").save(folder / "face.png")
    Image.fromarray(np.zeros((100, 80, 3), np.uint8)).save(folder / "black.png")
    np.save(folder / "style.npy", rng.normal(size=(300, DENOISER.face3d_dim)))
    (folder / "broken.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    scipy.io.savemat(folder / "empty.mat", {"coeff": np.zeros((0, 257)), "transform_params": np.zeros((0, 5))})
    return folder


def run(folder, output, *options, speech="stereo.wav", portrait="face.png"):
    named = [f"--{name}={folder / value}" for name, value in (("portrait", portrait), ("weights", "weights"))]
    return main([str(folder / speech), *named, "--no-crop", f"--output={output}", *map(str, options)])


def test_stereo_speech_and_a_transparent_portrait_become_a_film(inputs, tmp_path, capsys):
    code = run(inputs, tmp_path / "x.mp4", f"--motion={tmp_path / 'x.npy'}", "--steps=4")
    assert code == 0 and "12 frames" in capsys.readouterr().out
    info = video_info(tmp_path / "x.mp4")
    assert info.frames == 12 and info.has_audio
    assert np.load(tmp_path / "x.npy").shape == (12, 19)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (dict(speech="absent.wav"), "does not exist"),
        (dict(speech="empty.wav"), "empty|shorter|no samples"),
        (dict(speech="nan.wav"), "NaN"),
        (dict(portrait="broken.mat"), "picture"),
        (dict(portrait="black.png"), "square"),
        (dict(style="broken.mat"), "MATLAB"),
        (dict(style="empty.mat"), "no frames"),
        (dict(pose="empty.mat"), "no frames"),
        (dict(output="x.avi"), r"\.mp4"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_and_leaves_nothing(inputs, tmp_path, capsys, options, reason):
    extra = [f"--{name}={inputs / options.pop(name)}" for name in ("style", "pose") if name in options]
    output = tmp_path / options.pop("output", "x.mp4")
    assert run(inputs, output, *extra, **options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(reason, error)
    assert not list(tmp_path.iterdir())


def test_without_released_weights_the_shipped_face_speaks_and_says_so(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(weights.ROOT_VARIABLE, str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "x.mp4"
    assert main([str(inputs / "silent.wav"), f"--output={output}", "--steps=2"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("note: no weights folder 'dreamtalk'") and printed.err.count("\n") == 1
    info = video_info(output)
    assert info.frames == 12 and (info.height, info.width) == (128, 128)


def test_a_rectangle_in_a_huge_file_is_meant_in_the_picture_that_is_read():
    assert _as_read((100, 200, 300, 400), (16_384, 8192), (4096, 2048, 3)) == (25, 50, 75, 100)
    assert _as_read((1, 2, 3, 4), (60, 50), (60, 50, 3)) == (1, 2, 3, 4)
