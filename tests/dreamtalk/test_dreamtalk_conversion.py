"""DreamTalk's released files fit their tables exactly, both ways; what does not fit is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from flax import nnx

from converters import interpreter
from converters.parity.seeded import seeded_state_dict
from converters.tables import dreamtalk as tables
from empatheia_jax import weights
from empatheia_jax.dreamtalk import released
from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.perceptual import Vgg19
from empatheia_jax.dreamtalk.renderer import Renderer

NETWORKS = {
    "denoiser": (Denoiser, released.DENOISER, tables.denoiser),
    "renderer": (Renderer, released.RENDERER, tables.renderer),
}


def abstract(network: str) -> dict:
    model, config, _ = NETWORKS[network]
    return weights.flatten(weights.abstract(lambda: model(config, rngs=nnx.Rngs(0))))


def test_the_released_sizes_are_those_of_the_published_configuration(shared):
    config = json.loads((shared / "parity" / "dreamtalk" / "config.json").read_text())
    assert DenoiserConfig.from_source(config) == released.DENOISER
    assert RendererConfig.from_source(config["renderer"]) == released.RENDERER


@pytest.mark.parametrize("network", NETWORKS)
def test_a_manifest_fits_and_comes_back_bit_for_bit(shared, network):
    folder = shared / "parity" / "dreamtalk"
    manifest = json.loads((folder / f"{network}.manifest.json").read_text())
    state = seeded_state_dict(manifest)
    if network == "denoiser":
        state |= dict(np.load(folder / "denoiser_buffers.npz"))
    table = NETWORKS[network][2](NETWORKS[network][1])
    flat = interpreter.load(state, table, abstract(network))
    back = dict(interpreter.export(flat, table, list(manifest)))
    assert set(back) == set(state)
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)


@pytest.mark.parametrize("network", NETWORKS)
def test_missing_unknown_and_misshapen_tensors_are_all_named(shared, network):
    manifest = json.loads((shared / "parity" / "dreamtalk" / f"{network}.manifest.json").read_text())
    lost, bent = list(manifest)[5], list(manifest)[7]
    del manifest[lost]
    manifest[bent] = {"shape": [3, 3], "dtype": "float32"}
    manifest["stranger.weight"] = {"shape": [3], "dtype": "float32"}
    table = NETWORKS[network][2](NETWORKS[network][1])
    report = interpreter.check(manifest, table, abstract(network))
    assert set(report.missing) == {lost} and set(report.unexpected) == {"stranger.weight"}
    assert set(report.misshapen) == {bent}


def test_the_picture_network_takes_what_it_needs_of_vgg19():
    flat = weights.flatten(weights.abstract(lambda: Vgg19(rngs=nnx.Rngs(0))))
    widths, manifest, place, before = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), {}, 0, 3
    for count, width in widths:
        for _ in range(count):
            manifest[f"features.{place}.weight"] = {"shape": [width, before, 3, 3], "dtype": "float32"}
            manifest[f"features.{place}.bias"] = {"shape": [width], "dtype": "float32"}
            place, before = place + 2, width
        place += 1
    manifest["classifier.0.weight"] = {"shape": [4096, 25088], "dtype": "float32"}
    report = interpreter.check(manifest, tables.vgg19(), flat)
    assert report.ok and len(report.ignored) == 7, report.lines()
