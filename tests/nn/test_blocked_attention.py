"""Attention in blocks of queries gives the numbers of attention at once, gradients included."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from empatheia_jax.nn import attention as module
from empatheia_jax.nn.attention import attention


@pytest.mark.parametrize(
    "restrictions",
    [
        {"causal": True, "lengths": jnp.array([40, 17])},
        {"causal": True, "segment_ids": jnp.array([[1] * 10 + [2] * 30, [1] * 40])},
        {"causal": True, "window": 7},
        {"lengths": jnp.array([40, 17])},
        {"causal": True, "bias": jax.random.normal(jax.random.key(9), (1, 4, 40, 40))},
        {"mask": jax.random.uniform(jax.random.key(8), (2, 4, 40, 40)) > 0.2},
        {},
    ],
    ids=lambda r: "+".join(r) or "all",
)
def test_blocks_give_the_same_numbers_and_gradients(restrictions, monkeypatch):
    monkeypatch.setattr(module, "QUERY_BLOCK", 16)
    keys = jax.random.split(jax.random.key(0), 4)
    q = jax.random.normal(keys[0], (2, 40, 4, 8))
    k, v = (jax.random.normal(key, (2, 40, 2, 8)) for key in keys[1:3])
    weight = jax.random.normal(keys[3], (2, 40, 4, 8))

    def value(arrays, implementation):
        return (attention(*arrays, implementation=implementation, **restrictions) * weight).sum()

    expected, grads = jax.value_and_grad(value)((q, k, v), "xla")
    found, other = jax.value_and_grad(value)((q, k, v), "blocked")
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), other, grads)


def test_blocks_hold_less_than_all_scores():
    shapes = [jax.ShapeDtypeStruct((1, 2048, 4, 16), jnp.float32)] * 3

    def temporaries(implementation):
        def loss(q, k, v):
            return attention(q, k, v, causal=True, implementation=implementation).sum()

        return jax.jit(jax.grad(loss)).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert temporaries("blocked") < 0.6 * temporaries("xla")
