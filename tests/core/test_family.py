"""Members of the LLaMA family without vectors: equal to `transformers` on tiny random models. Decoding and LoRA on all cores."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from converters import interpreter
from converters.tables.llama import hf_table
from empatheia_jax import tiny, weights
from empatheia_jax.core.chatglm import ChatGLM, ChatGLMConfig
from empatheia_jax.core.decoding import DecodingSettings, generate
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.core.lora import LoRAConfig, add_lora, merge
from empatheia_jax.core.t5 import T5, T5Config
from tests.core.test_lora import scramble

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
MEMBERS = {
    "llama 3 (rope scaling, tied head)": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama (linear rope scaling, biases)": (
        "Llama",
        {
            "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "mistral (sliding window, head width of its own)": ("Mistral", {"sliding_window": 20, "head_dim": 16}),
    "qwen2.5 (biases, yarn)": ("Qwen2", {"rope_parameters": YARN, "tie_word_embeddings": True}),
    "qwen3 (query and key norms)": (
        "Qwen3",
        {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    ),
}


@pytest.mark.parametrize("member", MEMBERS)
def test_logits_and_hidden_states_equal_transformers(member):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    family, changes = MEMBERS[member]
    settings = getattr(transformers, f"{family}Config")(**SIZES | changes)
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{family}ForCausalLM")(settings).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.ndim == 1:  # norms and biases start at 1 and 0, which would hide a mistake
                parameter.add_(0.2 * torch.randn_like(parameter))
            else:
                parameter.mul_(5)
    ids = np.random.default_rng(0).integers(0, 61, (1, 500))  # as long as a prompt: short ones do not see a wrong rope
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids), output_hidden_states=True)

    config = LlamaConfig.from_source(settings.to_dict())
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    abstract = weights.flatten(weights.abstract(lambda: Llama(config, rngs=nnx.Rngs(0))))
    flat = interpreter.load(state, hf_table(config), abstract)
    model = weights.materialize(lambda: Llama(config, rngs=nnx.Rngs(0)), {k: jnp.asarray(v) for k, v in flat.items()})

    @nnx.jit
    def run(model, ids):
        out = model(model.embed(ids), all_hidden=True)
        return out.all_hidden, model.logits(out.hidden)

    all_hidden, logits = run(model, ids)
    hidden = np.stack([h.numpy() for h in expected.hidden_states])
    np.testing.assert_allclose(all_hidden, hidden, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(logits, expected.logits.numpy(), atol=5e-4, rtol=1e-4)

    back = dict(interpreter.export(flat, hf_table(config), list(state)))
    assert back.keys() == state.keys()
    assert all(back[key].tobytes() == value.tobytes() for key, value in state.items())  # out again, bit for bit


CHATGLM = {
    "model_type": "chatglm",
    "num_layers": 2,
    "padded_vocab_size": 61,
    "hidden_size": 32,
    "ffn_hidden_size": 40,
    "kv_channels": 8,
    "num_attention_heads": 4,
    "seq_length": 64,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "add_qkv_bias": True,
    "layernorm_epsilon": 1e-5,
}
T5_SMALL = {
    "model_type": "t5",
    "vocab_size": 61,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "gated-gelu",
    "decoder_start_token_id": 0,
}


@pytest.fixture(scope="module")
def chatglm():
    return tiny.made_up(lambda: ChatGLM(ChatGLMConfig.from_source(CHATGLM), rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def t5():
    return tiny.made_up(lambda: T5(T5Config.from_source(T5_SMALL), rngs=nnx.Rngs(0)))


@nnx.jit
def states_and_logits(model, ids, answer=None, **places):
    """Of a sequence in one program; `answer`: what T5's decoder sees."""
    behind = {} if answer is None else {"decoder_embeds": model.embed(answer)}
    hidden = model(model.embed(ids), **behind, **places).hidden
    return hidden, model.logits(hidden)


def test_chatglm_decodes_unequal_prompts_with_their_hidden_states(chatglm):
    ids = jnp.asarray(np.random.default_rng(1).integers(0, 61, (2, 8)))
    lengths = [5, 8]
    out = generate(chatglm, None, chatglm.embed(ids), lengths, DecodingSettings(6, forced_ids=(1, 2)))
    for row, length in enumerate(lengths):
        sequence = jnp.asarray([ids[row, :length].tolist() + out.row(row) + [1, 2]])
        hidden, logits = (np.asarray(each[0]) for each in states_and_logits(chatglm, sequence))
        picked = logits[length - 1 : length + 5].argmax(axis=-1)
        assert picked.tolist() == out.row(row)
        np.testing.assert_allclose(out.hidden[row], hidden[length:-2], atol=1e-5)
        np.testing.assert_allclose(out.forced_hidden[row], hidden[-2:], atol=1e-5)


def test_t5_decodes_unequal_prompts_with_their_hidden_states(t5):
    ids = jnp.asarray(np.random.default_rng(2).integers(0, 61, (2, 30)))
    lengths = [17, 30]
    first = generate(t5, None, t5.embed(ids), lengths, DecodingSettings(9))
    stop = first.row(0)[3]  # rows then end apart, which leaves holes in the cache
    out = generate(t5, None, t5.embed(ids), lengths, DecodingSettings(9, stop_ids=(stop,), forced_ids=(1, 2)))
    for row, length in enumerate(lengths):
        answer = jnp.asarray([[0, *out.row(row), 1, 2]])
        found = states_and_logits(t5, ids[row : row + 1, :length], answer)
        hidden, logits = (np.asarray(each[0]) for each in found)
        picked = logits[: out.lengths[row]].argmax(axis=-1)
        assert picked.tolist() == out.row(row)
        np.testing.assert_allclose(out.hidden[row, : out.lengths[row]], hidden[1:-2], atol=1e-5)
        np.testing.assert_allclose(out.forced_hidden[row], hidden[-2:], atol=1e-5)


def test_t5_packed_segments_do_not_see_each_other(t5):
    rng = np.random.default_rng(3)
    source, target = jnp.asarray(rng.integers(0, 61, (1, 12))), jnp.asarray(rng.integers(0, 61, (1, 7)))
    packed, _ = states_and_logits(
        t5,
        source,
        target,
        segment_ids=jnp.asarray([[1] * 5 + [2] * 7]),
        decoder_segment_ids=jnp.asarray([[1] * 3 + [2] * 4]),
    )
    for sources, targets in ((slice(0, 5), slice(0, 3)), (slice(5, 12), slice(3, 7))):
        alone, _ = states_and_logits(t5, source[:, sources], target[:, targets])
        np.testing.assert_allclose(packed[:, targets], alone, atol=1e-5)


def test_t5_scanned_and_unrolled_layers_agree(t5):
    other = tiny.made_up(lambda: T5(t5.config, rngs=nnx.Rngs(0), scan=False))
    ids = jnp.arange(6)[None]
    scanned, unrolled = (states_and_logits(model, ids, ids)[0] for model in (t5, other))
    np.testing.assert_allclose(scanned, unrolled, atol=1e-5)


@pytest.mark.parametrize("kind", ["chatglm", "t5"])
def test_lora_on_every_core_changes_the_result_and_merges_into_it(kind):
    if kind == "chatglm":
        model = tiny.made_up(lambda: ChatGLM(ChatGLMConfig.from_source(CHATGLM), rngs=nnx.Rngs(0)))
        targets, expected = ("query_key_value",), ["layers.attention.query_key_value"]
    else:
        model = tiny.made_up(lambda: T5(T5Config.from_source(T5_SMALL), rngs=nnx.Rngs(0)))
        targets = ("q", "v")
        expected = [
            f"{stack}.layers.{a}.{p}"
            for stack, a in (("decoder", "attention"), ("decoder", "cross"), ("encoder", "attention"))
            for p in "qv"
        ]

    def run():
        ids = jnp.arange(6)[None]
        return np.asarray(states_and_logits(model, ids, None if kind == "chatglm" else ids)[0])

    before = run()
    assert add_lora(model, LoRAConfig(2, 8, targets), rngs=nnx.Rngs(1)) == expected
    np.testing.assert_array_equal(run(), before)
    scramble(model, "default", 0)
    adapted = run()
    assert np.abs(adapted - before).max() > 1e-3
    merge(model)
    np.testing.assert_allclose(run(), adapted, atol=2e-5)
