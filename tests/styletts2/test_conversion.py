"""Released checkpoints go through the tables without a key left over, and back bit by bit."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import torch
import yaml
from flax import nnx

from converters import interpreter
from converters.convert import to_weights
from converters.parity.networks.styletts2.comparison import published_config, source_config, state_dict
from converters.registry import find_conversion
from converters.tables.styletts2 import export_keys, export_table
from converters.tables.styletts2_networks import network_table, table
from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.config import NETWORKS, DecoderConfig, StyleTTS2Config
from empatheia_jax.styletts2.model import StyleTTS2, build_network


def manifest(shared, config: str, network: str) -> dict:
    path = shared / "parity" / "styletts2" / "manifests" / config / f"{network}.json"
    return json.loads(path.read_text())


@functools.cache
def shapes(name: str) -> dict:
    """All parameters of a published configuration, without values."""
    config = published_config(name)
    return weights.flatten(weights.abstract(lambda: StyleTTS2(config, rngs=nnx.Rngs(0))))


def test_a_whole_release_fits_with_nothing_missing_or_unexpected(shared):
    config, abstract = published_config("libritts"), shapes("libritts")
    keys = {f"net.{n}.{key}": entry for n in NETWORKS for key, entry in manifest(shared, "libritts", n).items()}
    report = interpreter.check(keys, table(config), abstract)
    assert report.lines() == []
    assert report.ignored == {}

    del keys["net.predictor.module.F0_proj.bias"]
    keys["net.predictor.module.extra"] = {"shape": [3], "dtype": "float32"}
    report = interpreter.check(keys, table(config), abstract)
    assert set(report.missing) == {"net.predictor.module.F0_proj.bias"}
    assert set(report.unexpected) == {"net.predictor.module.extra"}


@pytest.mark.parametrize("name", ["libritts", "ljspeech"])
def test_what_goes_out_for_the_original_repository_has_exactly_the_published_keys_and_shapes(shared, name):
    config, abstract = published_config(name), shapes(name)
    published = {f"net.{n}.{key}": entry for n in NETWORKS for key, entry in manifest(shared, name, n).items()}
    names = export_keys(config, interpreter.export_manifest(abstract, export_table(config)))
    found = interpreter.export_manifest(abstract, export_table(config), names)
    assert {key: found[key]["shape"] for key in names} == {key: entry["shape"] for key, entry in published.items()}
    assert len(names) == len(published)


@pytest.mark.parametrize("network", ["decoder", "diffusion"])
def test_the_networks_in_which_the_single_speaker_release_differs_fit_too(shared, network):
    config = published_config("ljspeech")
    abstract = weights.flatten(weights.abstract(lambda: build_network(network, config, rngs=nnx.Rngs(0))))
    report = interpreter.check(
        manifest(shared, "ljspeech", network), network_table(network, config, "module."), abstract
    )
    assert report.lines() == []


def test_a_released_file_becomes_a_weights_folder_and_back(shared, tmp_path):
    networks = ("bert_encoder", "text_encoder")
    state = {n: state_dict(shared / "parity" / "styletts2", n, "libritts", 0) for n in networks}
    tensors = {n: {key: torch.from_numpy(a) for key, a in s.items()} for n, s in state.items()}
    release = tmp_path / "release"
    release.mkdir()
    torch.save({"net": tensors, "optimizer": {"lr": torch.zeros(3)}, "epoch": 20}, release / "epochs_2nd_00020.pth")
    (release / "config.yml").write_text(yaml.safe_dump({"model_params": source_config("libritts")}))
    conversion = find_conversion("styletts2")
    folder = to_weights(conversion, release, tmp_path / "weights")
    kind, config, flat = weights.load(folder)
    assert kind == "styletts2"
    assert config["networks"] == ["bert_encoder", "text_encoder"] == sorted(config["networks"])
    back = dict(interpreter.export(flat, table(weights.config_from_dict(StyleTTS2Config, config))))
    for name, s in state.items():
        for key, tensor in s.items():
            np.testing.assert_array_equal(back[f"net.{name}.{key}"], tensor)


@pytest.mark.parametrize("network", ["text_encoder", "diffusion", "pitch_extractor", "msd", "style_encoder"])
def test_networks_go_there_and_back_bit_by_bit(shared, network):
    config = published_config("libritts")
    tensors = state_dict(shared / "parity" / "styletts2", network, "libritts", 0)
    abstract = weights.flatten(
        weights.abstract(
            lambda: build_network(network, config, rngs=nnx.Rngs(0), dtype=np.float32, param_dtype=np.float32)
        )
    )
    rows = network_table(network, config, "module.", "")
    back = dict(interpreter.export(interpreter.load(tensors, rows, abstract), rows, tensors.keys()))
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert back[key].shape == tensor.shape, key
        assert back[key].tobytes() == np.ascontiguousarray(tensor).tobytes(), key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "vocos"}, "'vocos' is not implemented"),
        ({"upsample_rates": [10, 5]}, "250 samples of a half frame"),
        ({"gen_istft_n_fft": None}, "exactly if its type is istftnet"),
        ({"snake_beta": True}, "snake_beta"),
    ],
)
def test_a_decoder_that_is_not_implemented_is_refused(change, message):
    source = {
        "type": "istftnet",
        "upsample_rates": [10, 6],
        "upsample_kernel_sizes": [20, 12],
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "upsample_initial_channel": 512,
        "gen_istft_n_fft": 20,
        "gen_istft_hop_size": 5,
    }
    DecoderConfig.from_source(source)
    with pytest.raises(UserError, match=message):
        DecoderConfig.from_source(source | change)
