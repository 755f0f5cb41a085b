"""The LLaMA family: what the network promises without any reference beside it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax import tiny, weights
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.core.outputs import positions_in_segments
from empatheia_jax.errors import UserError

SOURCE = {
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


def llama(source: dict = SOURCE, **options) -> Llama:
    """A network with made-up weights: the same ones whatever the options are."""
    return tiny.made_up(lambda: Llama(LlamaConfig.from_source(source), rngs=nnx.Rngs(0), **options))


@pytest.fixture(scope="module")
def model():
    return llama()


@pytest.fixture(scope="module")
def ids():
    return jnp.asarray(np.random.default_rng(0).integers(0, 61, (2, 11)))


@functools.partial(nnx.jit, static_argnames=("cache_slots", "all_hidden"))
def run(model, ids, **options):
    """What the network gives for token ids, as one program."""
    return model(model.embed(ids), **options)


@nnx.jit
def logits(model, ids, **options):
    return model.logits(model(model.embed(ids), **options).hidden)


def test_scanned_and_unrolled_layers_agree(model, ids):
    np.testing.assert_allclose(logits(model, ids), logits(llama(scan=False), ids), atol=1e-5)


def test_recomputation_changes_no_gradient(model, ids):
    def gradient(network):
        graphdef, state = nnx.split(network)

        @jax.jit
        @jax.grad
        def of(state):
            network = nnx.merge(graphdef, state)
            return jnp.sum(network.logits(network(network.embed(ids)).hidden) ** 2)

        return of(state)

    for remat in ("full", "dots"):
        other = llama(remat=remat)
        for a, b in zip(jax.tree.leaves(gradient(model)), jax.tree.leaves(gradient(other)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_padding_on_either_side_does_not_change_the_valid_tokens(model, ids):
    plain = logits(model, ids[:, :7])
    right = logits(model, ids, lengths=jnp.asarray([7, 7]))[:, :7]
    shifted = jnp.concatenate([jnp.zeros((2, 4), ids.dtype), ids[:, :7]], axis=1)
    left = logits(model, shifted, mask=jnp.arange(11)[None] >= jnp.asarray([[4], [4]]))[:, 4:]
    np.testing.assert_allclose(right, plain, atol=1e-5)
    np.testing.assert_allclose(left, plain, atol=1e-5)


def test_packed_segments_do_not_see_each_other(model, ids):
    segments = jnp.asarray([[1] * 4 + [2] * 7] * 2)
    assert positions_in_segments(segments)[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6]
    packed = logits(model, ids, segment_ids=segments)
    np.testing.assert_allclose(packed[:, :4], logits(model, ids[:, :4]), atol=1e-5)
    np.testing.assert_allclose(packed[:, 4:], logits(model, ids[:, 4:]), atol=1e-5)


@pytest.mark.parametrize("scan", [True, False])
def test_a_cache_filled_in_pieces_gives_the_same_states(ids, scan):
    model = llama(scan=scan)
    whole = run(model, ids).hidden
    out = run(model, ids[:, :5], cache_slots=16)
    second = run(model, ids[:, 5:8], cache=out.cache, positions=jnp.asarray([[5, 6, 7]] * 2))
    third = run(model, ids[:, 8:9], cache=second.cache, positions=jnp.asarray([[8]] * 2))
    pieces = jnp.concatenate([out.hidden, second.hidden, third.hidden], axis=1)
    np.testing.assert_allclose(pieces, whole[:, :9], atol=1e-5)


def test_rows_of_unequal_length_share_one_cache(model, ids):
    lengths = jnp.asarray([3, 6])
    prompt = run(model, ids[:, :6], lengths=lengths, cache_slots=8)
    more = run(model, ids[:, 6:7], cache=prompt.cache, positions=lengths[:, None]).hidden[:, 0]
    for row, length in enumerate((3, 6)):
        alone = jnp.concatenate([ids[row : row + 1, :length], ids[row : row + 1, 6:7]], axis=1)
        np.testing.assert_allclose(more[row], run(model, alone).hidden[0, -1], atol=1e-5)


def test_all_hidden_states_begin_with_the_embeddings_and_end_normalised(model, ids):
    out = run(model, ids, all_hidden=True)
    assert out.all_hidden.shape == (4, 2, 11, 32)
    np.testing.assert_array_equal(out.all_hidden[0], model.embed(ids))
    np.testing.assert_array_equal(out.all_hidden[-1], out.hidden)


def test_a_sliding_window_is_the_same_with_and_without_a_cache(ids):
    source = SOURCE | {"model_type": "mistral", "sliding_window": 4}
    model = llama(source)
    whole = run(model, ids).hidden
    out = run(model, ids[:, :6], cache_slots=16)
    more = run(model, ids[:, 6:], cache=out.cache, positions=jnp.broadcast_to(jnp.arange(6, 11), (2, 5)))
    np.testing.assert_allclose(more.hidden, whole[:, 6:], atol=1e-5)
    assert not np.allclose(run(llama(), ids).hidden[:, -1], whole[:, -1], atol=1e-3)


def test_only_added_rows_receive_gradients_of_added_ids(model, ids):
    added = AddedTokens.for_model(model, 5, rngs=nnx.Rngs(1))
    mixed = ids.at[:, -1].set(63)
    graphdef, state = nnx.split(added)

    def loss(state):
        rows = nnx.merge(graphdef, state)
        return jnp.sum(rows.logits(model, model(rows.embed(model, mixed)).hidden)[..., 61:] ** 2)

    gradient = jax.jit(jax.grad(loss))(state)
    used = np.abs(gradient["embedding"][...]).sum(axis=1) > 0
    assert used.tolist() == [False, False, True, False, False]
    shape = jax.eval_shape(lambda: added.logits(model, model(added.embed(model, mixed)).hidden)).shape
    assert shape == (2, 11, 66)


def test_added_rows_leave_base_tokens_as_they_were(model, ids):
    added = AddedTokens.for_model(model, 5, rngs=nnx.Rngs(1))
    np.testing.assert_array_equal(added.embed(model, ids), model.embed(ids))
    hidden = run(model, ids).hidden
    np.testing.assert_array_equal(added.logits(model, hidden)[..., :61], model.logits(hidden))


def test_parameters_carry_logical_axes_and_cost_nothing_to_describe(model):
    abstract = weights.abstract(lambda: Llama(model.config, rngs=nnx.Rngs(0)))
    kernel = abstract.layers.attention.q_proj.kernel
    assert kernel.get_metadata("out_sharding") == ("layers", "embed", "heads")
    assert kernel.shape == (3, 32, 32)


def test_half_precision_keeps_logits_in_float32(model, ids):
    half = Llama(model.config, rngs=nnx.Rngs(0), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    assert logits(half, ids).dtype == jnp.float32


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "gemma"}, "gemma"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "longrope"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "surprise": 1}}, "surprise"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"logit_softcapping": 30.0}, "logit_softcapping"),
        ({"rms_norm_eps": None}, "rms_norm_eps"),
        ({"num_key_value_heads": 3}, "multiple"),
        ({"num_key_value_heads": 0}, "multiple"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor=0"),
        ({"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "rope_theta"),
        (
            {
                "rope_scaling": {"type": "linear", "factor": 2.0},
                "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
            },
            "rope_scaling",
        ),
        ({"sliding_window": 4096}, "sliding_window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"layer_types": ["sliding_attention"]}, "sliding_window"),
        ({"rope_interleaved": True}, "rope_interleaved"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rope_theta": None}, "rope_theta"),
        ({"rope_theta": float("inf")}, "rope_theta"),
    ],
)
def test_a_config_that_is_not_implemented_is_refused_by_name(change, says):
    with pytest.raises(UserError, match=says):
        LlamaConfig.from_source(SOURCE | change)


def test_rope_may_be_said_twice_and_mistral_has_its_window():
    both = {
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": SOURCE.get("rope_theta", 10000.0)},
    }
    assert LlamaConfig.from_source(SOURCE | both).rope_scaling.factor == 2.0
    mistral = {key: value for key, value in SOURCE.items() if key != "sliding_window"} | {"model_type": "mistral"}
    assert LlamaConfig.from_source(mistral).sliding_window == 4096  # as the format itself has it
    assert LlamaConfig.from_source(mistral | {"sliding_window": None}).sliding_window is None
