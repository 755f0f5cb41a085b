"""A user's clips → both trainings through `launch.py` → one weights folder → a film."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
from dreamtalk_sizes import DENOISER, RENDERER
from ml_collections import ConfigDict

import launch
from configs import debug, dreamtalk_denoiser, dreamtalk_renderer
from data_pipeline import clip_requirements, talking_heads
from empatheia_jax import weights
from empatheia_jax.dreamtalk import join
from empatheia_jax.dreamtalk.animator import Animator
from empatheia_jax.dreamtalk.settings import TRAININGS, DenoiserTraining, RendererTraining
from empatheia_jax.dreamtalk.speech import LOG_MEL, SpeechFeatures
from empatheia_jax.errors import UserError
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.runs.checkpoint import load_trainable
from empatheia_jax.settings import read
from empatheia_jax.training import talking_head

# One layer where the networks' own tests have several: what is trained here is compiled, too.
DENOISER = dataclasses.replace(DENOISER, decoder_layers=1)
RENDERER = dataclasses.replace(
    RENDERER, coefficient_dim=DENOISER.face3d_dim + 9, warp_encoder_layers=2, warp_decoder_layers=1, edit_layers=1
)
NETWORKS = {"denoiser": DENOISER, "renderer": RENDERER}


def config_for(trains: str, data: Path, **changes) -> ConfigDict:
    """The shipped config at test size; everything else is as a user gets it."""
    config = {"denoiser": dreamtalk_denoiser, "renderer": dreamtalk_renderer}[trains].get_config()
    config.network = ConfigDict(dataclasses.asdict(NETWORKS[trains]))
    config.data, config.batch, config.steps, config.ema = str(data), 4, 4, 0.5
    config.log_every = config.save_every = config.eval_every = 2
    config.valid_every, config.valid_batches, config.learning_rate = 3, 1, 1e-2
    config.mesh.data = 1
    config.compiler_options = debug.get_config().compiler_options
    if trains == "denoiser":
        config.speech, config.frames, config.warmup = LOG_MEL, 8, 1
    else:
        config.features, config.warp_steps, config.objective.scales = talking_head.EDGES, 2, 1
    config.update(changes)
    return config


def settings(trains: str, data: Path, **changes) -> DenoiserTraining | RendererTraining:
    return read(TRAININGS[trains], config_for(trains, data, **changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two people, each in one manner: films with sound, and motion of 10 + 9 columns."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for place, (name, frames) in enumerate({"anna-happy/01": 20, "anna-happy/02": 12, "ben/take": 5}.items()):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        motion = rng.normal(size=(frames, 19)).astype(np.float32)
        wave = (0.1 * rng.normal(size=frames * 640 + 80)).astype(np.float32)
        if place == 0:
            np.savez(path.with_suffix(".npz"), motion=motion)
        else:
            np.save(path.with_suffix(".npy"), motion)
        soundfile.write(path.with_suffix(".wav"), wave, 16_000)
        with VideoWriter(path.with_suffix(".mp4"), fps=25, size=(32, 32), audio=wave, audio_rate=16_000) as film:
            film.write(rng.integers(0, 256, (frames, 32, 32, 3)).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def denoiser_run(data, tmp_path_factory):
    """The whole command, on a config file of the user's own."""
    folder = tmp_path_factory.mktemp("runs")
    values = config_for("denoiser", data)
    (folder / "mine.py").write_text(
        "import json\nfrom ml_collections import ConfigDict\n"
        f"def get_config():\n    return ConfigDict(json.loads({values.to_json()!r}))\n"
    )
    command = ["launch.py", f"--config={folder / 'mine.py'}", f"--workdir={folder / 'run'}"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert launch.main(command) == 0
    return folder / "run", printed.getvalue(), command


def test_one_command_trains_the_denoiser_and_leaves_weights_metrics_and_a_report(denoiser_run):
    folder, printed, _ = denoiser_run
    assert "denoiser" in printed and str(folder / "report.html") in printed and (folder / "report.html").is_file()
    lines = [json.loads(line) for line in (folder / "metrics" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 2 and np.isfinite(losses).all() and any("eval/x0" in line for line in lines)
    kind, config, params = weights.load(folder / "denoiser")
    assert kind == "dreamtalk-denoiser" and config == json.loads(json.dumps(dataclasses.asdict(DENOISER)))
    trained = load_trainable(folder / "checkpoints" / "denoiser")
    for path, value in trained.items():
        np.testing.assert_array_equal(params[path.removeprefix("network.")], value)


def test_the_command_says_in_one_line_what_it_cannot_use(denoiser_run, tmp_path, capsys):
    _, _, command = denoiser_run
    for extra, reason in (
        ("--mode=reply", "expected train or check"),
        (f"--config.data={tmp_path}/none", "is no folder"),
    ):
        assert launch.main([*command, extra]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and reason in said, said


@pytest.fixture(scope="module")
def renderer_run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("renderer")
    assert talking_head.run(settings("renderer", data), folder, talking_heads.open_folder) == 0
    return folder


def test_the_renderer_learns_to_warp_first_and_then_everything(renderer_run):
    first = load_trainable(renderer_run / "checkpoints" / "warping")
    assert first and all(path.split(".")[1] in ("mapping", "warping") for path in first)
    last = load_trainable(renderer_run / "checkpoints" / "renderer")
    assert any(path.startswith("network.editing.") for path in last)
    # The second phase went on from the first one's weights: one step of Adam moves no weight further than its rate.
    moved = max(float(np.abs(np.asarray(last[path]) - np.asarray(first[path])).max()) for path in first)
    assert 0 < moved <= 2 * 1.01e-2 * 1.5


def test_a_folder_that_belongs_to_another_run_is_left_alone(data, renderer_run):
    config = settings("renderer", data, seed=5)
    with pytest.raises(UserError, match="another run"):
        talking_head.run(config, renderer_run, talking_heads.open_folder)


def test_a_training_that_was_killed_ends_with_the_same_bits(data, renderer_run, tmp_path, monkeypatch):
    config, original = settings("renderer", data, save_every=1), talking_heads.Draws.__next__

    def next_or_killed(self):
        if self.step == 3:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(talking_heads.Draws, "__next__", next_or_killed)
    with pytest.raises(KeyboardInterrupt):
        talking_head.run(config, tmp_path, talking_heads.open_folder)
    monkeypatch.setattr(talking_heads.Draws, "__next__", original)
    assert talking_head.run(config, tmp_path, talking_heads.open_folder) == 0
    ours, theirs = weights.load(tmp_path / "renderer")[2], weights.load(renderer_run / "renderer")[2]
    assert ours.keys() == theirs.keys()
    for path, value in theirs.items():
        np.testing.assert_array_equal(ours[path], value)


def test_what_was_trained_apart_animates_a_face_together(denoiser_run, renderer_run, tmp_path, capsys):
    output = tmp_path / "whole"
    pose = tmp_path / "pose.npy"
    np.save(pose, np.zeros((1, 9), np.float32))
    arguments = [f"--denoiser={denoiser_run[0] / 'denoiser'}", f"--renderer={renderer_run / 'renderer'}"]
    assert join.main([*arguments, "--speech=log-mel", f"--pose={pose}", f"--output={output}"]) == 0
    animator = Animator.load(output, motion_piece=8, render_batch=4)
    wave = (0.1 * np.random.default_rng(0).normal(size=8000)).astype(np.float32)
    moves = animator.motion(wave)
    assert animator.film(tmp_path / "x.mp4", wave, np.zeros((32, 32, 3), np.uint8), moves) == 12
    capsys.readouterr()
    swapped = [f"--denoiser={renderer_run / 'renderer'}", f"--renderer={renderer_run / 'renderer'}"]
    assert join.main([*swapped, "--speech=log-mel", f"--output={tmp_path / 'no'}"]) == 2
    assert "expected 'dreamtalk-denoiser'" in capsys.readouterr().err


def test_the_same_batch_number_is_the_same_batch_and_styles_come_from_another_take(data, tmp_path):
    config = settings("denoiser", data, valid_every=0)

    def folder():
        return talking_heads.open_folder(config, tmp_path, DENOISER, talking_head.speech_features(config))

    first, again = folder(), folder()
    assert first.names == ("anna-happy/01", "anna-happy/02", "ben/take") and not list(first.validation())
    batches = [next(first.train) for _ in range(3)]
    again.train.set_state(2)
    jax.tree.map(np.testing.assert_array_equal, next(again.train), batches[2])
    batch = batches[0]
    assert batch.audio.shape == (4, 8, DENOISER.window_slots, DENOISER.audio_feature_dim)
    takes = {name: np.load(data / f"{name}.npy")[:, :10] for name in ("anna-happy/02", "ben/take")}
    takes["anna-happy/01"] = np.load(data / "anna-happy/01.npz")["motion"][:, :10]

    def whose(row: np.ndarray) -> str:
        return next(name for name, take in takes.items() if (take == row).all(axis=1).any())

    partner = {"anna-happy/01": "anna-happy/02", "anna-happy/02": "anna-happy/01", "ben/take": "ben/take"}
    for batch in batches:
        for motion, style, weight in zip(batch.motion, batch.style_clip, batch.frame_weight):
            assert whose(style[0]) == partner[whose(motion[0])]
            assert weight.sum() == (5 if whose(motion[0]) == "ben/take" else 8)


def test_features_are_kept_by_the_content_of_a_recording_not_by_its_name(tmp_path):
    root, calls = tmp_path / "clips", []
    root.mkdir()

    def record(name: str, seed: int) -> None:
        np.save(root / f"{name}.npy", np.zeros((8, 19), np.float32))
        wave = 0.1 * np.random.default_rng(seed).normal(size=8 * 640 + 80)
        soundfile.write(root / f"{name}.wav", wave, 16_000)

    def clips() -> dict[str, np.ndarray]:
        plain = SpeechFeatures(None, DENOISER.audio_feature_dim)
        counted = lambda wave: calls.append(len(wave)) or plain(wave)  # noqa: E731
        found = talking_heads.speaking_clips(root, tmp_path / "cache", DENOISER, counted, {"speech": LOG_MEL})
        return {clip.name: np.array(clip.media) for clip in found}

    record("a", 0)
    first = clips()["a"]
    record("b", 0)
    assert (clips()["b"] == first).all() and len(calls) == 1
    record("a", 1)
    assert not (clips()["a"] == first).all() and len(calls) == 2


@pytest.mark.parametrize(
    ("spoil", "trains", "reason"),
    [
        (lambda root: (root / "b.npy").unlink(), "denoiser", "holds no clips"),
        (lambda root: (root / "b.wav").unlink(), "denoiser", "without"),
        (lambda root: np.save(root / "b.npy", np.zeros((40, 19))), "denoiser", "expected a difference of at most 5"),
        (lambda root: np.save(root / "b.npy", np.zeros((8, 7))), "denoiser", "7 columns"),
        (lambda root: (root / "b.npy").write_bytes(b"no"), "denoiser", "cannot be read"),
        (lambda root: (root / "b.txt").write_text("0 " * 19), "denoiser", "two motion files"),
        (lambda root: np.save(root / "b.npy", np.zeros((8, 10))), "renderer", "10 columns"),
        (lambda root: None, "renderer", "expected a square"),
        (lambda root: (root / "b.mp4").write_bytes(b"no"), "renderer", "cannot be decoded"),
    ],
)
def test_a_clip_that_does_not_fit_is_named_in_one_line(tmp_path, spoil, trains, reason):
    root = tmp_path / "clips"
    root.mkdir()
    np.save(root / "b.npy", np.zeros((8, 19), np.float32))
    soundfile.write(root / "b.wav", np.zeros(8 * 640 + 80), 16_000)
    with VideoWriter(root / "b.mp4", fps=25, size=(32, 48)) as film:
        film.write(np.zeros((8, 32, 48, 3), np.uint8))
    spoil(root)
    if trains == "denoiser":
        (root / "b.mp4").unlink()
    config = settings(trains, root)
    speech = talking_head.speech_features(config) if trains == "denoiser" else None
    with pytest.raises(UserError, match=reason) as error:
        talking_heads.open_folder(config, tmp_path / "run", NETWORKS[trains], speech)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError) as checked:  # --mode=check finds it without decoding anything
        clip_requirements.check(config_for(trains, root), str(tmp_path / "other"), [], {})
    found = str(checked.value)
    assert found.startswith(f"data={root}: ") and found.count("\n") == 0
    assert re.search(reason, found) or "cannot be" in found, found
    assert not (tmp_path / "other").exists()


def _check(trains: str, data: Path, folder: Path, *flags: str, **changes) -> int:
    """`launch.py --mode=check` on a config file of the user's own."""
    (folder / "mine.py").write_text(
        "import json\nfrom ml_collections import ConfigDict\n"
        f"def get_config():\n    return ConfigDict(json.loads({config_for(trains, data, **changes).to_json()!r}))\n"
    )
    command = [f"--config={folder / 'mine.py'}", f"--workdir={folder / 'run'}", "--mode=check", *flags]
    return launch.main(["launch.py", *command])


@pytest.mark.parametrize("trains", ["denoiser", "renderer"])
def test_the_check_says_when_nothing_is_missing_and_writes_nothing(trains, data, tmp_path, capsys):
    assert _check(trains, data, tmp_path) == 0
    assert f"nothing is missing for dreamtalk_{trains} on " in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_everything_that_is_amiss_is_said_at_once(data, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    flags = [
        f"--workdir={tmp_path / 'taken'}",
        "--config.learning_rate=-1",
        "--config.data=none",
        "--config.mesh.data=3",
    ]
    assert _check("denoiser", data, tmp_path, *flags, speech="no-such-network") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and lines[0].startswith("error: ")
    for key in ("--workdir=", "learning_rate", "speech=no-such-network", "data=none", "mesh: "):
        assert any(key in line for line in lines), key
    assert _check("renderer", data, tmp_path, "--config.valid_every=1", features="vgg19") == 2
    found = capsys.readouterr().err
    assert "features=vgg19" in found and "keeps all 3 clips" in found


def test_many_clips_that_do_not_fit_are_counted(tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    for number in range(23):
        np.save(tmp_path / "clips" / f"{number}.npy", np.zeros((8, 7), np.float32))
        soundfile.write(tmp_path / "clips" / f"{number}.wav", np.zeros(5200), 16_000)
    assert _check("denoiser", tmp_path / "clips", tmp_path) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and lines[-1].endswith("3 more of 23 clips cannot be used")
