"""Adapters: nothing changes until they train, merging is exact to rounding, and names keep them apart."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax.core.lora import LoRAConfig, adapters, add_lora, merge, merge_and_unload, remove, set_active, unmerge
from empatheia_jax.errors import UserError
from tests.core.test_llama import llama, logits


@pytest.fixture
def model():
    return llama()


@pytest.fixture
def ids():
    return jnp.asarray(np.random.default_rng(0).integers(0, 61, (2, 9)))


def scramble(model, name, seed):
    for index, (_, _, _, adapter) in enumerate(adapters(model, name)):
        key = jax.random.fold_in(jax.random.key(seed), index)
        adapter.b[...] = 0.1 * jax.random.normal(key, adapter.b.shape)


def test_a_fresh_adapter_changes_nothing_and_a_trained_one_does(model, ids):
    before = logits(model, ids)
    paths = add_lora(model, LoRAConfig(4, 8, ("q_proj", "mlp.down_proj")), rngs=nnx.Rngs(1))
    assert paths == ["layers.attention.q_proj", "layers.mlp.down_proj"]
    np.testing.assert_array_equal(logits(model, ids), before)
    scramble(model, "default", 1)
    assert np.abs(logits(model, ids) - before).max() > 1e-2


def test_merging_gives_the_same_logits_and_unmerging_the_old_weights(model, ids):
    kernel = np.asarray(model.layers.attention.v_proj.kernel[...])
    add_lora(model, LoRAConfig(4, 8, ("v_proj", "gate_proj"), rslora=True), rngs=nnx.Rngs(1))
    scramble(model, "default", 1)
    adapted = logits(model, ids)
    merge(model)
    np.testing.assert_allclose(logits(model, ids), adapted, atol=2e-5)
    assert np.abs(model.layers.attention.v_proj.kernel[...] - kernel).max() > 1e-3
    unmerge(model)
    np.testing.assert_allclose(model.layers.attention.v_proj.kernel[...], kernel, atol=1e-6)
    np.testing.assert_allclose(logits(model, ids), adapted, atol=2e-5)


def test_active_adapters_are_folded_into_float32_kernels_alone(model, ids):
    for name, target in (("first", "v_proj"), ("second", "v_proj"), ("third", "down_proj"), ("off", "gate_proj")):
        add_lora(model, LoRAConfig(4, 8, (target,)), rngs=nnx.Rngs(1), name=name)
        scramble(model, name, 1)
    set_active(model, ["first", "second", "third"])
    rounded = model.layers.mlp.down_proj.kernel
    rounded.set_value(rounded.get_value().astype(jnp.bfloat16).astype(jnp.float32))
    adapted = logits(model, ids)
    rounded.set_value(rounded.get_value().astype(jnp.bfloat16))
    merge_and_unload(model)
    assert {name for _, _, name, _ in adapters(model)} == {"off", "third"}
    rounded.set_value(rounded.get_value().astype(jnp.float32))
    np.testing.assert_allclose(logits(model, ids), adapted, atol=2e-5)


def test_adapters_are_switched_and_removed_by_name(model, ids):
    base = logits(model, ids)
    for seed, name in enumerate(("first", "second")):
        add_lora(model, LoRAConfig(2, 4, ("q_proj",)), rngs=nnx.Rngs(seed), name=name)
        scramble(model, name, seed)
    set_active(model, ["first"])
    first = logits(model, ids)
    set_active(model, [])
    np.testing.assert_array_equal(logits(model, ids), base)
    remove(model, "second")
    set_active(model, ["first"])
    np.testing.assert_array_equal(logits(model, ids), first)
    with pytest.raises(UserError, match="second"):
        set_active(model, ["second"])


def test_dropout_is_on_only_with_a_key_and_keeps_the_mean(model):
    add_lora(model, LoRAConfig(2, 4, ("q_proj",), dropout=0.5), rngs=nnx.Rngs(0))
    scramble(model, "default", 0)
    _, _, _, adapter = next(adapters(model))
    layer = jax.tree.map(lambda leaf: leaf[0], nnx.state(adapter))
    single = nnx.merge(nnx.graphdef(adapter), layer)
    x = jnp.ones((1, 32))
    drawn = jax.vmap(lambda key: single(x, key))(jax.random.split(jax.random.key(0), 4000))
    assert float(drawn.std(axis=0).max()) > 0
    np.testing.assert_allclose(drawn.mean(axis=0), single(x), atol=0.05)


def test_dropout_differs_between_layers_and_steps(model, ids):
    add_lora(model, LoRAConfig(2, 4, ("q_proj",), dropout=0.5), rngs=nnx.Rngs(0))
    scramble(model, "default", 0)
    one, two = (logits(model, ids, rng=jax.random.key(seed)) for seed in (0, 1))
    assert np.abs(one - two).max() > 1e-3
    np.testing.assert_array_equal(one, logits(model, ids, rng=jax.random.key(0)))


def test_gradients_reach_adapters_only_through_their_filter(model, ids):
    add_lora(model, LoRAConfig(2, 4, ("q_proj", "o_proj")), rngs=nnx.Rngs(0))
    scramble(model, "default", 0)
    graphdef, trainable, frozen = nnx.split(model, nnx.LoRAParam, ...)
    assert len(jax.tree.leaves(trainable)) == 4

    @jax.jit
    @jax.grad
    def gradient_of(trainable):
        network = nnx.merge(graphdef, trainable, frozen)
        return jnp.sum(network.logits(network(network.embed(ids)).hidden) ** 2)

    gradient = gradient_of(trainable)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_a_target_that_matches_nothing_is_refused_by_name(model):
    with pytest.raises(UserError, match="query_key_value"):
        add_lora(model, LoRAConfig(2, 4, ("q_proj", "query_key_value")), rngs=nnx.Rngs(0))
    assert not list(adapters(model))
    add_lora(model, LoRAConfig(2, 4, ("q_proj",)), rngs=nnx.Rngs(0))
    with pytest.raises(UserError, match="default"):
        add_lora(model, LoRAConfig(2, 4, ("q_proj",)), rngs=nnx.Rngs(0))
