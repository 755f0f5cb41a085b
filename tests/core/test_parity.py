"""The reference vectors of all language models, and the key lists of their full-size releases."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from flax import nnx

from converters import interpreter
from converters.parity.run import run_all
from converters.parity.seeded import seeded_state_dict
from converters.registry import find_conversion
from converters.tables import chatglm, llama, t5
from empatheia_jax import weights
from empatheia_jax.core.chatglm import ChatGLM, ChatGLMConfig
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.core.t5 import T5, T5Config

SETS = {"llama_gqa": 7, "lora_llama_newtokens": 22, "chatglm3": 7, "t5_gated": 7}


@pytest.mark.parametrize("name", SETS)
def test_every_array_is_within_its_bound_in_float32(shared, tmp_path, name):
    wanted = [name, "llama_mha"] if name.startswith("lora") else [name]
    for each in wanted:
        for path in (shared / "parity" / "backbones").glob(f"{each}.*"):
            shutil.copy(path, tmp_path)
    results = list(run_all([tmp_path], 0, False))
    assert len(results) >= SETS[name]
    assert [f"{r.file} {r.array} {r.max_abs}" for r in results if not r.passed] == []


FULL = {
    "vicuna-7b-v1.5": ("llama", LlamaConfig, 6_738_415_616, 291),
    "flan-t5-xxl": ("t5", T5Config, 11_135_332_352, 558),
    "chatglm3-6b": ("chatglm", ChatGLMConfig, 6_243_584_000, 199),
}


@pytest.mark.parametrize("name", FULL)
def test_a_full_size_release_maps_without_a_missing_or_unexpected_key_and_without_memory(shared, name):
    source, config_class, elements, tensors = FULL[name]
    folder = shared / "parity" / "backbones" / "full"
    manifest = json.loads((folder / f"{name}.manifest.json").read_text())
    config = config_class.from_source(json.loads((folder / f"{name}.config.json").read_text()))
    conversion = find_conversion(source)
    abstract = conversion.abstract(config)
    report = interpreter.check(manifest, conversion.table(config), abstract)
    assert report.ok, report
    floats = [e for e in manifest.values() if e["dtype"].startswith(("float", "bfloat"))]
    assert (sum(int(np.prod(e["shape"])) for e in floats), len(manifest)) == (elements, tensors)
    ours = sum(int(np.prod(leaf.shape)) for leaf in abstract.values())
    ignored = sum(int(np.prod(manifest[key]["shape"])) for key in report.ignored)
    assert ours + ignored == elements - _twins(name, manifest)


def _twins(name: str, manifest: dict) -> int:
    """Elements of tensors that repeat another one."""
    keys = [k for k in manifest if name.startswith("flan") and k.endswith("embed_tokens.weight")]
    return sum(int(np.prod(manifest[k]["shape"])) for k in keys)


@pytest.mark.parametrize(
    ("name", "network", "config_class", "table"),
    [
        ("llama_gqa", Llama, LlamaConfig, llama.hf_table),
        ("chatglm3", ChatGLM, ChatGLMConfig, chatglm.table),
        ("t5_gated", T5, T5Config, t5.table),
    ],
)
def test_in_and_out_again_is_bit_identical(shared, name, network, config_class, table):
    folder = shared / "parity" / "backbones"
    manifest = json.loads((folder / f"{name}.manifest.json").read_text())
    config = config_class.from_source(json.loads((folder / f"{name}.config.json").read_text()))
    state = seeded_state_dict(manifest, 7)
    if name == "t5_gated":  # copies of the shared table, where a release lists them
        for key in [k for k in state if k.endswith("embed_tokens.weight")]:
            state[key] = state["shared.weight"]
    abstract = weights.flatten(weights.abstract(lambda: network(config, rngs=nnx.Rngs(0))))
    flat = interpreter.load(state, table(config), abstract)
    ignored = interpreter.check(manifest, table(config), abstract).ignored
    again = dict(interpreter.export(flat, table(config), [k for k in manifest if k not in ignored]))
    assert again.keys() | set(ignored) == manifest.keys()
    for key, array in again.items():
        np.testing.assert_array_equal(array, state[key])
