"""What the commands say: help that lists the sources, one line for many tensors, no traceback for a reader that left."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import HfHubHTTPError

from converters import convert, fetch, inspect
from converters.formats.safetensors_writer import write_safetensors
from converters.inspect import ignored_lines
from converters.parity.seeded import seeded_state_dict
from converters.registry import conversions
from empatheia_jax import weights
from empatheia_jax.errors import EXIT_BROKEN_PIPE

LLAMA = {
    "model_type": "llama", "vocab_size": 24, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "rope_theta": 1e4, "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip


def release(folder) -> dict[str, np.ndarray]:
    """A Hugging Face folder of a tiny LLaMA, with the junk that old checkpoints carry."""
    folder.mkdir()
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA))
    manifest = {key: {"shape": list(v.shape), "dtype": "float32"} for key, v in model.state_dict().items()}
    for i in range(2):
        manifest[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = {"shape": [4], "dtype": "float32"}
    state = seeded_state_dict(manifest, 0)
    write_safetensors(folder, state.items(), manifest)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    return state


def adapter(folder, state) -> None:
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    key = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    shapes = {key.format(i, letter): (2, 16) if letter == "A" else (16, 2) for i in range(2) for letter in "AB"}
    manifest = {name: {"shape": list(shape), "dtype": "float32"} for name, shape in shapes.items()}
    tensors = seeded_state_dict(manifest, 1)
    write_safetensors(folder, tensors.items(), manifest, "adapter_model.safetensors")


def test_the_help_says_what_each_source_is(capsys):
    with pytest.raises(SystemExit):
        convert.main(["--help"])
    printed = capsys.readouterr().out
    for conversion in conversions().values():
        assert f"{conversion.name:18} {conversion.about}" in printed


def test_many_ignored_tensors_are_one_line(tmp_path, capsys):
    release(tmp_path / "hf")
    assert inspect.main([str(tmp_path / "hf")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ignored")]
    assert len(lines) == 1 and "2 tensors (model.layers.0.self_attn.rotary_emb.inv_freq, …)" in lines[0]
    assert convert.main([f"--input={tmp_path / 'hf'}", f"--output={tmp_path / 'w'}"]) == 0
    assert inspect.main([str(tmp_path / "w")]) == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if "inv_freq" in line]) == 1
    assert ignored_lines({"a": "x", "b": "y", "c": "y"}) == ["ignored: a: x", "ignored: 2 tensors (b, …): y"]


@pytest.mark.parametrize("form", ["release", "weights folder"])
def test_a_base_may_be_a_weights_folder_or_the_release_itself(tmp_path, capsys, form):
    adapter(tmp_path / "adapter", release(tmp_path / "hf"))
    base = tmp_path / "hf"
    if form == "weights folder":
        base = tmp_path / "base"
        assert convert.main([f"--input={tmp_path / 'hf'}", f"--output={base}"]) == 0
    assert inspect.main([str(tmp_path / "adapter"), f"--base={base}"]) == 0
    assert "fits exactly" in capsys.readouterr().out
    made = tmp_path / "made"
    assert convert.main([f"--input={tmp_path / 'adapter'}", f"--base={base}", f"--output={made}"]) == 0
    assert weights.describe(made)["config"]["source"] == "llama"
    assert inspect.main([str(tmp_path / "adapter")]) == 2 and "--base=FOLDER" in capsys.readouterr().err
    assert inspect.main([str(tmp_path / "hf"), f"--base={base}"]) == 2


def test_a_hint_can_be_pasted_into_a_shell(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", a=np.ones(1))
    assert inspect.main([str(tmp_path / "x.npz")]) == 2
    assert "|" not in capsys.readouterr().err


def test_a_reader_that_left_is_no_traceback(tmp_path):
    release(tmp_path / "hf")
    read, write = os.pipe()
    os.close(read)  # what `| head -0` does
    done = subprocess.run(
        [sys.executable, "-m", "converters.inspect", str(tmp_path / "hf"), "--keys"],
        stdout=write, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    os.close(write)
    assert done.returncode == EXIT_BROKEN_PIPE
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("error", [HfHubHTTPError.__bases__[0]("no name resolution\nhere"), OSError("no")])
def test_fetching_without_a_network_is_one_line(tmp_path, monkeypatch, capsys, error):
    import huggingface_hub

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    assert fetch.main(["hubert-base-ls960", f"--output={tmp_path / 'x'}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "--from=FOLDER" in lines[0]


def test_a_gguf_file_becomes_a_folder_that_transformers_loads_with_the_same_logits(tmp_path):
    state = release(tmp_path / "hf")
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in (
        ("context_length", 64), ("embedding_length", 16), ("block_count", 2), ("feed_forward_length", 32),
        ("head_count", 2), ("head_count_kv", 1), ("rope_freq_base", 1e4), ("layer_norm_rms_eps", 1e-5),
        ("rope_dimension_count", 8),
    ):  # fmt: skip
        getattr(writer, f"add_{name}")(value)
    tokens = [chr(97 + i) for i in range(23)] + ["ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 24)
    writer.add_token_merges(["a b"])

    def paired(rows: np.ndarray, heads: int) -> np.ndarray:
        return rows.reshape(heads, 2, 4, -1).swapaxes(1, 2).reshape(rows.shape)

    names = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    }  # fmt: skip
    heads = {"self_attn.q_proj": 2, "self_attn.k_proj": 1}
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for theirs, ours in top.items():
        writer.add_tensor(f"{ours}.weight", state[f"{theirs}.weight"])
    for i in range(2):
        for theirs, ours in names.items():
            array = state[f"model.layers.{i}.{theirs}.weight"]
            writer.add_tensor(f"blk.{i}.{ours}.weight", paired(array, heads[theirs]) if theirs in heads else array)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    assert convert.main([f"--input={path}", f"--output={tmp_path / 'ours'}"]) == 0
    assert convert.main(["--target=hf", f"--input={tmp_path / 'ours'}", f"--output={tmp_path / 'again'}"]) == 0
    ids = torch.arange(12)[None]
    with torch.no_grad():
        found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")(ids).logits
        expected = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")(ids).logits
    np.testing.assert_allclose(found, expected, atol=1e-6)
