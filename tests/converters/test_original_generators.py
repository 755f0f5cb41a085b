"""StyleTTS2 and DreamTalk go out in the files that their original repositories load, with exactly their keys and shapes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml
from flax import nnx

from converters import convert, inspect, interpreter
from converters.interpreter import export, export_manifest
from converters.registry import find_conversion
from converters.release import generators
from converters.tables import dreamtalk, styletts2, styletts2_networks
from empatheia_jax import tiny, weights
from empatheia_jax.dreamtalk import released
from empatheia_jax.dreamtalk.model import KIND, DreamTalkConfig
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.model import KIND as VOICE
from empatheia_jax.styletts2.model import StyleTTS2


def seeded(abstract):
    """Numbers of the right shapes and types, quickly made."""
    random = np.random.default_rng(0)
    return {
        path: weights.Lazy(tuple(leaf.shape), np.dtype(leaf.dtype), lambda leaf=leaf: draw(random, leaf))
        for path, leaf in abstract.items()
    }


def draw(random, leaf):
    if np.dtype(leaf.dtype).kind != "f":
        return np.zeros(leaf.shape, leaf.dtype)
    return random.standard_normal(leaf.shape, np.float32).astype(leaf.dtype)


def test_a_trained_styletts2_is_a_file_that_torch_loads_without_trusting_it_and_comes_back(tmp_path):
    model = tiny.made_up(lambda: StyleTTS2(tiny.STYLE_TTS2, rngs=nnx.Rngs(0)))
    folder = weights.save(tmp_path / "w", model, tiny.STYLE_TTS2, VOICE, {"trained_by": "us"})
    out = generators.write(folder, tmp_path / "out")
    state = torch.load(out / styletts2.RELEASE_FILE, weights_only=True)
    assert set(state) == {"net"} and set(state["net"]) == set(tiny.STYLE_TTS2.networks)
    assert all(key.startswith("module.") for network in state["net"].values() for key in network)
    # Our kernels are folded; the original's modules keep weight norm in two parts.
    decoder = state["net"]["decoder"]
    v, g = decoder["module.generator.conv_post.weight_v"], decoder["module.generator.conv_post.weight_g"]
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(v.shape[1], v.shape[0], v.shape[2]))
    layer.parametrizations.weight.original0.data, layer.parametrizations.weight.original1.data = g, v
    kernel = model.decoder.generator.conv_post.kernel[...]
    np.testing.assert_allclose(layer.weight.detach().numpy(), np.transpose(kernel, (2, 1, 0)), rtol=1e-6)
    assert yaml.safe_load((out / "config.yml").read_text())["model_params"]["decoder"]["gen_istft_hop_size"] == 5


def test_kokoros_weights_go_out_with_the_keys_that_are_known_of_them(shared, tmp_path):
    known = json.loads((shared / "parity" / "kokoro" / "kokoro_f32.manifest.json").read_text())
    config = find_conversion("kokoro").config(tmp_path, None)
    abstract = find_conversion("kokoro").abstract(config)
    manifest = export_manifest(abstract, styletts2.export_table(config))
    found = {}
    for key in styletts2.export_keys(config, manifest):
        plain = key.removeprefix("net.").replace(".module.", ".", 1)
        if not plain.endswith(".weight_g"):
            found[plain.replace(".weight_v", ".weight")] = tuple(manifest[key]["shape"])
    assert found == {key: tuple(entry["shape"]) for key, entry in known.items()}
    # and are read back as what they are, with the configuration that goes out beside them
    written = {key: manifest[key] for key in styletts2.export_keys(config, manifest)}
    for name, content in styletts2.export_files(config).items():
        (tmp_path / name).write_bytes(content)
    back = find_conversion("styletts2").config(tmp_path, written)
    report = interpreter.check(written, styletts2_networks.table(back), find_conversion("styletts2").abstract(back))
    assert report.ok, report.lines()


FILES = {"denoiser": ("denoising_network.pth", "model_state_dict"), "renderer": ("renderer.pt", "net_G_ema")}


def test_the_keys_and_shapes_of_dreamtalks_files_are_the_published_ones(shared):
    config = DreamTalkConfig(None, released.DENOISER, released.RENDERER, released.STILL_POSE)
    conversion = find_conversion("dreamtalk")
    manifest = export_manifest(conversion.abstract(config), dreamtalk.whole(config))
    files = convert.files_of(conversion, manifest)
    assert set(files) == {file for file, _ in FILES.values()}
    for part, (file, root) in FILES.items():
        known = json.loads((shared / "parity" / "dreamtalk" / f"{part}.manifest.json").read_text())
        found = {place: (manifest[key]["shape"], manifest[key]["dtype"]) for key, place in files[file].items()}
        assert found == {(root, key): (entry["shape"], entry["dtype"]) for key, entry in known.items()}


def test_dreamtalks_files_are_read_without_trust_and_hold_every_bit(tmp_path):
    flat = seeded(find_conversion("dreamtalk").abstract(tiny.DREAMTALK))
    folder = weights.save(tmp_path / "w", flat, tiny.DREAMTALK, KIND, {"trained_by": "us"})
    out = generators.write(folder, tmp_path / "out")
    _, _, ours = weights.load(folder)
    expected = dict(export(ours, dreamtalk.whole(tiny.DREAMTALK)))
    for part, (file, root) in FILES.items():
        state = torch.load(out / file, weights_only=True)
        assert list(state) == [root]
        assert {f"{part}/{key}" for key in state[root]} == {key for key in expected if key.startswith(f"{part}/")}
        for key, value in state[root].items():
            np.testing.assert_array_equal(value.numpy(), expected[f"{part}/{key}"], err_msg=key)


SPEECH = dataclasses.replace(tiny.DREAMTALK.denoiser, audio_feature_dim=tiny.HUBERT.width)
EXPORTS = {
    "a whole face": (dataclasses.replace(tiny.DREAMTALK, speech=tiny.HUBERT, denoiser=SPEECH), KIND),
    "a denoiser": (tiny.DREAMTALK.denoiser, "dreamtalk-denoiser"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_exported_face_of_any_size_is_recognized_fits_and_comes_back_bit_by_bit(name, tmp_path, capsys):
    config, kind = EXPORTS[name]
    flat = seeded(find_conversion(kind).abstract(config))
    folder = weights.save(tmp_path / "w", flat, config, kind, {"trained_by": "us"})
    out = generators.write(folder, tmp_path / "out")
    assert inspect.main([str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{out}: {kind}, " in said and "fits exactly" in said and f"config: {type(config).__name__}(" in said
    assert convert.main([f"--input={out}", f"--output={tmp_path / 'back'}"]) == 0
    _, back_config, back = weights.load(tmp_path / "back")
    assert weights.config_from_dict(type(config), back_config) == config
    for path, value in weights.load(folder)[2].items():
        np.testing.assert_array_equal(back[path], value, err_msg=path)


def test_an_exported_voice_says_the_sizes_of_its_pl_bert_and_keeps_its_voices(tmp_path, capsys):
    flat = seeded(find_conversion("styletts2").abstract(tiny.STYLE_TTS2))
    files = {"voices.npz": b"voices", "vocab.json": b"{}"}
    out = generators.write(weights.save(tmp_path / "w", flat, tiny.STYLE_TTS2, VOICE, {}, files), tmp_path / "out")
    assert inspect.main([str(out)]) == 0
    assert f"embedding_size={tiny.STYLE_TTS2.bert.embedding_size}" in capsys.readouterr().out
    back = convert.to_weights(find_conversion("styletts2"), out, tmp_path / "back")
    assert {name: (back / name).read_bytes() for name in files} == files


def test_an_exported_face_and_each_of_its_files_are_inspected_with_the_sizes_that_stand_beside_them(tmp_path, capsys):
    flat = seeded(find_conversion("dreamtalk").abstract(tiny.DREAMTALK))
    out = generators.write(weights.save(tmp_path / "w", flat, tiny.DREAMTALK, KIND, {}), tmp_path / "out")
    for path, name in {
        out: "dreamtalk",
        **{out / file: f"dreamtalk-{part}" for part, (file, _) in FILES.items()},
    }.items():
        assert inspect.main([str(path)]) == 0
        assert f"{path}: {name}, " in capsys.readouterr().out
    (out / "config.json").write_text('{"model_type": "dreamtalk", "denoiser": 5}')
    assert inspect.main([str(out)]) == 2
    assert "DreamTalkConfig: unknown fields [], missing fields" in capsys.readouterr().err
    (out / "config.json").unlink()  # what is not said is expected as it was published
    assert inspect.main([str(out / "renderer.pt")]) == 1
    assert "misshapen" in capsys.readouterr().out


def test_one_network_that_was_trained_here_goes_out_alone_and_other_weights_are_refused(tmp_path):
    denoiser = tiny.DREAMTALK.denoiser
    flat = seeded(find_conversion("dreamtalk-denoiser").abstract(denoiser))
    folder = weights.save(tmp_path / "w", flat, denoiser, "dreamtalk-denoiser", {"trained_by": "dreamtalk_denoiser"})
    out = generators.write(folder, tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "denoising_network.pth"]
    other = weights.save(tmp_path / "v", {"a": np.ones(1)}, {}, "hubert", {})
    with pytest.raises(UserError, match="holds a 'hubert'; expected a generator"):
        generators.write(other, tmp_path / "no")


def test_a_wide_content_drives_the_bert_branch_of_the_original_too():
    """C^s with the second head of U7 takes both places in yl4579/StyleTTS2; one of 512 channels leaves the prosody as it is."""
    from converters.release.package.generators_empatheia import drive_styletts2

    class TextEncoder(torch.nn.Module):
        def forward(self, tokens):
            return torch.zeros(len(tokens), 512, tokens.shape[1])

    model = {"text_encoder": TextEncoder(), "bert_encoder": torch.nn.Linear(768, 512)}
    tokens, states = torch.zeros(1, 5, dtype=torch.long), torch.randn(1, 5, 768)
    content = torch.randn(1, 5, 1024)
    own = model["bert_encoder"](states)
    with drive_styletts2(model, content, share=0.25):
        torch.testing.assert_close(model["text_encoder"](tokens), 0.25 * content[..., :512].transpose(1, 2))
        torch.testing.assert_close(model["bert_encoder"](states), 0.25 * content[..., 512:] + 0.75 * own)
    with drive_styletts2(model, content[..., :512]):
        torch.testing.assert_close(model["text_encoder"](tokens), content[..., :512].transpose(1, 2))
        torch.testing.assert_close(model["bert_encoder"](states), own)
    torch.testing.assert_close(model["bert_encoder"](states), own)
    with drive_styletts2(model, content[..., :700]), pytest.raises(ValueError, match="the bridge gives"):
        model["text_encoder"](tokens)
