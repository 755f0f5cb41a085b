"""An adapter's folder goes in and out of our layout bit for bit, for every core, under both spellings of its keys."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from converters.convert import main
from converters.registry import find_conversion
from converters.sources import open_source
from converters.tables import peft, peft_adapter
from empatheia_jax import tiny, weights
from empatheia_jax.assemble import CORES
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.lora import LoRAConfig, add_lora
from tests import adapter_folders

TARGETS = {"llama": ("q_proj", "down_proj"), "chatglm": ("query_key_value",), "t5": ("q", "v")}
SIZES = {kind: sizes for kind, sizes in tiny.CORES.values()}
SIZES["untied"] = dataclasses.replace(SIZES["llama"], tie_word_embeddings=False)


def kind_of(name):
    return "llama" if name == "untied" else name


def core(name):
    return tiny.made_up(lambda: CORES[kind_of(name)].network(SIZES[name], rngs=nnx.Rngs(0)))


@pytest.fixture(params=[(name, rows) for name in SIZES for rows in (0, 5, -5)], ids=str)
def case(request, tmp_path):
    """(name, base's weights folder, adapter's folder, adapted model, added rows; below 0: in whole tables)."""
    name, rows = request.param
    rows, whole = abs(rows), rows < 0
    kind, model = kind_of(name), core(name)
    base = weights.save(tmp_path / "base", model, SIZES[name], kind, {"source": kind})
    add_lora(model, LoRAConfig(3, 6.0, TARGETS[kind]), rngs=nnx.Rngs(1))
    random = np.random.default_rng(2)
    noisy = {k: v + 0.1 * random.standard_normal(v.shape) for k, v in weights.flatten(model).items() if ".lora." in k}
    weights.update(model, weights.flatten(model) | {k: jnp.asarray(v, jnp.float32) for k, v in noisy.items()})
    added = AddedTokens.for_model(model, rows, rngs=nnx.Rngs(2)) if rows else None
    table = find_conversion(kind).table(SIZES[name])
    folder = adapter_folders.write(tmp_path / "adapter", *peft.release(model, table, added, whole_tables=whole))
    return name, base, folder, model, added


def tensors(folder):
    source = open_source(folder)
    return {key: source.read(key) for key in source.manifest()}


def test_an_adapter_goes_in_and_out_bit_for_bit(case, tmp_path):
    name, base, folder, model, added = case
    ours = tmp_path / "ours"
    assert main(["--source=peft", f"--base={base}", f"--input={folder}", f"--output={ours}"]) == 0
    assert main(["--target=hf", f"--input={ours}", f"--output={tmp_path / 'again'}"]) == 0
    before, after = tensors(folder), tensors(tmp_path / "again")
    assert before.keys() == after.keys()
    for key in before:
        np.testing.assert_array_equal(before[key], after[key], err_msg=key)
    assert (tmp_path / "again" / "adapter_config.json").read_bytes() == (folder / "adapter_config.json").read_bytes()

    again = core(name)
    rows = peft_adapter.attach(again, ours)
    for one, other in ((model, again), (added, rows)):
        if one is None:
            assert other is None
            continue
        want, found = weights.flatten(one), weights.flatten(other)
        assert want.keys() == found.keys()
        for key in want:
            np.testing.assert_array_equal(want[key], found[key], err_msg=key)


@pytest.mark.parametrize("case", [("llama", 0)], indirect=True)
def test_keys_with_the_adapters_name_inside_are_the_same_adapter(case, tmp_path):
    from safetensors.numpy import save_file

    _, base, folder, _, _ = case
    named = {key.replace(".weight", ".default.weight"): np.ascontiguousarray(v) for key, v in tensors(folder).items()}
    (tmp_path / "named").mkdir()
    save_file(named, tmp_path / "named" / "adapter_model.safetensors")
    (tmp_path / "named" / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
    sums = []
    for source in (folder, tmp_path / "named"):
        output = tmp_path / f"ours-{source.name}"
        assert main(["--source=peft", f"--base={base}", f"--input={source}", f"--output={output}"]) == 0
        sums.append(weights.describe(output)["sha256"])
    assert sums[0] == sums[1]
    assert main(["--target=hf", f"--input={tmp_path / 'ours-named'}", f"--output={tmp_path / 'out'}"]) == 0
    assert tensors(tmp_path / "out").keys() == named.keys()


@pytest.mark.parametrize("case", [("llama", 0)], indirect=True)
@pytest.mark.parametrize(
    ("change", "flags", "says"),
    [
        ({}, [], "--base"),
        ({"use_dora": True}, ["base"], "use_dora"),
        ({"target_modules": ["lm_head"]}, ["base"], "lm_head"),
        ({"target_modules": ["q_proj"]}, ["base"], "down_proj.lora_A.weight"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(case, change, flags, says, tmp_path, capsys):
    _, base, folder, _, _ = case
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    arguments = ["--source=peft", f"--input={folder}", f"--output={tmp_path / 'ours'}"]
    assert main(arguments + [f"--base={base}" for _ in flags]) == 2
    assert says in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]
