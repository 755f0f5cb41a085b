"""The released encoders' key lists fit our full-size models exactly, and a checkpoint survives the way in and out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from flax import nnx

from converters import convert, interpreter
from converters.formats.safetensors_writer import write_safetensors
from converters.parity import __main__ as parity
from converters.parity.networks.wav2vec2 import config_of
from converters.parity.seeded import seeded_state_dict
from converters.registry import find_conversion
from converters.sources import open_source
from converters.tables.hubert import table as speech_table
from empatheia_jax import weights
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from empatheia_jax.errors import UserError

FULL = {
    "hubert-base-ls960": ("hubert", 94_371_712),
    "hubert-large-ls960-ft": ("hubert", 315_471_520),
    "clip-vit-large-patch14-336.vision": ("clip-vision", 303_507_456),
    "plbert-albert": ("albert", 6_292_480),
}


def count(abstract) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in abstract.values())


@pytest.mark.parametrize("name", FULL)
def test_full_size_keys_fit_without_allocating(shared, name):
    folder = shared / "parity" / "backbones" / "full"
    manifest = json.loads((folder / f"{name}.manifest.json").read_text())
    source = FULL[name][0]
    conversion = find_conversion(source)
    config_class = conversion.config_class
    config = config_class.from_source(json.loads((folder / f"{name}.config.json").read_text()))
    abstract = conversion.abstract(config)
    report = interpreter.check(manifest, conversion.table(config), abstract)
    assert report.ok and not report.ignored, report.lines()
    assert count(abstract) == FULL[name][1]
    assert set(interpreter.export_manifest(abstract, conversion.table(config), manifest)) == set(manifest)


def test_full_size_xlsr53_keys_fit_without_allocating(shared):
    folder = shared / "parity" / "dreamtalk"
    manifest = json.loads((folder / "wav2vec2_xlsr53.manifest.json").read_text())
    fields = json.loads((folder / "config.json").read_text())["wav2vec2_xlsr53"]
    del fields["input"]
    for architecture in ("Wav2Vec2ForCTC", "Wav2Vec2Model"):
        config = Wav2Vec2Config.from_source(fields | {"model_type": "wav2vec2", "architectures": [architecture]})
        abstract = find_conversion("wav2vec2").abstract(config)
        keys = {k: v for k, v in manifest.items() if "lm_head" not in k}
        if architecture == "Wav2Vec2ForCTC":
            keys |= {"lm_head.weight": {"shape": [33, 1024]}, "lm_head.bias": {"shape": [33]}}
        report = interpreter.check(keys, speech_table(config), abstract)
        assert report.ok and not report.ignored, report.lines()


def released(shared, folder, name: str, **changes):
    """A small release, as a user would download it."""
    vectors = shared / "parity" / "backbones"
    manifest = json.loads((vectors / f"{name}.manifest.json").read_text())
    config = json.loads((vectors / f"{name}.config.json").read_text()) | changes
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text("{}")
    state = seeded_state_dict(manifest, 0)
    return state, manifest, folder


def write(folder, state, **options):
    manifest = {k: {"shape": list(v.shape), "dtype": v.dtype.name} for k, v in state.items()}
    write_safetensors(folder, state.items(), manifest, **options)


@pytest.mark.parametrize("name", ["hubert_group", "hubert_layer", "clip_vision", "albert_plbert"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_in_and_out_is_bit_identical(shared, tmp_path, name, dtype):
    state, _, folder = released(shared, tmp_path / "release", name)
    state = {k: v.astype(dtype) for k, v in state.items()}
    write(folder, state, shard_bytes=20_000)
    assert convert.main([f"--input={folder}", f"--output={tmp_path / 'w'}"]) == 0
    weights.verify(tmp_path / "w")
    assert (tmp_path / "w" / "preprocessor_config.json").exists()
    assert (
        convert.main(["--target=hf", f"--input={tmp_path / 'w'}", f"--output={tmp_path / 'back'}", "--shard-gb=5e-5"])
        == 0
    )
    back = open_source(tmp_path / "back")
    assert set(back.keys()) == set(state)
    for key, value in state.items():
        assert back.read(key).tobytes() == value.tobytes() and back.manifest()[key]["dtype"] == dtype
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads(
        (folder / "config.json").read_text()
    )


@pytest.mark.parametrize("name", ["wav2vec2_small", "wav2vec2_small_newkeys"])
def test_both_spellings_of_wav2vec2_come_out_as_they_went_in(shared, name):
    folder = shared / "parity" / "dreamtalk"
    manifest = json.loads((folder / f"{name}.manifest.json").read_text())
    config = config_of(folder, name, manifest)
    state = seeded_state_dict(manifest, 3)
    abstract = weights.flatten(weights.abstract(lambda: Wav2Vec2(config, rngs=nnx.Rngs(0))))
    flat = interpreter.load(state, speech_table(config), abstract)
    ignored = interpreter.check(manifest, speech_table(config), abstract).ignored
    back = dict(interpreter.export(flat, speech_table(config), [key for key in manifest if key not in ignored]))
    assert back.keys() | set(ignored) == manifest.keys()
    assert all(array.tobytes() == state[key].tobytes() for key, array in back.items())


def test_an_export_loads_in_transformers(shared, tmp_path):
    import torch
    import transformers

    state, _, folder = released(shared, tmp_path / "release", "hubert_layer")
    write(folder, state)
    convert.main([f"--input={folder}", f"--output={tmp_path / 'w'}"])
    convert.main(["--target=hf", f"--input={tmp_path / 'w'}", f"--output={tmp_path / 'back'}"])
    model, info = transformers.HubertForCTC.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    theirs = model.state_dict()["lm_head.weight"]
    assert torch.equal(theirs, torch.tensor(state["lm_head.weight"]))


def test_a_float32_release_can_be_kept_in_bfloat16(shared, tmp_path):
    state, _, folder = released(shared, tmp_path / "release", "albert_plbert")
    write(folder, state)
    assert convert.main([f"--input={folder}", f"--output={tmp_path / 'w'}", "--dtype=bfloat16"]) == 0
    _, _, flat = weights.load(tmp_path / "w")
    assert {v.dtype.name for v in flat.values()} == {"bfloat16"}


def test_plberts_own_file_is_read(shared, tmp_path):
    import torch

    state, _, folder = released(shared, tmp_path / "release", "albert_plbert")
    net = {f"module.encoder.{k}": torch.tensor(v) for k, v in state.items()}
    net["module.encoder.embeddings.position_ids"] = torch.arange(64)[None]
    net["module.mask_predictor.weight"] = torch.zeros(3, 48)
    torch.save({"net": net, "epoch": 1}, folder / "step_1000000.pt")
    assert convert.main(["--source=albert", f"--input={folder / 'step_1000000.pt'}", f"--output={tmp_path / 'w'}"]) == 0
    ignored = weights.describe(tmp_path / "w")["provenance"]["ignored"]
    assert ignored == {
        "net.module.encoder.embeddings.position_ids": "a counting buffer",
        "net.module.mask_predictor.weight": "a head of PL-BERT's training",
    }


def spoil_drop(state, folder):
    del state["hubert.encoder.layers.1.final_layer_norm.bias"]
    write(folder, state)
    return "missing: hubert.encoder.layers.1.final_layer_norm.bias: expected (48,)"


def spoil_add(state, folder):
    write(folder, state | {"hubert.encoder.gate": np.zeros(3, np.float32)})
    return "unexpected: hubert.encoder.gate: (3,); no row of the table knows it"


def spoil_transpose(state, folder):
    key = "hubert.encoder.layers.2.feed_forward.output_dense.weight"
    write(folder, state | {key: state[key].T})
    return f"misshapen: {key}: found (96, 48), expected (48, 96)"


def spoil_truncate(state, folder):
    write(folder, state, shard_bytes=50_000)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    return "is cut short"


def spoil_config(state, folder):
    write(folder, state)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    return "missing: hubert.encoder.layers.3.attention.q_proj.weight"


def spoil_unknown_field(state, folder):
    write(folder, state)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_scaling": {"type": "spiral"}}))
    return "rope_scaling = {'type': 'spiral'} is not known here"


def spoil_pickle(state, folder):
    import torch

    torch.save({k: torch.tensor(v) for k, v in state.items()} | {"x": print}, folder / "pytorch_model.bin")
    return "builtin__.print, which is no part of a tensor file"


@pytest.mark.parametrize(
    "spoil",
    [spoil_drop, spoil_add, spoil_transpose, spoil_truncate, spoil_config, spoil_unknown_field, spoil_pickle],
    ids=lambda f: f.__name__,
)
def test_what_does_not_fit_is_refused_with_its_key_and_leaves_nothing(shared, tmp_path, capsys, spoil):
    state, _, folder = released(shared, tmp_path / "release", "hubert_layer")
    message = spoil(state, folder)
    assert convert.main(["--source=hubert", f"--input={folder}", f"--output={tmp_path / 'out' / 'w'}"]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_an_error_while_writing_leaves_nothing(tmp_path):
    def fail():
        raise UserError("the disk of the source went away")

    leaf = weights.Lazy((2,), np.dtype(np.float32), fail)
    with pytest.raises(UserError, match="went away"):
        weights.save(tmp_path / "w", {"a": np.ones(3, np.float32), "b": leaf}, {}, "x", {})
    assert not any(tmp_path.iterdir())


def test_an_unknown_source_lists_the_known_ones(tmp_path, capsys):
    assert convert.main(["--source=hubart", f"--input={tmp_path}", f"--output={tmp_path / 'w'}"]) == 2
    assert "hubert: HuBERT base and large" in capsys.readouterr().err


def test_an_existing_output_is_kept_unless_overwriting_is_asked_for(shared, tmp_path, capsys):
    state, _, folder = released(shared, tmp_path / "release", "albert_plbert")
    write(folder, state)
    arguments = [f"--input={folder}", f"--output={tmp_path / 'w'}"]
    assert convert.main(arguments) == 0
    before = weights.describe(tmp_path / "w")["sha256"]
    assert convert.main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert convert.main([*arguments, "--overwrite", "--dtype=float16"]) == 0
    assert weights.describe(tmp_path / "w")["sha256"] != before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_stored_vectors(shared, tmp_path, capsys):
    for name in ("hubert_group", "hubert_layer", "clip_vision", "albert_plbert"):
        for kind in ("config.json", "manifest.json", "npz"):
            (tmp_path / f"{name}.{kind}").symlink_to(shared / "parity" / "backbones" / f"{name}.{kind}")
    assert parity.main([str(tmp_path)]) == 0, capsys.readouterr().out
    assert "26 of 26 arrays" in capsys.readouterr().out


def test_stored_vectors_of_dreamtalks_wav2vec2(shared, tmp_path, capsys):
    for path in (shared / "parity" / "dreamtalk").glob("wav2vec2_small*"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "config.json").symlink_to(shared / "parity" / "dreamtalk" / "config.json")
    assert parity.main(["--float64", str(tmp_path)]) == 0, capsys.readouterr().out
