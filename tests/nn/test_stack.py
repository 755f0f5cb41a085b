"""Stacked layers, taken apart for decoding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax.nn.linear import Linear
from empatheia_jax.nn.stack import unstack, unstack_in_place

LAYERS = 3


@pytest.fixture(scope="module")
def layers():
    return Linear(16, 32, axes=(None, None), layers=LAYERS, rngs=nnx.Rngs(0), param_dtype=jnp.bfloat16)


def test_layers_on_a_cpu_are_taken_apart_without_a_copy(layers):
    apart = unstack_in_place(layers, LAYERS)
    jax.tree.map(np.testing.assert_array_equal, apart, unstack(layers, LAYERS))
    stack = layers.kernel[...]
    begins = [jax.tree.leaves(layer)[0].unsafe_buffer_pointer() for layer in apart]
    assert begins == [stack.unsafe_buffer_pointer() + index * stack.nbytes // LAYERS for index in range(LAYERS)]


def test_layers_are_bound_to_the_place_that_is_given_or_to_none(layers):
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    assert not any(leaf.committed for leaf in jax.tree.leaves(unstack_in_place(layers, LAYERS)))
    assert all(leaf.committed for leaf in jax.tree.leaves(unstack_in_place(layers, LAYERS, place)))
