"""Long convolutions on a CPU compute what their definition does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax.nn.platform import target_platform
from empatheia_jax.styletts2.decoder import SnakeResidualBlock
from empatheia_jax.styletts2.masks import length_mask


@pytest.mark.parametrize(
    ("width", "channels", "length", "fewer"), [(7, 64, 700, True), (3, 64, 700, False), (7, 64, 99, False)]
)
def test_convolutions_multiply_less_where_that_is_faster_and_give_the_same(width, channels, length, fewer):
    kinds = {"rngs": nnx.Rngs(0), "dtype": jnp.float32, "param_dtype": jnp.float32}
    block = SnakeResidualBlock(channels, width, (1, 3), 16, weight_norm=True, **kinds)
    x = jax.random.normal(jax.random.key(0), (2, length, channels))
    style = jax.random.normal(jax.random.key(1), (2, 16))
    mask = length_mask(jnp.array([length, length - 20]), length, jnp.float32)
    with target_platform("gpu"):
        wanted = block(x, style, mask)
    graph, state = nnx.split(block)
    program = jax.jit(lambda state: nnx.merge(graph, state)(x, style, mask)).lower(state).as_text()
    by_definition = f", tensor<{width}x{channels}x{channels}xf32>) -> tensor<"  # a convolution with the whole kernel
    assert (by_definition not in program) == fewer
    np.testing.assert_allclose(block(x, style, mask), wanted, atol=5e-5)
