"""A run becomes a release that PyTorch loads and answers with, token by token, and comes back bit by bit."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from huggingface_hub import HfApi, ModelCard

from benchmarks import release_parity
from configs import debug
from converters import convert, inspect
from converters.convert import to_release
from converters.registry import find_conversion
from converters.release import __main__ as commands
from converters.release import card, export, hub, import_run, layout, licences, trained
from converters.sources import open_source
from empatheia_jax import assemble, tiny, weights
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import local_mesh
from empatheia_jax.runs import checkpoint, fit
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import resolve
from tests.runs import folders


def configuration(**changes):
    config = debug.get_config()
    config.schedule = "coe,content,style"
    config.decoding.update({"temperature": 0.0, "no_repeat_ngram": 3, "repetition_penalty": 1.1} | changes)
    return resolve(config)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of tiny networks with parameters drawn at random, its release with every part, and its base as a release."""
    root = tmp_path_factory.mktemp("release")
    config = configuration()
    run = folders.made_up(config, root / "run")
    assert export.run(config, run.folder, root / "release", None) == 0
    base = trained.base_of(config)
    weights.save(root / "base-weights", dict(base.parameters), base.config, "llama", {"source": "llama"})
    to_release(find_conversion("llama"), root / "base-weights", root / "base")
    (root / "base" / "config.json").write_text(json.dumps(base.released_config()))
    return SimpleNamespace(root=root, config=config, run=run, release=root / "release", base=root / "base")


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the release that a test may damage."""
    return Path(shutil.copytree(made.release, tmp_path / "copy"))


def tensors(path):
    source = open_source(path)
    return {key: source.read(key) for key in source}


# ---------------------------------------------------------------------------------------------------- PyTorch


def test_a_fresh_process_without_jax_answers_as_the_run_does_token_by_token(made):
    sizes = assemble.widths(made.config)
    asked = release_parity.questions(3, {"speech": sizes.speech, "video": sizes.video})
    answers = release_parity.answer_here(made.config, made.run.folder, asked)
    release_parity.save(made.root / "answers.npz", asked, answers)
    found = release_parity.in_a_fresh_process(made.release, made.base, made.root / "answers.npz")
    assert not found["jax_imported"]
    assert found["equal"] == {"prompt": 3, "tokens": 3, "classes": 3}
    assert max(found["worst"].values()) <= 1e-4, found["worst"]


@pytest.fixture(scope="module")
def ids():
    """Tokens with added ones among them."""
    found = np.random.default_rng(0).integers(0, 256, (2, 12))
    found[:, 3], found[0, 7] = 256 + 5, 256 + 33
    return found


@pytest.fixture(scope="module")
def model(made):
    """The run's model."""
    found = assemble.empatheia(made.config, local_mesh(1, 1, 1)).model
    made.run.load_into(found)
    weights.update(found, {path: jnp.asarray(value) for path, value in weights.flatten(found).items()})
    return found


@pytest.fixture(scope="module")
def logits(model, ids):
    """Ours for `ids`."""
    tokens = jnp.asarray(ids)
    return np.asarray(model.logits(model.core(model.embed(tokens)).hidden))


def their_logits(model, ids):
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(ids)).logits.numpy()


def test_peft_alone_loads_the_adapter_and_gives_our_logits(made, ids, logits):
    import peft
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(made.base, dtype="float32")
    base.resize_token_embeddings(290, mean_resizing=False)
    model = peft.PeftModel.from_pretrained(base, made.release, subfolder="adapter").eval()
    np.testing.assert_allclose(their_logits(model, ids), logits, atol=1e-4)


def test_the_base_with_its_tokens_and_lora_alone_give_our_logits(made, ids, logits):
    import peft
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(made.release / "base_with_tokens", dtype="float32")
    model = peft.PeftModel.from_pretrained(base, made.release / "lora").eval()
    assert not any("token_adapter" in key for key in tensors(made.release / "lora"))
    # what servers beside PEFT are strict about
    config = json.loads((made.release / "lora" / "adapter_config.json").read_text())
    assert (
        isinstance(config["lora_alpha"], int) and config["modules_to_save"] is config["trainable_token_indices"] is None
    )
    np.testing.assert_allclose(their_logits(model, ids), logits, atol=1e-4)


def test_the_merged_model_and_the_gguf_file_hold_the_same_numbers_up_to_one_rounding(made, ids, logits):
    import transformers

    auto = transformers.AutoModelForCausalLM
    merged = their_logits(auto.from_pretrained(made.release / "merged", dtype="float32").eval(), ids)
    file = next((made.release / "gguf").iterdir()).name
    from_gguf = auto.from_pretrained(made.release / "gguf", gguf_file=file, dtype="float32").eval()
    np.testing.assert_allclose(their_logits(from_gguf, ids), merged, atol=2e-5)
    # bfloat16 keeps 8 bits of each weight
    assert 0 < np.abs(merged - logits).max() < 0.02 * np.abs(logits).max()
    assert (merged.argmax(-1) == logits.argmax(-1)).mean() > 0.9
    stored = {str(array.dtype) for array in tensors(made.release / "merged").values()}
    assert stored == {"bfloat16"}


def test_our_own_reader_finds_the_same_network_in_the_gguf_file_and_in_the_merged_folder(made, tmp_path):
    shutil.copytree(made.release / "gguf", tmp_path / "gguf")
    for name, path in (("a", next((tmp_path / "gguf").iterdir())), ("b", made.release / "merged")):
        assert convert.main([f"--input={path}", f"--output={tmp_path / name}", "--dtype=float32"]) == 0
    one, other = (weights.load(tmp_path / name) for name in "ab")
    assert one[1] == other[1]
    for path, value in one[2].items():
        np.testing.assert_array_equal(value, other[2][path], err_msg=path)
    assert (tmp_path / "a" / "tokenizer.json").is_file()


@pytest.mark.parametrize("change", ["resized", "smaller", "other weights", "newer format", "unresized"])
def test_the_pytorch_package_refuses_in_one_line(made, copy, change, monkeypatch):
    import torch
    import transformers
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(copy.parent / "modules"))
    model = get_class_from_dynamic_module("modeling_empatheia.EmpatheiaModel", str(copy))
    base = transformers.AutoModelForCausalLM.from_pretrained(made.base, dtype="float32")
    says = {
        "resized": "has 290 rows .* base of 256",
        "smaller": "has 100 rows",
        "other weights": "has other weights than the base",
        "newer format": "release format 2",
        "unresized": r"has 256 rows in its vocabulary, expected 290: resize it",
    }[change]
    if change in ("resized", "smaller"):
        base.resize_token_embeddings(290 if change == "resized" else 100, mean_resizing=False)
    elif change == "other weights":
        with torch.no_grad():
            base.model.norm.weight[0] += 1
    elif change == "newer format":
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | {layout.FORMAT_KEY: 2}))
    with pytest.raises(ValueError, match=says) as refused:
        if change == "unresized":
            model(model.config_class.from_pretrained(copy), base)
        else:
            model.from_pretrained(copy, base=base)
    assert "\n" not in str(refused.value)


# ---------------------------------------------------------------------------------------------------- and back


def test_a_release_comes_back_bit_by_bit_and_goes_out_again(made, model, tmp_path, capsys):
    assert convert.main([f"--input={made.release}", f"--output={tmp_path / 'w'}"]) == 0
    kind, _, flat = weights.load(tmp_path / "w")
    assert kind == layout.KIND
    assert inspect.main([str(tmp_path / "w"), "--verify"]) == 0
    assert "every hash is right" in capsys.readouterr().out
    ours = {path: value for path, value in weights.flatten(model).items() if path in flat}
    assert len(ours) == len(flat) > 100
    for path, value in ours.items():
        np.testing.assert_array_equal(flat[path], value, err_msg=path)
    assert convert.main(["--target=hf", f"--input={tmp_path / 'w'}", f"--output={tmp_path / 'again'}"]) == 0
    for name in (
        layout.MODEL_FILE,
        layout.ADAPTER_FILE,
        "config.json",
        "tokenizer.json",
        layout.FORM_FILE,
        *layout.CODE,
    ):
        assert (tmp_path / "again" / name).read_bytes() == (made.release / name).read_bytes(), name


def test_a_release_becomes_a_run_that_is_the_run_it_was_made_of(made, model, tmp_path):
    again = import_run.run(made.release, tmp_path / "run")
    assert again.trained_stages() == made.run.trained_stages() == ["coe", "content", "style"]
    assert again.config() == made.run.config()
    expected = weights.flatten(model)
    for stage in again.trained_stages():
        leaves = checkpoint.load_trainable(again.stage_folder(stage))
        assert leaves.keys() == checkpoint.load_trainable(made.run.stage_folder(stage)).keys()
        for path, value in leaves.items():
            np.testing.assert_array_equal(value, expected[path], err_msg=path)
        assert belongs(again, stage) == belongs(made.run, stage)


def belongs(run, stage):
    return checkpoint.belongs_to(run.stage_folder(stage))["fingerprint"]


def test_training_goes_on_from_a_release_with_the_same_next_loss(made, model, tmp_path):
    from data_pipeline import loader
    from empatheia_jax.parallel.mesh import batch_part
    from empatheia_jax.training import partition, schedule, stages

    again = import_run.run(made.release, tmp_path / "run")
    values = debug.get_config()
    values.schedule = "joint"
    config, mesh = resolve(values), local_mesh(1, 1, 1)
    fit.require_usable(again, config, {"llm": f"debug-{config.seed}"}, prompts=False)
    imported = nnx.clone(model)
    again.load_into(imported)
    cuts = [partition.split(each, stages.TRAINABLE["joint"]) for each in (model, imported)]
    step = schedule.build_step(config, "joint", cuts[0], mesh)
    sizes = assemble.widths(config)
    batch = step.place_batch(next(loader.make(config, "joint", "train", tiny.tokenizer(), sizes, batch_part(mesh))))
    losses = [
        step.evaluate(SimpleNamespace(trainable=cut.trainable), step.place_frozen(cut.frozen), batch) for cut in cuts
    ]
    assert set(losses[0]) >= {"emp", "ccl_speech", "ccl_video"}
    for name, (total, weight) in losses[0].items():
        assert (float(total), float(weight)) == tuple(map(float, losses[1][name])), name


def test_a_fresh_run_starts_from_a_release_by_one_key(made, model, tmp_path):
    convert.main([f"--input={made.release}", f"--output={tmp_path / 'w'}"])
    config = dataclasses.replace(
        made.config, networks=dataclasses.replace(made.config.networks, adapter=str(tmp_path / "w"))
    )
    started = assemble.empatheia(config, local_mesh(1, 1, 1))
    expected = weights.flatten(model)
    for path, value in weights.flatten(started.model).items():
        np.testing.assert_array_equal(value, expected[path], err_msg=path)
    assert started.hashes["adapter"] == weights.describe(tmp_path / "w")["sha256"]
    other = dataclasses.replace(config, seed=config.seed + 1)  # a core of the same sizes with other weights
    with pytest.raises(UserError, match="w was trained on other weights of the language model") as refused:
        assemble.empatheia(other, local_mesh(1, 1, 1))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("started", [False, True])
def test_what_no_stage_trained_goes_out_as_the_training_has_it(made, model, tmp_path, started):
    run = Path(shutil.copytree(made.run.folder, tmp_path / "run"))
    for stage in ("content", "style"):
        shutil.rmtree(run / "checkpoints" / stage)
    config = made.config
    if started:  # from a release
        convert.main([f"--input={made.release}", f"--output={tmp_path / 'w'}"])
        networks = dataclasses.replace(config.networks, adapter=str(tmp_path / "w"))
        config, expected = dataclasses.replace(config, networks=networks), weights.flatten(model)
    else:  # as `assemble.empatheia` makes the whole around a base that is not made up
        mesh, sizes = local_mesh(1, 1, 1), assemble.widths(config)
        expected = weights.flatten(assemble.whole(config, assemble.core(config, mesh), sizes))
    base = dataclasses.replace(trained.base_of(made.config), whole=None)
    found = trained.parameters(config, Run(run), trained.trained_config(config, base), base)
    assert found.keys() == {path for path in expected if trained.is_trained(path)}
    for path, value in found.items():
        wanted = expected if path.startswith(("synchronizer.", "disentangler.")) else weights.flatten(model)
        assert np.asarray(value).tobytes() == np.asarray(wanted[path]).tobytes(), path


def test_inspect_says_what_a_release_is_and_whether_it_fits(made, capsys):
    assert inspect.main([str(made.release), "--verify"]) == 0
    said = capsys.readouterr().out
    assert "a release of ours" in said and "fits exactly" in said and "release format: 1 (this version reads 1)" in said
    assert "every checksum is right" in said
    for part, says in (("merged", "llama,"), ("base_with_tokens", "llama,"), ("gguf", "gguf")):
        (path,) = (made.release / "gguf").iterdir() if part == "gguf" else [made.release / part]
        assert inspect.main([str(path)]) == 0
        said = capsys.readouterr().out
        assert says in said and "fits exactly" in said and "vocab_size=290" in said
    assert inspect.main([str(made.release / "lora"), f"--base={made.release / 'base_with_tokens'}"]) == 0
    assert inspect.main([str(made.release / "adapter"), f"--base={made.base}"]) == 0


# ---------------------------------------------------------------------------------------------------- refusals


def refusal(capsys, source, tmp_path):
    capsys.readouterr()
    assert convert.main([f"--input={source}", f"--output={tmp_path / 'w'}"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_newer_format_and_lost_files_are_refused_in_one_line(copy, tmp_path, capsys):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {layout.FORMAT_KEY: 2}))
    assert "has the release format 2, and this version reads 1" in refusal(capsys, copy, tmp_path)
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "adapter" / "adapter_model.safetensors").unlink()
    assert "adapter_model.safetensors does not exist" in refusal(capsys, copy, tmp_path)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "adapter/adapter_model.safetensors", "config.json", "form.safetensors", "stages.json"]
)
def test_a_damaged_file_of_a_release_is_named_and_never_read_as_other_numbers(copy, tmp_path, capsys, name):
    content = bytearray((copy / name).read_bytes())
    place = content.rindex(b"1") if name.endswith(".json") else len(content) - 5
    content[place] ^= 2  # a number becomes another one
    (copy / name).write_bytes(content)
    assert f"the SHA-256 of {name} differs" in refusal(capsys, copy, tmp_path)
    if name != layout.FORM_FILE:  # which a run makes anew
        assert commands.main(["run", f"--input={copy}", f"--workdir={tmp_path / 'run'}"]) == 2
        assert f"the SHA-256 of {name} differs" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_lost_shard_is_named(made, tmp_path, capsys):
    base = trained.base_of(made.config)
    values = weights.config_from_dict(find_conversion("empatheia").config_class, read_ours(made.release))
    flat = import_run.read(made.release)
    told = []
    write = export.bases.write_model
    parameters = export.bases.merged(base, values, flat)
    arguments = (parameters, export.bases.resized_config(values), base.released_config() | {"vocab_size": 290}, {})
    write(tmp_path / "m", *arguments, told.append, shard_bytes=20_000)
    shards = sorted((tmp_path / "m").glob("*.safetensors"))
    assert len(shards) > 2 and sum(told) == export.bases.total_bytes(parameters)
    for key, array in tensors(made.release / "merged").items():
        np.testing.assert_array_equal(tensors(tmp_path / "m")[key], array)
    shards[1].unlink()
    assert f"names the shard {shards[1].name}, which is not there" in refusal(capsys, tmp_path / "m", tmp_path)
    before = shards[0].stat().st_mtime_ns
    write(tmp_path / "m", *arguments, told.append, shard_bytes=20_000)
    assert (
        shards[0].stat().st_mtime_ns == before
        and convert.main([f"--input={tmp_path / 'm'}", f"--output={tmp_path / 'ok'}"]) == 0
    )


def read_ours(release):
    return json.loads((release / "config.json").read_text())[layout.OURS]


def test_an_unfinished_stage_is_refused(made, tmp_path):
    run = Path(shutil.copytree(made.run.folder, tmp_path / "run"))
    (run / "checkpoints" / "style" / "complete.json").unlink()
    with pytest.raises(
        UserError, match=r"the stage style of .* is not complete; .*--config.schedule=coe,content"
    ) as refused:
        export.run(made.config, run, tmp_path / "out")
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="is no run"):
        export.run(made.config, tmp_path / "nothing", tmp_path / "out")


def test_a_base_with_another_hash_is_refused(made, tmp_path):
    config = dataclasses.replace(made.config, seed=1)
    with pytest.raises(UserError, match=r"weights.llm: 'debug-\d+' there, 'debug-1' here"):
        export.run(config, made.run.folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_destination_that_is_not_empty_is_refused(made, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(UserError, match="--output=.* is not empty"):
        export.run(made.config, made.run.folder, tmp_path / "out")
    with pytest.raises(UserError, match="--workdir=.* is not empty"):
        import_run.run(made.release, tmp_path / "out")


def test_what_a_licence_forbids_is_left_out_or_refused_where_it_is_asked_for(made, monkeypatch, tmp_path):
    forbidden = licences.KNOWN["dreamtalk"]
    with pytest.raises(UserError, match="merged would hold .*networks.llm=x, whose licence .* forbids") as refused:
        licences.require_allowed("merged", "networks.llm", "x", forbidden)
    assert "\n" not in str(refused.value)
    convert.main([f"--input={made.base}", f"--output={tmp_path / 'w'}", "--redistribution=forbidden"])
    assert licences.licence_of("w", weights.describe(tmp_path / "w")).redistribution is False
    flagged = {"provenance": {"source": "kokoro", "redistribution": "forbidden"}}
    assert licences.licence_of("kokoro", flagged).redistribution is False
    assert licences.licence_of("kokoro", {"provenance": {"source": "kokoro"}}).redistribution is True
    monkeypatch.setattr(
        export,
        "licences_of",
        lambda config: {f"networks.{n}": ("x", forbidden) for n in ("llm", "tts", "talking_head")},
    )
    kept, left_out = export.chosen_parts(made.config, None)
    assert kept == () and "does not allow it; get it from ali-vilab/dreamtalk" in left_out["merged"]
    with pytest.raises(UserError, match="leave gguf out of --parts"):
        export.chosen_parts(made.config, "gguf")
    with pytest.raises(UserError, match="'voice' is no part of a release"):
        export.chosen_parts(made.config, "voice")


# ---------------------------------------------------------------------------------------------------- interruption


def test_an_interrupted_export_is_no_release_and_goes_on_where_it_stopped(made, tmp_path, monkeypatch, capsys):
    class Killed(Exception):
        pass

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_gguf", die)
        with pytest.raises(Killed):
            export.run(made.config, made.run.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (partial,) = tmp_path.iterdir()
    assert not list(partial.glob("release/config.json"))
    assert "is an export that did not end" in refusal(capsys, partial / "release", tmp_path)
    # What a process leaves that is killed while it writes: the weights of what was trained may be there without a note of it.
    (partial / "release" / ".speech.1a2b.tmp").mkdir()
    (partial / "release" / "gguf" / "unfinished-debug-bf16.gguf").write_bytes(b"GGUF")
    notes = json.loads((partial / layout.PROGRESS_FILE).read_text())
    assert notes["done"] == ["weights", "merged", "base_with_tokens"]
    (partial / layout.PROGRESS_FILE).write_text(json.dumps(notes | {"done": ["merged", "base_with_tokens"]}))
    (partial / "release" / "config.json").write_text("{}")
    assert "is an export that did not end" in refusal(capsys, partial / "release", tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in partial.rglob("*.safetensors")}
    assert export.run(made.config, made.run.folder, tmp_path / "out") == 0
    assert "going on with an export" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for path in made.release.rglob("*"):
        if path.is_file() and path.name not in ("SHA256SUMS", "README.md"):
            assert (tmp_path / "out" / path.relative_to(made.release)).read_bytes() == path.read_bytes()
    assert kept
    released = {
        path.relative_to(partial / "release"): t for path, t in kept.items() if path.is_relative_to(partial / "release")
    }
    assert all((tmp_path / "out" / path).stat().st_mtime_ns == written for path, written in released.items())
    assert {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*")} == {
        path.relative_to(made.release) for path in made.release.rglob("*")
    }


def test_an_export_that_was_killed_when_it_had_its_name_is_complete_and_leaves_nothing_hidden(
    made, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    remove = shutil.rmtree

    def die(path, *rest, **options):
        if Path(path).name == ".out.partial":
            raise Killed
        remove(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(export.shutil, "rmtree", die)
        with pytest.raises(Killed):
            export.run(made.config, made.run.folder, tmp_path / "out", "")
    layout.require_complete(tmp_path / "out")
    weights.sums.check(tmp_path / "out")
    assert (tmp_path / ".out.partial").exists()
    with pytest.raises(UserError, match="is not empty"):
        export.run(made.config, made.run.folder, tmp_path / "out", "")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_disk_without_room_is_said_before_anything_is_written(made, tmp_path, monkeypatch):
    usage = export.shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(export.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        UserError, match=r"merged and gguf take 0.0 GB more, and 0.0 GB are free; free some space"
    ) as refused:
        export.run(made.config, made.run.folder, tmp_path / "out", "merged,gguf")
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []


def test_an_interrupt_and_a_full_disk_keep_what_was_written_and_say_how_to_go_on(made, tmp_path, monkeypatch, capsys):
    def raising(error):
        def write(*_, **__):
            raise error

        return write

    with monkeypatch.context() as patch:
        patch.setattr(export.bases, "write_safetensors", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            export.run(made.config, made.run.folder, tmp_path / "out", "merged")
        assert "keeps what was written; the same command goes on there" in capsys.readouterr().err
        patch.setattr(export.bases, "write_safetensors", raising(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(UserError, match="No space left on device; free some space, and run the same command again"):
            export.run(made.config, made.run.folder, tmp_path / "out", "merged")
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]


def test_the_card_says_terms_files_and_how_each_stage_went(made):
    text = (made.release / "README.md").read_text()
    for said in (
        "license: cc-by-nc-4.0",
        "EmpatheticDialogues",
        "CC BY-NC",
        "| coe | 1 |",
        "`adapter`",
        "was not evaluated",
    ):
        assert said in text
    sums = weights.sums.read_sums(made.release)
    assert {"config.json", "README.md", "merged/model.safetensors"} <= set(sums)


def the_card(config, run, licence):
    base = trained.Base("llama", tiny.LLM, {}, None, "a core")
    names = {f"networks.{name}": ("x", licences.OURS) for name in ("llm", "tts")} | {
        "networks.llm": (base.name, licence)
    }
    return ModelCard(card.card(config, run, base, "0" * 64, ["config.json"], names, {}))


@pytest.mark.parametrize("data", ["avamerg", "toy", "corpus", "start", "toy from a release"])
def test_the_metadata_are_read_by_the_hub_and_say_whose_data_it_learned_from(made, tmp_path, data):
    if data.split()[0] in ("toy", "corpus"):
        stamp = {"face": "drawn-face-1"} | ({"dialogues": data} if data == "corpus" else {})
        (tmp_path / "made_by.json").write_text(json.dumps(stamp))
    config = dataclasses.replace(made.config, data=dataclasses.replace(made.config.data, path=str(tmp_path)))
    if data == "start":
        config, run = dataclasses.replace(config, start="starter"), Run(tmp_path / "nothing trained")
    else:
        run = made.run
    if data.endswith("a release"):
        config = dataclasses.replace(config, networks=dataclasses.replace(config.networks, adapter="somebody's"))
    smollm2 = licences.KNOWN["smollm2"]
    found = the_card(config, run, smollm2)
    assert found.data.library_name == "transformers" and found.data.language == ["en"]
    assert found.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    ours = data in ("toy", "corpus", "start")
    assert found.data.license == ("apache-2.0" if ours else "cc-by-nc-4.0")
    assert found.data.datasets == (["AvaMERG", "EmpatheticDialogues"] if data == "avamerg" else None)
    assert ("for non-commercial use" in found.text) and (("dialogues of empatheia-jax alone" in found.text) == ours)
    of_llama = the_card(config, run, licences.KNOWN["vicuna-7b-v1.5"])
    assert of_llama.data.license == ("llama2" if ours else "cc-by-nc-4.0")
    # a base that has no name on the hub is not given as one: the hub would refuse the whole card
    assert ModelCard((made.release / "README.md").read_text()).data.base_model is None


def test_the_tables_of_the_runs_evaluation_stand_in_the_card(made, tmp_path):
    run = Run(shutil.copytree(made.run.folder, tmp_path / "run"))
    run.evaluation.mkdir()
    (run.evaluation / "tables.md").write_text("| system | accuracy |\n|---|---|\n| empatheia | 40.0 |\n")
    text = the_card(made.config, run, licences.UNKNOWN).text
    assert "| empatheia | 40.0 |" in text.partition("## Evaluation")[2].partition("## ")[0]
    assert "was not evaluated" not in text


# ---------------------------------------------------------------------------------------------------- the hub


class Hub:
    """Stands for huggingface_hub's API and notes what it is told."""

    def __init__(self):
        self.told = []

    def create_repo(self, name, **settings):
        self.told.append(("create", name, settings))

    def upload_folder(self, **settings):
        self.told.append(("upload", settings.pop("repo_id"), settings))


def test_an_upload_sends_what_has_a_checksum_and_a_dry_run_nothing(made, capsys):
    found = hub.push(made.release, "me/empatheia", dry_run=True, api=Hub())
    on_disk = {path.relative_to(made.release).as_posix() for path in made.release.rglob("*") if path.is_file()}
    assert set(found) == on_disk
    api = Hub()
    assert hub.push(made.release, "me/empatheia", api=api) == found
    assert [each[:2] for each in api.told] == [("create", "me/empatheia"), ("upload", "me/empatheia")]
    assert set(api.told[1][2]["allow_patterns"]) == on_disk and api.told[0][2]["private"]
    assert commands.main(["push", f"--input={made.release}", "--repository=me/empatheia", "--dry-run"]) == 0
    assert f"would upload {len(found)} files" in capsys.readouterr().out


def test_a_hub_that_cannot_be_reached_is_one_line(made, capsys, monkeypatch):
    monkeypatch.setattr(hub, "HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9", token=False))
    assert commands.main(["push", f"--input={made.release}", "--repository=me/empatheia"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "me/empatheia: " in line and "run the same command again, which goes on where it stopped" in line


def test_what_the_hub_refuses_is_one_line(made, capsys):
    class Refusing(Hub):
        def upload_folder(self, **settings):
            raise ValueError('Invalid metadata in README.md.\n- "base_model" is not valid.')

    with pytest.raises(
        UserError, match='me/empatheia: Invalid metadata in README.md. - "base_model" is not valid'
    ) as e:
        hub.push(made.release, "me/empatheia", api=Refusing())
    assert "\n" not in str(e.value)


def test_what_is_damaged_or_has_no_name_is_not_uploaded(copy):
    with pytest.raises(UserError, match="expected owner/name"):
        hub.push(copy, "empatheia", api=Hub())
    (copy / "model.safetensors").write_bytes(b"x")
    api = Hub()
    with pytest.raises(UserError, match="model.safetensors has another SHA-256"):
        hub.push(copy, "me/empatheia", api=api)
    assert api.told == []


def test_the_command_makes_a_run_of_a_release(made, tmp_path, capsys):
    assert commands.main(["run", f"--input={made.release}", f"--workdir={tmp_path / 'run'}"]) == 0
    assert "coe, content, style" in capsys.readouterr().out
    assert commands.main(["run", f"--input={made.base}", f"--workdir={tmp_path / 'other'}"]) == 2
    assert "of no release of ours" in capsys.readouterr().err and not (tmp_path / "other").exists()
