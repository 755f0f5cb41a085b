"""Real weights: SmolLM2-135M-Instruct out of its GGUF gives the logits that `transformers` gives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from converters import interpreter
from converters.convert import to_weights
from converters.registry import find_conversion
from converters.sources import open_source
from converters.tables.llama import gguf_table, smollm2_file
from empatheia_jax import weights
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.errors import UserError


@pytest.fixture(scope="module")
def gguf():
    try:
        return smollm2_file()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(gguf, tmp_path_factory):
    return to_weights(find_conversion("smollm2"), gguf, tmp_path_factory.mktemp("weights") / "smollm2")


@pytest.mark.slow  # half a minute in two frameworks; tests/core/test_family.py compares tiny networks over as many tokens
def test_logits_equal_transformers_on_a_prompt_of_500_tokens(folder, gguf):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = Tokenizer.load(folder)
    story = "She said that the old house by the river had 12 rooms, and each of them kept its own weather. "
    ids = np.asarray(tokenizer.encode(tokenizer.chat([{"role": "user", "content": story * 40}]))[:500])[None]
    assert ids.shape == (1, 500)
    reference = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    with torch.no_grad():
        expected = reference(torch.from_numpy(ids)).logits.numpy()
    model = weights.restore(folder, Llama, LlamaConfig, kind="llama")
    graphdef, state = nnx.split(model)

    @jax.jit
    def logits(state, ids):
        network = nnx.merge(graphdef, state)
        return network.logits(network(network.embed(ids)).hidden)

    np.testing.assert_allclose(logits(state, jnp.asarray(ids)), expected, atol=1e-3, rtol=0)


def test_the_gguf_table_is_exact_in_both_directions(folder, gguf):
    source = open_source(gguf)
    config = weights.config_from_dict(LlamaConfig, weights.describe(folder)["config"])
    assert (config.num_layers, config.num_kv_heads, config.rope_theta, config.rms_norm_eps) == (30, 3, 1e5, 1e-5)
    wanted = ["blk.0.attn_q.weight", "blk.29.attn_k.weight", "blk.3.ffn_down.weight", "token_embd.weight"]
    exported = interpreter.export(weights.lazy_params(folder), gguf_table(config))
    seen = 0
    for key, array in exported:
        if key in wanted:
            np.testing.assert_array_equal(array, source.read(key))
            seen += 1
    assert seen == len(wanted)
