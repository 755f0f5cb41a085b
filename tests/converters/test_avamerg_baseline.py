"""The official baseline's checkpoint goes in and out bit for bit, and computes what PyTorch with PEFT computes."""

from __future__ import annotations

import collections
import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax import nnx

from configs import debug
from converters import convert, interpreter
from converters.formats.torch_writer import write_torch_file
from converters.sources import open_source
from converters.tables import avamerg_baseline, llama
from converters.tables.llama import hf_table
from data_pipeline import loader
from empatheia_jax import assemble, tiny, weights
from empatheia_jax.core.llama import Llama
from empatheia_jax.core.llama_config import LlamaConfig
from empatheia_jax.parallel.mesh import local_mesh
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import resolve
from empatheia_jax.training import schedule

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attn_implementation": "eager",
}


class Merg(torch.nn.Module):
    """The trainable skeleton of the baseline's model: the same modules under the same names."""

    def __init__(self, **sizes):
        import peft  # five seconds, which tests of other files need not wait for

        super().__init__()
        torch.manual_seed(0)
        sizes = SIZES | sizes
        base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
        self.base_state = {k: v.clone() for k, v in base.state_dict().items()}
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
        lora = peft.LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=32, lora_dropout=0.1, target_modules=targets)
        self.llama_model = peft.get_peft_model(base, lora)
        self.llama_model.resize_token_embeddings(sizes["vocab_size"] + 2)
        self.llama_proj = torch.nn.Linear(24, 32)
        causal = self.llama_model.base_model.model
        for table in (causal.model.embed_tokens, causal.lm_head):  # as transformers 4.29, which the baseline pins
            table.weight.requires_grad = True
        for name, parameter in self.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)

    def checkpoint(self) -> collections.OrderedDict:
        return collections.OrderedDict((k, v) for k, v in self.named_parameters() if v.requires_grad)


@pytest.fixture
def release(tmp_path):
    model = Merg().eval()
    return model, write(model, tmp_path / "ckpt")


def write(model, folder):
    """The baseline's folder of a checkpoint."""
    folder.mkdir()
    torch.save(model.checkpoint(), folder / "pytorch_model.pt")
    config = model.llama_model.base_model.model.config.to_dict()
    wanted = {*SIZES, "model_type", "max_position_embeddings", "hidden_act"} - {"attn_implementation"}
    config = {k: v for k, v in config.items() if k in wanted} | {"rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_checkpoint_goes_in_and_out_bit_for_bit(release, tmp_path):
    model, folder = release
    assert convert.main([f"--input={folder}", f"--output={tmp_path / 'w'}"]) == 0
    assert weights.describe(tmp_path / "w")["kind"] == "avamerg-baseline"
    assert convert.main(["--target=hf", f"--input={tmp_path / 'w'}", f"--output={tmp_path / 'back'}"]) == 0
    back = torch.load(tmp_path / "back" / "pytorch_model.pt", weights_only=True)
    expected = model.checkpoint()
    assert list(back) == list(expected)
    for key, value in expected.items():
        assert torch.equal(back[key], value) and back[key].dtype == value.dtype
    assert not model.load_state_dict(back, strict=False).unexpected_keys


def test_a_converted_baseline_computes_what_pytorch_does(release, tmp_path):
    model, folder = release
    convert.main([f"--input={folder}", f"--output={tmp_path / 'w'}"])
    config = weights.config_from_dict(avamerg_baseline.BaselineConfig, weights.describe(tmp_path / "w")["config"]).core
    assert isinstance(config, LlamaConfig) and config.vocab_size == 61
    core = Llama(config, rngs=nnx.Rngs(0))
    base = {k: v.numpy() for k, v in model.base_state.items()}
    weights.update(
        core, interpreter.load(base, hf_table(config), weights.flatten(core), place=lambda _, a: jnp.asarray(a))
    )
    projection, added = avamerg_baseline.attach(core, tmp_path / "w")
    ids = np.array([[1, 5, 61, 62, 7, 60]])
    features = np.random.default_rng(0).standard_normal((1, 24)).astype(np.float32)
    embeds = added.embed(core, jnp.asarray(ids)).at[0, 2].set(projection(jnp.asarray(features))[0])
    ours = added.logits(core, core(embeds).hidden)
    with torch.no_grad():
        theirs = model.llama_model.get_input_embeddings()(torch.tensor(ids))
        theirs[0, 2] = model.llama_proj(torch.tensor(features))[0]
        theirs = model.llama_model(inputs_embeds=theirs).logits
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4, rtol=1e-4)


def test_a_training_goes_on_from_the_checkpoint_with_the_loss_that_pytorch_computes(tmp_path, monkeypatch, capsys):
    sizes = dataclasses.replace(tiny.LLM, tie_word_embeddings=False)  # as the LLaMA of the baseline
    monkeypatch.setitem(tiny.CORES, "debug", ("llama", sizes))
    values = debug.get_config()
    values.schedule = "coe"
    values.lora.update({"rank": 8, "alpha": 32.0, "targets": "q_proj,k_proj,v_proj,o_proj"})
    values.coe.update({"steps": 1, "accumulation": 1, "batch": 2})
    mesh = local_mesh(1, 1, 1)
    fresh = assemble.empatheia(resolve(values), mesh)
    frozen = {path: leaf for path, leaf in weights.flatten(fresh.model.core).items() if ".lora." not in path}
    merg = Merg(**llama.release_config(sizes) | {"attn_implementation": "eager"})
    causal = merg.llama_model.base_model.model
    base = {
        key.replace("_proj.weight", "_proj.base_layer.weight") if "self_attn" in key else key: torch.tensor(array)
        for key, array in interpreter.export(frozen, hf_table(sizes))
        if key not in ("model.embed_tokens.weight", "lm_head.weight")  # the checkpoint has its own
    }
    assert not causal.load_state_dict(base, strict=False).unexpected_keys
    folder = write(merg.eval(), tmp_path / "ckpt")
    assert convert.main([f"--input={folder}", f"--output={tmp_path / 'w'}"]) == 0

    values.networks.adapter = str(tmp_path / "w")
    config = resolve(values)
    schedule.run(config, tmp_path / "run", loader.make)
    assert "left out, for our model has no place for them: added.embedding" in capsys.readouterr().err

    batch = next(loader.make(config, "coe", "train", fresh.tokenizer, fresh.widths))
    tokens = torch.tensor(np.asarray(batch.tokens, np.int64))
    added = [torch.tensor(np.asarray(table)) for table in (fresh.model.added.embedding, fresh.model.added.head)]
    embeds = torch.cat([causal.model.embed_tokens.weight[:256], added[0]])[tokens]
    run = np.isin(batch.tokens, (fresh.model.special.audio_run, fresh.model.special.video_run))
    assert run.any()  # speech and video features, by projections that the baseline does not have
    features = fresh.model.embed(jnp.asarray(batch.tokens), jnp.asarray(batch.speech), jnp.asarray(batch.video))
    embeds = torch.where(torch.tensor(run)[..., None], torch.tensor(np.asarray(features)), embeds)
    with torch.no_grad():
        mask = torch.arange(tokens.shape[1])[None] < torch.tensor(np.asarray(batch.lengths))[:, None]
        hidden = causal.model(inputs_embeds=embeds, attention_mask=mask.long()).last_hidden_state
        logits = hidden @ torch.cat([causal.lm_head.weight[:256], added[1]]).T
    scores = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    expected = float(scores[torch.tensor(np.asarray(batch.loss_mask))[:, 1:]].mean())
    assert Run(tmp_path / "run").completion("coe")["first_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_lost_lora_tensor_is_named(release, tmp_path, capsys):
    model, folder = release
    state = model.checkpoint()
    lost = "llama_model.base_model.model.model.layers.1.self_attn.k_proj.lora_B.default.weight"
    del state[lost]
    torch.save(state, folder / "pytorch_model.pt")
    assert convert.main([f"--input={folder}", f"--output={tmp_path / 'w'}"]) == 2
    assert f"missing: {lost}: expected (32, 8)" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_pytorch_reads_the_files_that_we_write(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b.c": np.array(3, np.int64),
        "d": np.array([True, False]),
        "e": np.zeros((0, 4), np.float16),
        "f": np.linspace(0, 1, 5).astype(jnp.bfloat16),
    }
    manifest = {k: {"shape": v.shape, "dtype": v.dtype.name} for k, v in arrays.items()}
    path = write_torch_file(tmp_path / "x.pt", arrays.items(), manifest)
    theirs = torch.load(path, weights_only=True)
    ours = open_source(path)
    assert list(theirs) == list(arrays)
    for key, value in arrays.items():
        assert tuple(theirs[key].shape) == value.shape
        np.testing.assert_array_equal(theirs[key].double().numpy(), value.astype(np.float64))
        np.testing.assert_array_equal(ours.read(key), value)
        assert str(theirs[key].dtype)[6:] == value.dtype.name
