"""A wrong axis fails where it happens: the shapes of signatures are checked while the suite runs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from empatheia_jax.baselines.losses import picked
from empatheia_jax.core.outputs import KVCache
from empatheia_jax.dreamtalk.renderer_layers import flow_to_deformation
from empatheia_jax.nn.linear import head_product
from empatheia_jax.nn.rotary import rotate_pairs
from empatheia_jax.styletts2.masks import masked
from empatheia_jax.training.losses import regression, token_losses


@pytest.mark.parametrize("array", [np, jnp], ids=["NumPy", "JAX"])
def test_axes_of_one_letter_are_of_one_size(array):
    assert head_product(array.ones((2, 3, 4), array.float32), array.ones((4, 5), array.float32)).shape == (2, 3, 5)
    with pytest.raises(TypeCheckError, match="kernel"):
        head_product(array.ones((2, 3, 4), array.float32), array.ones((3, 5), array.float32))


def test_an_array_of_another_kind_or_rank_is_refused():
    angles = jnp.ones((1, 2, 4))
    for x in (jnp.ones((2, 3, 8)), jnp.ones((1, 2, 3, 8), int)):
        with pytest.raises(TypeCheckError, match="'x'"):
            rotate_pairs(x, angles, angles)


def test_what_a_method_takes_is_checked_and_what_a_container_holds_is_not():
    cache = KVCache.empty(1, 2, 4, 1, 8, jnp.float32)
    with pytest.raises(TypeCheckError, match="count"):
        cache.forget(jnp.ones((2, 1), int))
    assert KVCache(None, None, None, None).k is None  # JAX itself builds such ones


WRONG_AXES = {
    "styletts2": lambda: masked(jnp.ones((2, 4, 3)), jnp.ones((2, 5, 1))),
    "dreamtalk": lambda: flow_to_deformation(jnp.ones((2, 4, 4, 3))),
    "baselines": lambda: picked(jnp.ones((2, 3, 5)), jnp.ones((2, 4), int)),
    "training": lambda: token_losses(jnp.ones((2, 3, 5)), jnp.ones((2, 4), int)),
    "a loss of the bridge": lambda: regression(jnp.ones((2, 3)), jnp.ones((2, 4)), weight=jnp.ones(2)),
}


@pytest.mark.parametrize("call", WRONG_AXES.values(), ids=WRONG_AXES.keys())
def test_the_generators_and_the_losses_are_checked_too(call):
    with pytest.raises(TypeCheckError):
        call()
