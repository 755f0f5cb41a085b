"""What a run would lack is said before anything is loaded: all of it, with keys and commands."""

from __future__ import annotations

import importlib.util
import os
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import debug, joint
from converters import fetch
from converters.registry import find_conversion
from data_pipeline import extract, requirements
from data_pipeline.cache import folder_of
from data_pipeline.layout import Tree
from empatheia_jax import assemble
from empatheia_jax import requirements as needs
from empatheia_jax.conversation import schema
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import write_wav
from empatheia_jax.settings import resolve
from tests.data_pipeline.trees import small_tree

ROOT = Path(__file__).resolve().parents[2]


def config_for(**changes):
    config = debug.get_config()
    config.update_from_flattened_dict(changes)
    return resolve(config)


def test_six_faults_of_six_kinds_are_said_in_one_run_within_five_seconds(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "set").mkdir()
    (tmp_path / "faces").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "faces" / "default.png")
    expected = {
        "coe.learning_rate=nan": "expected a finite number above 0",  # a value
        "data.cach is no key": "data.cache",  # a misspelt key
        "bridge.heads=3": "a divisor of bridge.width=512",  # two values that do not fit
        f"--workdir={tmp_path / 'file' / 'run'}": "is a file; expected a folder",
        "networks.llm=vicuna-7b-v1.5": "python -m converters.fetch vicuna-7b-v1.5 --convert",
        f"data.path={tmp_path / 'set'}": "no train.json and no valid.json",
        f"networks.faces={tmp_path / 'faces'}: default.png": "40 x 30 pixels",
        f"networks.faces={tmp_path / 'faces'}: no style clip": "neutral.mat",
        "joint.batch=8": "set --config.joint.batch=12",  # 3 devices, 2 micro-batches
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "launch.py", "--config=configs/joint.py", "--mode=check", "--config.coe.learning_rate=nan"]
        + [f"--config.data.path={tmp_path / 'set'}", f"--config.networks.faces={tmp_path / 'faces'}"]
        + ["--config.bridge.heads=3", "--config.data.cach=x", f"--workdir={tmp_path / 'file' / 'run'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=3"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    lines = [line.removeprefix("error: ").strip() for line in done.stderr.splitlines()]
    for start, text in expected.items():
        assert [text in line for line in lines if line.startswith(start)] == [True], (start, done.stderr)
    # Time of the processor, since a busy machine gives a process any share of the clock.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


def test_every_command_that_is_named_exists():
    assert set(needs.FETCHED) == set(fetch.RELEASES)
    for name in needs.COMMANDS:
        words = shlex.split(needs.command_for(Path("/a folder") / name))
        assert importlib.util.find_spec(words[2]) and not any(set("();|&") & set(word) for word in words)
        if words[2] == "converters.convert":
            assert find_conversion(words[3].removeprefix("--source=")) and words[-1] == f"--output=/a folder/{name}"


@pytest.mark.parametrize("root", ["weights", "/mnt/our lab/weights"])
def test_a_command_that_is_named_can_be_pasted_and_makes_what_is_missing(root):
    names = {"llm": "vicuna-7b-v1.5", "speech_encoder": "our-hubert", "video_encoder": "toy-clip-2"}
    changes = {"networks.weights_dir": root, "networks.adapter": f"{root}/ours"}
    changes |= {f"networks.{network}": name for network, name in names.items()}
    lines = needs.missing(config_for(**changes), data=False)
    assert len(lines) == 4
    commands = [shlex.split(line.split("`")[1], comments=False) for line in lines]
    fetch = ["python", "-m", "converters.fetch", "vicuna-7b-v1.5", "--convert"]
    assert commands[0] == (fetch if root == "weights" else [f"EMPATHEIA_WEIGHTS={root}", *fetch])
    assert [each[-1] for each in commands[1:]] == [
        f"--output={root}/{name}" for name in ("our-hubert", "toy-clip-2", "ours")
    ]


def test_a_run_that_lacks_nothing_says_so_and_on_how_many_devices_it_can_go(tmp_path):
    config = debug.get_config()
    said = requirements.check(config, str(tmp_path / "run"), [], {})
    assert said.startswith("nothing is missing for coe, content, style, joint on ")
    assert said.endswith("its batches divide over 1, 2 devices")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"lora.targets": "q_proj,word"},
            "lora.targets: 'word' matches no linear map of the model; expected names out of ",
        ),
        ({"joint.group_rates": "no.such.*=2"}, "stage joint: group_rates names 'no.such.*'"),
    ],
)
def test_a_network_that_cannot_be_built_is_said_by_the_check(tmp_path, changes, said):
    config = debug.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError) as caught:
        requirements.check(config, str(tmp_path / "run"), [], {})
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_features_are_asked_for_by_the_stages_that_read_them(tmp_path, monkeypatch):
    tree = small_tree(tmp_path / "set")
    marks = dict.fromkeys(
        ("speech", "video", "speech_content", "speech_style", "video_content", "video_style"), "0" * 64
    )
    monkeypatch.setattr(requirements, "fingerprints", lambda config: marks)
    lines = requirements.missing(config_for(**{"data.path": str(tree)}))
    assert len(lines) == 2 and "speech (stages coe, content, style, joint)" in lines[0] and "--mode=extract" in lines[0]
    assert "video_style (stages style, joint)" in lines[0]
    assert "motion_v5_0" in lines[1] and "--config.objective.without=sac" in lines[1]
    changes = {
        "data.path": str(tree),
        "objective.without": "sac",
        "schedule": "coe,content,joint",
        "data.modalities": "",
    }
    (line,) = requirements.missing(config_for(**changes))
    assert "speech_content (stages content, joint)" in line and "style" not in line
    assert requirements.missing(config_for(**{**changes, "schedule": "coe"})) == []


def test_an_extraction_that_was_stopped_is_named_before_the_stage_that_reads_it(tmp_path, monkeypatch):
    marks = {what: what[0] * 64 for what in ("speech", "video", "speech_content", "video_content")}
    monkeypatch.setattr(requirements, "fingerprints", lambda config: marks)
    for what in marks:
        folder = folder_of(tmp_path / "cache", what, marks[what])
        folder.mkdir(parents=True)
        (folder / "part-h000-00000.json").touch()
    changes = {"data.path": str(small_tree(tmp_path / "set", media=False)), "schedule": "coe,content"}
    config = config_for(**changes, **{"data.cache": str(tmp_path / "cache")})
    assert requirements.missing(config) == []
    (folder_of(tmp_path / "cache", "video_content", marks["video_content"]) / "unfinished-h000").touch()
    (line,) = requirements.missing(config)
    assert (
        line.startswith("data.cache=")
        and "the extraction of video_content (stages content) goes on, or was stopped" in line
    )


def test_examples_without_features_are_counted_for_every_stage_before_the_first(tmp_path, monkeypatch):
    """The features of the split "valid", and a reply recorded anew: a stage would find out when it begins."""
    tree = small_tree(tmp_path / "set")
    shutil.rmtree(tree / "video_v5_0")
    (tree / "valid.json").rename(tmp_path / "later.json")
    marks = {"speech": "s" * 64, "video_content": "c" * 64, "speech_content": "t" * 64}
    monkeypatch.setattr(requirements, "fingerprints", lambda config: marks)
    changes = {"data.path": str(tree), "schedule": "coe,content", "data.modalities": "speech"}

    def config(**more):
        return config_for(**changes, **more)

    for what, roles, reads in (
        ("speech", ("speaker",), ("audio",)),
        ("video_content", ("listener",), ("audio",)),
        ("speech_content", ("listener",), ("text",)),
    ):
        made = extract.PerClip(what, marks[what], roles, lambda clip: np.zeros(3), reads=reads)
        extract.run_extractors(config(), [made], show=False)
    assert requirements.missing(config()) == requirements.unusable(config()) == []
    (tmp_path / "later.json").rename(tree / "valid.json")
    assert requirements.unusable(config()) == []
    (line,) = requirements.unusable(config(**{"content.eval_every": 1}))
    assert "stage content cannot use the split valid" in line and "the cache has no speech" in line
    conversation = next(each for _, each in schema.iterate(tree / "train.json"))
    reply = Tree(tree).clip(conversation, conversation.turns[-1].response_index, "listener", "")
    write_wav(reply.audio, np.zeros(2400, np.float32), 24_000)
    (line,) = requirements.unusable(config())
    assert "stage content cannot use the split train" in line and "the cache has no video_content" in line


def test_a_disk_that_is_too_small_for_the_features_is_foreseen(tmp_path, monkeypatch):
    (tmp_path / "audio_v5_0").mkdir()
    for number in range(1000):
        (tmp_path / "audio_v5_0" / f"{number}.wav").touch()
    paper = assemble.Widths(1024, 1024, 512, 256, 11, 256, 256)
    monkeypatch.setattr(assemble, "widths", lambda config: paper)
    config = config_for(**{"data.path": str(tmp_path), "data.cache": str(tmp_path)})
    size = requirements.feature_bytes(config, ("speech", "video", "video_content"), Tree(tmp_path))
    assert size == 500 * (2 * 24 * 1024 * 4 + 142 * 11 * 256 * 2)  # of 1,000 utterances 500 are replies
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2**29}))
    (line,) = requirements.no_room(config)
    assert line.startswith(f"data.cache={tmp_path}: the features take about 0.5 GiB, 0.5 GiB are free at ")
    with pytest.raises(UserError, match="choose another --config.data.cache"):
        extract.run(config, tmp_path / "run")
    monkeypatch.undo()
    assert requirements.no_room(config) == []


def test_a_cache_that_does_not_exist_is_named_before_the_training(tmp_path):
    (line,) = requirements.missing(config_for(**{"data.cache": str(tmp_path / "none")}))
    assert line.startswith(f"data.cache={tmp_path / 'none'}: no such folder") and "--mode=extract" in line


@pytest.mark.parametrize("name", ["file", "file/below", "n" * 300, "/".join(["n" * 200] * 20), "null\0byte"])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, name):
    (tmp_path / "file").write_text("")
    (line,) = needs.unwritable(tmp_path / name, "--workdir")
    assert line.startswith("--workdir=") and "\n" not in line
    with pytest.raises(UserError):
        needs.writable(tmp_path / name, "--workdir")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_can_be_written_is_not_made_by_looking(tmp_path):
    assert needs.unwritable(tmp_path / "runs" / "new", "--workdir") == []
    assert list(tmp_path.iterdir()) == []


def test_batches_are_held_against_the_mesh_of_any_number_of_devices():
    config = config_for(**{"coe.batch": 6, "coe.accumulation": 1})
    assert needs.batches(config, 1) == needs.idle_devices(config, 1) == []
    (line,) = needs.batches(config, 4)
    assert line.startswith("coe.batch=6: ") and line.endswith("set --config.coe.batch=8")
    assert [line.split(":")[0] for line in needs.idle_devices(config_for(), 4)] == [
        f"{stage}.accumulation=2" for stage in ("coe", "content", "style", "joint")
    ]
    assert needs.batches(config_for(**{"mesh.data": 2, "mesh.tensor": 2}), 6)[0].startswith("mesh: ")


def test_a_full_disk_is_foreseen(tmp_path, monkeypatch):
    config = resolve(joint.get_config())
    assert 2**30 < needs.checkpoint_bytes(config, "joint") < 4 * 2**30
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2**30}))
    (line,) = needs.disk(config, tmp_path / "run")
    assert line.startswith("keep_checkpoints=2: ") and "1.0 GiB are free" in line
    assert needs.disk(config_for(), tmp_path) == []


def test_what_a_reply_lacks_of_voices_and_clips_is_said_by_the_check(tmp_path):
    places = {name: tmp_path / name for name in ("faces", "voices", "weights")}
    for place in places.values():
        place.mkdir()
    (tmp_path / "weights" / "tts").mkdir()
    (tmp_path / "weights" / "tts" / "config.json").write_text(
        '{"kind": "styletts2", "config": {"multispeaker": true, "networks": ["style_encoder", "diffusion"]}}'
    )
    config = {
        "networks.weights_dir": str(places["weights"]),
        "networks.tts": "tts",
        "networks.faces": str(places["faces"]),
    }
    pipeline = config | {"schedule": "coe", "decoding.style_blend": 0.0, "decoding.style_clip": "M030_angry"}
    (no_table,) = needs.voices(config_for(**pipeline))
    assert no_table.startswith("networks.tts=tts: ") and "--config.networks.voices" in no_table
    assert not needs.voices(config_for(**config))  # the bridge gives the voice
    assert needs.voices(config_for(**config, **{"objective.without": "sac", "schedule": "coe,content,joint"}))
    recorded = pipeline | {"networks.voices": str(places["voices"])}
    assert "no default.wav, and no recording for 24 of 24" in needs.voices(config_for(**recorded))[0]
    write_wav(places["voices"] / "Default.WAV", np.zeros(48_000, np.float32), 24_000)
    (silent,) = needs.voices(config_for(**recorded))
    assert "Default.WAV: reference: the recording is silent" in silent
    write_wav(places["voices"] / "Default.WAV", np.full(48_000, 0.1, np.float32), 24_000)
    assert not needs.voices(config_for(**recorded))
    (clip,) = needs.style_clip(config_for(**recorded))
    assert clip == f"decoding.style_clip=M030_angry: networks.faces={places['faces']} has no M030_angry.mat"
    for name in ("m030_angry.MAT", "Default.PNG"):
        (places["faces"] / name).write_bytes(b"x")
    assert not needs.style_clip(config_for(**recorded))
    assert len(needs.faces(config_for(**recorded))) == 1  # the picture is none; portrait and clip are there


def test_24_pictures_that_are_of_no_profile_are_no_portraits(tmp_path):
    for number in range(24):
        Image.new("RGB", (256, 256)).save(tmp_path / f"person{number}.png")
    assert "no default.png and 0 of 24 portraits" in needs.faces(config_for(**{"networks.faces": str(tmp_path)}))[0]


@pytest.mark.parametrize("layer", [3, 10, 25, 64, -4, -26, -64])
def test_a_layer_that_the_video_encoder_does_not_have_is_refused(layer):
    wrong = config_for(**{"networks.video_layer": layer})
    line = f"networks.video_layer={layer}; expected -3 to 2: "
    assert [each for each in needs.missing(wrong) if each.startswith(line)] == needs.missing(wrong) != []
    for pooling in ("patches", "cls"):
        with pytest.raises(UserError, match=line):
            assemble.towers(config_for(**{"networks.video_layer": layer, "networks.video_pooling": pooling}))
    assert not needs.missing(config_for(**{"networks.video_layer": layer, "data.modalities": "speech"}))


def test_debug_networks_see_as_the_config_says():
    film = np.random.default_rng(0).integers(0, 255, (24, 32, 32, 3), np.uint8)
    pairs = [(-2, "patches"), (-1, "patches"), (-1, "cls"), (0, "cls")]
    changes = [{"networks.video_layer": layer, "networks.video_pooling": pooling} for layer, pooling in pairs]
    seen = [assemble.towers(config_for(**each)).see(film) for each in changes]
    assert all(np.abs(a - b).max() > 1e-3 for n, a in enumerate(seen) for b in seen[:n])


def test_widths_are_those_of_each_network_where_some_are_made_up():
    made_up = assemble.widths(config_for())
    assert assemble.widths(config_for(**{"networks.llm": "of-a-user"})) == made_up
    with pytest.raises(UserError, match="of-a-user"):
        assemble.widths(config_for(**{"networks.tts": "of-a-user"}))


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("content", ["[]", '[{"conversation_id": "1", "turns": []}]'])
def test_a_split_without_anything_to_learn_from_is_said_before_the_training(tmp_path, split, content):
    root = Path(small_tree(tmp_path))
    for name in ("train", "valid"):
        if name == split or not (root / f"{name}.json").is_file():
            (root / f"{name}.json").write_text(content if name == split else (root / "train.json").read_text())
    text = {"data.path": str(root), "data.modalities": "", "schedule": "coe", "coe.eval_every": 1}
    (line,) = requirements.unusable(config_for(**text))
    assert f"{split}.json has no turn to learn from; expected conversations" in line
    if split == "valid":
        assert not requirements.unusable(config_for(**text | {"coe.eval_every": 0}))
