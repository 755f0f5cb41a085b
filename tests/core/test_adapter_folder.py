"""A run starts from a converted adapter exactly, or is told which key does not fit."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax import tiny, weights
from empatheia_jax.core import adapter_folder
from empatheia_jax.core.llama import Llama
from empatheia_jax.core.lora import LoRAConfig, add_lora
from empatheia_jax.errors import UserError

LORA = LoRAConfig(2, 4.0, ("q_proj", "v_proj"))
SIZES = tiny.CORES["debug"][1]


def network(lora: LoRAConfig = LORA, seed: int = 0) -> Llama:
    core = Llama(SIZES, rngs=nnx.Rngs(seed))
    add_lora(core, lora, rngs=nnx.Rngs(seed))
    return core


def saved(folder, kind: str, sizes=SIZES, tables: bool = False):
    """A weights folder as the converters make it, and what it holds."""
    rng, core = np.random.default_rng(1), network()
    flat = {p: rng.standard_normal(v.shape).astype("f4") for p, v in weights.flatten(core).items() if ".lora." in p}
    if tables:
        flat["embed_tokens.embedding"] = rng.standard_normal(core.embed_tokens.embedding.shape).astype("f4")
        flat["added.embedding"] = np.ones((2, 3), np.float32)
    prefix = "core." if kind == adapter_folder.BASELINE_KIND else ""
    stored = {path if path.startswith("added.") else prefix + path: value for path, value in flat.items()}
    if prefix:
        stored["projection.kernel"] = np.ones((4, 4), np.float32)
    config = {"source": "llama", "core": weights.config_to_dict(sizes), "lora": weights.config_to_dict(LORA)}
    return weights.save(folder, stored, config, kind, {}), flat


@pytest.mark.parametrize("kind", [adapter_folder.PEFT_KIND, adapter_folder.BASELINE_KIND])
@pytest.mark.parametrize("tables", [False, True])
def test_the_adapter_and_its_tables_are_put_in_place_and_the_rest_is_named(tmp_path, kind, tables):
    folder, flat = saved(tmp_path / "w", kind, tables=tables)
    core = network(seed=3)
    before = weights.flatten(core)
    left = adapter_folder.start(core, folder, LORA)
    expected = (["added.embedding"] if tables else []) + (["projection.kernel"] if kind != "lora-adapter" else [])
    assert left == expected
    for path, value in weights.flatten(core).items():
        np.testing.assert_array_equal(value, flat.get(path, before[path]), err_msg=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 3}, "lora.rank is 3, .* has 2; set --config.lora.rank=2"),
        ({"alpha": 5.0}, "lora.alpha is 5.0"),
        ({"rslora": True}, "lora.rslora is True"),
        ({"targets": ("q_proj",)}, "lora.targets .*--config.lora.targets=q_proj,v_proj"),
    ],
)
def test_an_adapter_of_another_size_is_refused_by_the_key(tmp_path, change, message):
    folder, _ = saved(tmp_path / "w", adapter_folder.PEFT_KIND)
    lora = dataclasses.replace(LORA, **change)
    with pytest.raises(UserError, match=message):
        adapter_folder.start(network(lora), folder, lora)


def test_an_adapter_of_another_model_and_a_folder_of_another_kind_are_refused(tmp_path):
    other = dataclasses.replace(SIZES, rope_theta=SIZES.rope_theta + 1)
    folder, _ = saved(tmp_path / "w", adapter_folder.PEFT_KIND, other)
    with pytest.raises(UserError, match="they differ in rope_theta"):
        adapter_folder.start(network(), folder, LORA)
    wrong = weights.save(tmp_path / "v", {"a": jnp.ones(1)}, {}, "hubert", {})
    with pytest.raises(UserError, match="networks.adapter: .* holds a 'hubert'"):
        adapter_folder.start(network(), wrong, LORA)
