"""Adapters cross over to the real `peft` and back; nothing is lost silently."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
from flax import nnx

from converters import interpreter
from converters.interpreter import ConversionError
from converters.tables import peft as tables
from converters.tables.llama import hf_table
from empatheia_jax import tiny, weights
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.core.lora import LoRAConfig, adapters, add_lora
from empatheia_jax.errors import UserError
from tests import adapter_folders
from tests.core.test_llama import SOURCE
from tests.core.test_lora import scramble

CONFIG = LlamaConfig.from_source(SOURCE)
TIED = dataclasses.replace(CONFIG, tie_word_embeddings=True)


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(0, 61, (2, 9))


@functools.cache
def parts(config):
    return nnx.split(tiny.made_up(lambda: Llama(config, rngs=nnx.Rngs(0))))


def jax_model(config=CONFIG):
    """A module of its own at every call, with the same weights."""
    return nnx.merge(*parts(config))


def torch_model(model):
    """The same weights in `transformers`."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    source = SOURCE | {"tie_word_embeddings": model.config.tie_word_embeddings}
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**source)).eval()
    flat = {k: v for k, v in weights.flatten(model).items() if ".lora." not in k}
    state = {k: torch.from_numpy(np.array(v)) for k, v in interpreter.export(flat, hf_table(model.config))}
    theirs.load_state_dict(state, strict=False)
    return theirs


@nnx.jit
def our_logits(model, added, ids):
    if added is None:
        return model.logits(model(model.embed(ids)).hidden)
    return added.logits(model, model(added.embed(model, ids)).hidden)


def their_logits(theirs, ids):
    import torch

    with torch.no_grad():
        return theirs(torch.from_numpy(ids)).logits.numpy()


def trained(config=CONFIG, **settings):
    model = jax_model(config)
    settings = {"rank": 4, "alpha": 8, "targets": ("q_proj", "v_proj", "down_proj")} | settings
    add_lora(model, LoRAConfig(**settings), rngs=nnx.Rngs(1))
    scramble(model, "default", 1)
    return model


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_of_ours_loads_in_peft_and_gives_our_logits(tmp_path, ids, rslora):
    peft = pytest.importorskip("peft")
    model = trained(rslora=rslora)
    folder = adapter_folders.write(tmp_path / "adapter", *tables.release(model, hf_table(CONFIG)))
    theirs = peft.PeftModel.from_pretrained(torch_model(model), folder)
    np.testing.assert_allclose(our_logits(model, None, ids), their_logits(theirs, ids), atol=1e-4)
    assert np.abs(our_logits(model, None, ids) - our_logits(jax_model(), None, ids)).max() > 1e-2


@pytest.mark.parametrize("whole", [False, True], ids=["tokens", "whole tables"])
@pytest.mark.parametrize("config", [CONFIG, TIED], ids=["untied", "tied"])
def test_added_rows_of_ours_load_in_peft_and_give_our_logits(tmp_path, ids, config, whole):
    peft = pytest.importorskip("peft")
    model = trained(config)
    added = AddedTokens.for_model(model, 5, rngs=nnx.Rngs(2))
    config, tensors = tables.release(model, hf_table(config), added, whole_tables=whole)
    assert bool(config["modules_to_save"]) == whole != bool(config["trainable_token_indices"])
    folder = adapter_folders.write(tmp_path / "adapter", config, tensors)
    base = torch_model(model)
    base.resize_token_embeddings(66)
    theirs = peft.PeftModel.from_pretrained(base, folder)
    ids[:, 4] = 63
    np.testing.assert_allclose(our_logits(model, added, ids), their_logits(theirs, ids), atol=1e-4)


def test_an_adapter_of_peft_loads_here_from_its_file_and_from_a_live_model(tmp_path, ids):
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    torch.manual_seed(0)
    base = torch_model(jax_model())
    base.resize_token_embeddings(66)
    settings = peft.LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules=["q_proj", "o_proj", "up_proj"],
        modules_to_save=["embed_tokens", "lm_head"],
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    theirs = peft.get_peft_model(base, settings).eval()
    theirs.save_pretrained(tmp_path)
    ids[:, 4] = 63
    expected = their_logits(theirs, ids)
    model = jax_model()
    config, source = tables.read_folder(tmp_path)
    added = tables.attach(model, hf_table(CONFIG), config, source)
    np.testing.assert_allclose(our_logits(model, added, ids), expected, atol=1e-4)

    live = {k: v.numpy() for k, v in theirs.state_dict().items() if "lora_" in k or "modules_to_save" in k}
    again = jax_model()
    added = tables.attach(again, hf_table(CONFIG), config, live, name="mine")
    np.testing.assert_allclose(our_logits(again, added, ids), expected, atol=1e-4)
    assert {name for _, _, name, _ in adapters(again)} == {"mine"}


def test_trained_tokens_of_peft_load_here_from_its_file_and_from_a_live_model(tmp_path, ids):
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    torch.manual_seed(0)
    base = torch_model(jax_model())
    base.resize_token_embeddings(66)
    rows = list(range(61, 66))
    settings = peft.LoraConfig(
        r=4,
        target_modules=["q_proj"],
        trainable_token_indices={"embed_tokens": rows, "lm_head": rows},
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    theirs = peft.get_peft_model(base, settings).eval()
    theirs.save_pretrained(tmp_path)
    ids[:, 4] = 63
    expected = their_logits(theirs, ids)
    config, source = tables.read_folder(tmp_path)
    kept = {k: v.numpy() for k, v in theirs.state_dict().items() if "lora_" in k or "tokens_delta" in k}
    for given, name in ((source, "default"), (kept, "mine")):
        model = jax_model()
        added = tables.attach(model, hf_table(CONFIG), config, given, name=name)
        np.testing.assert_allclose(our_logits(model, added, ids), expected, atol=1e-4)


@pytest.mark.parametrize("whole", [False, True], ids=["tokens", "whole tables"])
def test_out_and_in_again_is_bit_identical(whole):
    model = trained()
    added = AddedTokens.for_model(model, 5, rngs=nnx.Rngs(2))
    config, tensors = tables.release(model, hf_table(CONFIG), added, whole_tables=whole)
    again = jax_model()
    rows = tables.attach(again, hf_table(CONFIG), json.loads(json.dumps(config)), tensors)
    for one, other in ((model, again), (added, rows)):
        before, after = weights.flatten(one), weights.flatten(other)
        assert before.keys() == after.keys()
        for key in before:
            np.testing.assert_array_equal(before[key], after[key])


@pytest.mark.parametrize("damage", ["drop", "add", "transpose"])
def test_a_damaged_adapter_is_refused_by_key_and_leaves_the_model_as_it_was(damage):
    config, tensors = tables.release(trained(), hf_table(CONFIG))
    key = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"
    if damage == "drop":
        del tensors[key]
    elif damage == "add":
        key = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"
        tensors[key] = np.zeros((4, 32), np.float32)
    else:
        tensors[key] = tensors[key].T
    model = jax_model()
    before = weights.flatten(model)
    with pytest.raises(ConversionError, match=key.replace(".", r"\.")):
        tables.attach(model, hf_table(CONFIG), config, tensors)
    after = weights.flatten(model)
    assert before.keys() == after.keys() and all(before[k] is after[k] for k in before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"bias": "all"}, "bias"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"target_modules": ".*q_proj"}, "pattern"),
        ({"target_modules": ["query_key_value"]}, "query_key_value"),
        ({"modules_to_save": ["score"]}, "score"),
        ({"trainable_token_indices": [61]}, "trainable_token_indices of embed_tokens .*embed_tokens and lm_head"),
        ({"trainable_token_indices": {"embed_tokens": [1], "lm_head": [1]}}, r"=\[1\]… .*rows from 61 on"),
        ({"trainable_token_indices": {"score": [61]}}, "trainable_token_indices of score"),
        ({"trainable_token_indices": "all"}, "trainable_token_indices='all' is of another type"),
    ],
)
def test_an_adapter_config_that_is_not_implemented_is_refused_by_name(change, says):
    config, tensors = tables.release(trained(), hf_table(CONFIG))
    with pytest.raises(UserError, match=says):
        tables.attach(jax_model(), hf_table(CONFIG), config | change, tensors)


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(UserError, match="adapter_config"):
        tables.read_folder(tmp_path)
