"""A wrong axis fails where it happens: the shapes of signatures are checked while the suite runs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from empatheia_jax.core.outputs import KVCache
from empatheia_jax.nn.linear import head_product
from empatheia_jax.nn.rotary import rotate_pairs


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
