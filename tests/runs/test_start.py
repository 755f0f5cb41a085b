"""Trained leaves are given on as a folder, and a training or a reply begins from it."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict

import launch
from configs import debug, quickstart, starter
from empatheia_jax import Empatheia, assemble, requirements, weights
from empatheia_jax.dialogue import replies, trained_model
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import local_mesh
from empatheia_jax.runs import checkpoint, fit, start
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import resolve
from tests.runs import folders


def settings(**changes):
    config = debug.get_config()
    config.decoding.update({"step_tokens": 2, "response_tokens": 4})
    config.update_from_flattened_dict(changes)
    return resolve(config)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose adapters are told from fresh ones by another seed of theirs."""
    return folders.untrained(settings(), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """Its leaves as a folder; the added rows are shifted, so that they are nobody's first values."""
    leaves = checkpoint.load_trainable(run.stage_folder("coe"))
    leaves["added.embedding"] = leaves["added.embedding"] + 1
    known = checkpoint.belongs_to(run.stage_folder("coe"))
    hashes = {"llm": known["fingerprint"]["weights.llm"]}
    facts = {"config": run.config(), "losses": ["emp"], "weights": hashes}
    return weights.write_start(tmp_path_factory.mktemp("start") / "leaves", leaves, facts, "# A card\n")


def test_adapters_are_given_on_at_a_part_of_their_strength(run, tmp_path, capsys, monkeypatch):
    leaves = {path: value + 1 for path, value in checkpoint.load_trainable(run.stage_folder("coe")).items()}
    monkeypatch.setattr(checkpoint, "load_trainable", lambda folder: dict(leaves))  # fresh adapters add nothing yet
    start.main([f"--run={run.folder}", f"--output={tmp_path / 'half'}", "--adapter-scale=0.5"])
    whole = weights.open_start(start.write(run, tmp_path / "whole")).leaves()
    opened = weights.open_start(tmp_path / "half")
    halved = {path for path, value in opened.leaves().items() if not np.array_equal(value, whole[path])}
    seconds = {path for path in whole if ".lora." in path and path.endswith(".b")}
    assert seconds and halved == seconds and opened.facts["adapter_scale"] == 0.5
    for path in seconds:
        np.testing.assert_array_equal(2 * opened.leaves()[path], whole[path])
    assert start.main([f"--run={run.folder}", f"--output={tmp_path / 'none'}", "--adapter-scale=0"]) == 2
    assert (
        "--adapter-scale=0.0; expected a number above 0" in capsys.readouterr().err and not (tmp_path / "none").exists()
    )


def added(config) -> np.ndarray:
    return np.asarray(assemble.empatheia(config, local_mesh(1, 1, 1)).model.added.embedding[...])


def test_a_run_is_written_and_read_again_to_the_rounding_of_bfloat16(run, tmp_path):
    found = start.write(run, tmp_path / "given", "by a test", "# Card\n")
    opened = weights.open_start(found)
    leaves, trained = opened.leaves(), checkpoint.load_trainable(run.stage_folder("coe"))
    assert leaves.keys() == trained.keys() and opened.losses == ("emp",)
    assert (found / "README.md").read_text() == "# Card\n" and opened.facts["stages"]["coe"]["step"] == 1
    for path, value in trained.items():
        np.testing.assert_allclose(leaves[path], value, rtol=2**-8, atol=1e-30, err_msg=path)


def test_a_model_begins_from_the_leaves_and_its_fingerprint_knows_them(folder):
    bare, begun = settings(), settings(start=str(folder))
    np.testing.assert_allclose(added(begun), added(bare) + 1, atol=2**-7)
    hashes = assemble.empatheia(begun, local_mesh(1, 1, 1)).hashes
    of = [fit.fingerprint(each, "coe", weights=h, features={}, after={}) for each, h in ((begun, hashes), (bare, {}))]
    assert of[0]["weights.start"] == weights.open_start(folder).sha256 and "weights.start" not in of[1]


def test_the_same_leaves_at_another_place_are_the_same_beginning(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    prints = []
    for place in (folder, copy):
        config = settings(start=str(place))
        hashes = assemble.empatheia(config, local_mesh(1, 1, 1)).hashes
        prints.append(fit.fingerprint(config, "coe", weights=hashes, features={}, after={}))
    assert prints[0] == prints[1]


def test_a_reply_without_a_run_is_that_of_the_start(folder, tmp_path, capsys):
    config = settings(start=str(folder))
    model = trained_model.trained(config, Run(tmp_path / "none")).model
    np.testing.assert_array_equal(model.added.embedding[...], added(config))
    assert "the answer is that of start=" in capsys.readouterr().err
    assert trained_model.trained_losses(config, Run(tmp_path / "none")) == {"emp"}
    with pytest.raises(UserError, match="no trained stage"):
        trained_model.trained(settings(), Run(tmp_path / "none"))


def test_a_run_that_began_from_leaves_answers_with_its_own(run, folder, tmp_path):
    own = folders.untrained(settings(start=str(folder)), tmp_path / "run")
    model = trained_model.trained(settings(start=str(folder)), own).model
    np.testing.assert_array_equal(
        model.added.embedding[...], checkpoint.load_trainable(own.stage_folder("coe"))["added.embedding"]
    )


def test_leaves_of_another_network_are_refused_in_one_line(folder, tmp_path):
    for changes, message in (
        ({"lora.rank": 4}, "lora.rank: 8 there, 4 here"),
        ({"data.instruction": "plain"}, "data.instruction"),
        ({"start": str(tmp_path)}, "no folder of trained leaves"),
    ):
        with pytest.raises(UserError, match=message):
            trained_model.trained(settings(**{"start": str(folder), **changes}), Run(tmp_path / "none"))
    with pytest.raises(UserError, match="other weights of the language model"):
        assemble.empatheia(settings(start=str(folder), seed=99), local_mesh(1, 1, 1))
    with pytest.raises(UserError, match="other sizes"):
        assemble.empatheia(settings(start=str(folder), **{"lora.rank": 4}), local_mesh(1, 1, 1))


def test_a_training_begins_from_leaves_or_from_an_adapter_and_not_from_both(folder, capsys, tmp_path):
    asked = [f"--config.start={folder}", f"--config.networks.adapter={folder}", f"--workdir={tmp_path / 'run'}"]
    assert launch.main(["launch.py", "--config=configs/debug.py", *asked]) == 2
    assert "both say what the training begins from" in capsys.readouterr().err
    assert not any("both" in line for line in requirements.missing(settings(start=str(folder))))


@pytest.mark.parametrize("file", ["leaves.safetensors", "start.json", "SHA256SUMS"])
def test_a_damaged_folder_is_refused(folder, tmp_path, file):
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(UserError):
        weights.open_start(copy).leaves()


def test_from_pretrained_answers_in_three_modalities(folder):
    reply = Empatheia.from_pretrained(folder).reply("I lost my keys.")
    assert reply.chain.complete and len(reply.speech) and reply.frames.ndim == 4
    with pytest.raises(UserError, match="no folder of trained leaves"):
        Empatheia.from_pretrained("nobody")


def test_a_training_begins_from_the_leaves(folder, tmp_path):
    config = debug.get_config()
    config.start, config.schedule = str(folder), "coe"
    config.coe.update({"steps": 1, "learning_rate": 1e-9, "weight_decay": 0.0, "save_every": 1})
    code = launch.train(resolve(config), tmp_path / "run")
    after = checkpoint.load_trainable(tmp_path / "run" / "checkpoints" / "coe")["added.embedding"]
    assert code == 0
    np.testing.assert_allclose(after, added(resolve(config)), atol=1e-6)
    begun = checkpoint.belongs_to(tmp_path / "run" / "checkpoints" / "coe")["fingerprint"]["weights.start"]
    assert begun == weights.open_start(folder).sha256


def test_replies_know_what_they_began_from(folder, tmp_path):
    source = tmp_path / "in.json"
    source.write_text("[]")
    found = replies.identity(settings(start=str(folder)), Run(tmp_path / "none"), source)
    assert found["start"] == weights.open_start(folder).sha256


def test_the_shipped_starter_is_the_quickstarts_and_reads_as_settings():
    """A new setting fails here: say in `settings.ADDED_LATER` what was done before it was one."""
    config, shipped = resolve(quickstart.get_config()), weights.open_start("starter")
    fit.require_start(shipped, config)
    assert resolve(ConfigDict(dict(shipped.config))).bridge == config.bridge
    assert sum(path.stat().st_size for path in shipped.folder.iterdir()) < 12e6
    leaves = shipped.leaves()
    assert {path.split(".")[0] for path in leaves} >= {"core", "added", "speech_projection", "video_projection"}


def test_an_ablation_of_the_bridge_begins_from_leaves_without_one(folder):
    other, shipped = settings(**{"start": str(folder), "bridge.content_kind": "linear"}), weights.open_start(folder)
    fit.require_start(shipped, other)
    with pytest.raises(UserError, match="bridge.content_kind"):
        fit.require_start(dataclasses.replace(shipped, losses=("emp", "ccl")), other)


def test_the_starter_and_the_quickstart_have_the_same_networks():
    ours, shipped = (resolve(module.get_config()) for module in (quickstart, starter))
    assert dataclasses.asdict(ours.lora) == dataclasses.asdict(shipped.lora)
    assert dataclasses.asdict(ours.bridge) == dataclasses.asdict(shipped.bridge)
