"""Frozen weights in eight bits: close to the originals, half the memory, and the loss hardly moves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from empatheia_jax import weights
from empatheia_jax.nn import int8
from empatheia_jax.nn.platform import target_platform
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training import optimizers, partition, step
from tests.training import tiny


def test_rounding_is_at_most_half_a_step_per_channel():
    weight = jax.random.normal(jax.random.key(0), (2, 64, 16)) * jnp.arange(1, 17)
    packed = int8.quantise(weight)
    assert packed.values.dtype == jnp.int8 and packed.scale.shape == (2, 1, 16)
    step_size = jnp.max(jnp.abs(weight), axis=1, keepdims=True) / 127
    assert (jnp.abs(packed[...] - weight) <= 0.5001 * step_size).all()
    np.testing.assert_array_equal(int8.quantise(jnp.zeros((4, 4)))[...], 0)


@pytest.mark.parametrize("shape", [(8,), (1, 8), (1, 1, 8), (2, 3, 8), (9, 8)])
def test_few_rows_on_a_gpu_are_multiplied_as_more_and_say_the_same(shape):
    packed, x = int8.quantise(jax.random.normal(jax.random.key(0), (8, 6))), jax.random.normal(jax.random.key(1), shape)
    with target_platform("gpu"):
        there = int8.product(x, packed, jnp.float32)
    assert there.shape == (*shape[:-1], 6)
    np.testing.assert_allclose(there, int8.product(x, packed, jnp.float32), rtol=1e-6)
    np.testing.assert_allclose(there, x @ packed[...], rtol=1e-5, atol=1e-6)


def test_a_scan_slices_packed_layers():
    weight = jax.random.normal(jax.random.key(0), (3, 8, 8))
    packed = int8.quantise(weight)
    x = jnp.ones((2, 8))
    scanned, _ = jax.lax.scan(lambda x, w: (x @ w[...], None), x, packed)
    expected = x @ packed[...][0] @ packed[...][1] @ packed[...][2]
    np.testing.assert_allclose(scanned, expected, rtol=1e-5)


def train(dtype, quantised: bool):
    model = tiny.model(dtype, dropout=0.0)
    if quantised:
        assert int8.quantise_model(model, lambda path, _: path == "layers.kernel") == ["layers.kernel"]
    cut = partition.split(model, tiny.TRAINABLE)
    config = optimizers.OptimizerConfig(learning_rate=2e-2, steps=30)
    mesh = make_mesh(devices=jax.devices()[:1])
    built = step.build(cut, tiny.loss, optimizers.build(config), mesh, coefficients={"ce": 1.0})
    state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
    for number in range(30):
        state, metrics = built(state, frozen, built.place_batch(tiny.batch(number)))
    return cut, float(metrics["loss"])


def test_training_over_packed_weights_reaches_the_loss_of_bfloat16_within_one_percent():
    packed, loss = train(jnp.bfloat16, True)
    whole, expected = train(jnp.bfloat16, False)
    assert loss == pytest.approx(expected, rel=0.01)
    assert 2 * packed.frozen["layers.kernel"].values.nbytes == whole.frozen["layers.kernel"].nbytes
    assert set(packed.trainable) == set(whole.trainable)


def test_heads_tables_and_small_weights_stay_as_they_are():
    big = jax.ShapeDtypeStruct((1024, 1024), jnp.bfloat16)
    assert int8.is_matrix("core.layers.mlp.up_proj.kernel", big)
    assert not int8.is_matrix("core.lm_head.kernel", big)
    assert not int8.is_matrix("core.embed_tokens.embedding", big)
    assert not int8.is_matrix("core.layers.norm.kernel", jax.ShapeDtypeStruct((8, 8), jnp.bfloat16))


def test_the_abstract_model_packs_too():
    def construct():
        model = tiny.model(jnp.bfloat16)
        int8.quantise_model(model, lambda path, _: path == "layers.kernel")
        return model

    cut = partition.split(weights.abstract(construct), tiny.TRAINABLE)
    assert cut.frozen["layers.kernel"].values.dtype == jnp.int8
