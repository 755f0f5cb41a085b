"""What a release's config says is read or refused: nothing that changes the network is dropped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from converters.conversion import Conversion
from converters.formats.source import DictSource
from converters.registry import find_conversion
from converters.tables import llama, peft
from converters.tokenizer_files import gguf as gguf_tokenizer
from empatheia_jax.core.t5 import T5Config
from empatheia_jax.errors import UserError
from empatheia_jax.nn.rotary import RopeScaling, inverse_frequencies

ADAPTER = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
CHANGES_THE_BASE = ["pissa", "pissa_niter_4", "olora", "corda", "lora_ga", "loftq", "mica", "something new", 1, "True"]
OTHER_NETWORKS = {
    "use_dora": True,
    "lora_bias": True,
    "bias": "all",
    "rank_pattern": {"q_proj": 4},
    "alpha_pattern": {"q_proj": 4},
    "layers_to_transform": 0,
    "layers_pattern": "layers",
    "exclude_modules": ["k_proj"],
    "layer_replication": [[0, 1]],
    "target_parameters": ["x"],
    "alora_invocation_tokens": [1],
    "use_qalora": True,
    "megatron_config": {"a": 1},
    "fan_in_fan_out": True,
    "peft_type": "ADALORA",
    "target_modules": "all-linear",
    "a field of tomorrow": 0,
}
WRONG_TYPES = {"r": "8", "lora_alpha": None, "lora_dropout": "0", "modules_to_save": "lm_head", "use_rslora": "no"}


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_an_adapter_on_the_unchanged_base_is_read(start):
    config, saved = peft.read_config(ADAPTER | {"init_lora_weights": start, "loftq_config": {}, "rank_pattern": {}})
    assert (config.rank, config.alpha, saved) == (2, 4, ())


@pytest.mark.parametrize("start", CHANGES_THE_BASE)
def test_an_adapter_that_changed_its_base_is_refused(start):
    with pytest.raises(UserError, match="changed with it"):
        peft.read_config(ADAPTER | {"init_lora_weights": start})


@pytest.mark.parametrize("key", OTHER_NETWORKS)
def test_an_adapter_that_is_no_plain_lora_is_refused_by_the_name_of_the_field(key):
    with pytest.raises(UserError, match=key):
        peft.read_config(ADAPTER | {key: OTHER_NETWORKS[key]})


@pytest.mark.parametrize("key", WRONG_TYPES)
def test_a_field_of_another_type_is_refused(key):
    with pytest.raises(UserError, match=key):
        peft.read_config(ADAPTER | {key: WRONG_TYPES[key]})


T5 = {
    "model_type": "t5", "vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2,
    "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "decoder_start_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize("extra", [{"initializer_factor": 1.0}, {"dense_act_fn": "gelu_new"}, {"dense_act_fn": "gelu"}])
def test_a_released_flan_t5_config_is_read(extra):
    assert T5Config.from_source(T5 | extra) == T5Config.from_source(T5)


def test_another_activation_of_t5_is_refused():
    with pytest.raises(UserError, match="dense_act_fn='relu'"):
        T5Config.from_source(T5 | {"dense_act_fn": "relu"})


# ---------------------------------------------------------------- GGUF

GGUF = {
    "general.architecture": "llama", "llama.embedding_length": 64, "llama.feed_forward_length": 96,
    "llama.block_count": 1, "llama.attention.head_count": 2, "llama.context_length": 1024,
    "llama.rope.freq_base": 500000.0, "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "tokenizer.ggml.tokens": ["a", "b", "ab"],
}  # fmt: skip


def test_a_gguf_file_without_a_vocabulary_size_has_as_many_tokens_as_its_tokenizer():
    assert llama.gguf_config(GGUF, tied=True).vocab_size == 3
    assert llama.gguf_config(GGUF | {"llama.vocab_size": 5}, tied=True).vocab_size == 5


@pytest.mark.parametrize("key", [key for key in GGUF if key.startswith("llama.")])
@pytest.mark.parametrize("value", ["64", [64, 64], -1, 0, float("nan"), 10**12])
def test_a_gguf_field_that_is_no_number_of_a_network_is_one_line(key, value):
    conversion: Conversion = find_conversion("llama-gguf")
    source = DictSource({"token_embd.weight": np.zeros((3, 64), np.float32)})
    source.metadata = GGUF | {key: value}
    with pytest.raises(UserError) as caught:
        conversion.describe("x.gguf", source)
        # what builds a network of nothing is refused by the comparison with the tensors
        from converters import interpreter

        config, table, abstract = conversion.describe("x.gguf", source)
        interpreter.lazy(source, table, abstract)
    assert caught.value


def factors(scaling: RopeScaling, width: int = 32, theta: float = 500000.0) -> np.ndarray:
    plain, scaled = inverse_frequencies(width, theta)[0], inverse_frequencies(width, theta, scaling)[0]
    return (plain / scaled).astype(np.float32)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_a_rope_scaling_that_lies_only_in_a_tensor_is_kept(factor):
    scaling = RopeScaling("llama3", factor, 1.0, 4.0, 8192)
    source = DictSource({llama.ROPE_FACTORS: factors(scaling), "output.weight": np.zeros(1)})
    source.metadata = GGUF
    config = find_conversion("llama-gguf").config("x.gguf", source)
    assert config.rope_scaling == scaling
    ours = inverse_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)[0]
    np.testing.assert_allclose(ours, inverse_frequencies(32, 500000.0, scaling)[0], rtol=1e-12)


def test_factors_of_ones_are_no_scaling_and_others_are_refused():
    assert llama.gguf_rope_scaling(np.ones(16), 32, 500000.0) is None
    wrong = factors(RopeScaling("llama3", 8.0, 1.0, 4.0, 8192))
    wrong[9] *= 1.01
    for bad in (wrong, np.full(16, 2.0), np.full(16, np.nan), np.ones(15)):
        with pytest.raises(UserError, match=r"rope_freqs\.weight"):
            llama.gguf_rope_scaling(bad, 32, 500000.0)


TOKENIZER = {
    "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b", "ab"], "tokenizer.ggml.token_type": [1, 1, 1],
    "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.bos_token_id": 0,
}  # fmt: skip


def test_a_small_gguf_tokenizer_is_rebuilt():
    assert json.loads(gguf_tokenizer.tokenizer_files(TOKENIZER)["tokenizer.json"])["model"]["vocab"]["ab"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"merges": ["a c"]}, {"merges": ["ab"]}, {"merges": ["b a"]}, {"merges": [5]}, {"merges": "a b"},
        {"tokens": ["a", "a", "ab"]}, {"tokens": "ab"}, {"tokens": [1, 2, 3]}, {"token_type": [1]},
        {"token_type": 1}, {"bos_token_id": 99}, {"bos_token_id": "a"}, {"pre": ["x"]}, {"pre": "unknown"}, {"model": 7},
    ],
    ids=str,
)  # fmt: skip
def test_a_gguf_tokenizer_whose_parts_do_not_fit_is_one_line(change):
    with pytest.raises(UserError) as caught:
        gguf_tokenizer.tokenizer_files(TOKENIZER | {f"tokenizer.ggml.{key}": value for key, value in change.items()})
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- Hugging Face

LLAMA = {
    "model_type": "llama", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
}  # fmt: skip


@pytest.mark.parametrize("key", [key for key in LLAMA if key != "model_type"])
@pytest.mark.parametrize("value", ["8", [8], {}, -8, 0.5, float("inf")], ids=str)
def test_a_value_that_no_network_can_have_is_one_line(tmp_path, key, value):
    if key in ("rms_norm_eps", "rope_theta") and value == 0.5:
        pytest.skip("a fraction is right here")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {key: value}))
    with pytest.raises(UserError) as caught:
        find_conversion("llama").describe(tmp_path, DictSource({}))
    assert "\n" not in str(caught.value)


ALBERT = {
    "model_type": "albert", "vocab_size": 16, "embedding_size": 4, "hidden_size": 8, "intermediate_size": 16,
    "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32, "type_vocab_size": 2,
    "hidden_act": "gelu_new", "layer_norm_eps": 1e-12,
}  # fmt: skip


@pytest.mark.parametrize(
    "kind, key, value, expected",
    [
        ("albert", "num_hidden_layers", 10**9, "passes is 1000000000, expected 1 to 1000 layers"),
        ("albert", "num_hidden_layers", 0, "passes is 0, expected 1 to 1000 layers"),
        ("albert", "layer_norm_eps", 1.5, "eps is 1.5, expected a number between 0 and 1"),
        ("llama", "rms_norm_eps", 0, "rms_norm_eps is 0, expected a number between 0 and 1"),
        ("llama", "max_position_embeddings", 0, "max_position_embeddings is 0, expected at least 1 position"),
    ],
)
def test_a_number_that_no_tensor_proves_is_within_reason(tmp_path, kind, key, value, expected):
    config = {"llama": LLAMA, "albert": ALBERT}[kind]
    (tmp_path / "config.json").write_text(json.dumps(config))
    find_conversion(kind).describe(tmp_path, DictSource({}))
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match=expected):
        find_conversion(kind).describe(tmp_path, DictSource({}))


@pytest.mark.parametrize("longest, buckets", [(0, 32), (16, 32), (128, 1)])
def test_distances_that_t5_cannot_tell_apart_are_refused(longest, buckets):
    sizes = {"vocab_size": 16, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    rest = {"layer_norm_epsilon": 1e-6, "decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu"}
    kinds = {"model_type": "t5", "tie_word_embeddings": False}
    usual = {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128}
    T5Config.from_source(sizes | rest | kinds | usual)
    with pytest.raises(UserError, match=f"relative_attention_max_distance={longest} is not beyond half of"):
        T5Config.from_source(
            sizes
            | rest
            | kinds
            | {"relative_attention_num_buckets": buckets, "relative_attention_max_distance": longest}
        )
