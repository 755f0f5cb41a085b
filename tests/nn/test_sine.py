"""The vectorised sine and cosine against float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from empatheia_jax.nn import sine
from empatheia_jax.nn.platform import target_platform

FUNCTIONS = {"sin": (sine.sin, np.sin), "cos": (sine.cos, np.cos), "sin²": (sine.sin_squared, lambda x: np.sin(x) ** 2)}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("reach", [1.0, 100.0, 25_000.0])
def test_values_of_float32_keep_its_digits(name, reach):
    ours, theirs = FUNCTIONS[name]
    x = np.random.default_rng(0).uniform(-reach, reach, 100_000).astype(np.float32)
    found, wanted = np.asarray(jax.jit(ours)(x)), theirs(x.astype(np.float64))
    shift = np.spacing(np.float32(reach)) if name == "cos" else 0.0  # the rounding of x + π/2
    assert np.abs(found - wanted).max() < 2.7e-7 + shift


def test_near_zero_the_sine_is_exact_to_a_rounding():
    x = np.array([0.0, 1e-30, -1e-8, 3e-4], np.float32)
    np.testing.assert_allclose(sine.sin(jnp.asarray(x)), np.sin(x.astype(np.float64)), rtol=1e-7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_derivative_is_that_of_the_function(name):
    ours, _ = FUNCTIONS[name]
    derivative = {"sin": np.cos, "cos": lambda x: -np.sin(x), "sin²": lambda x: np.sin(2 * x)}[name]
    x = np.linspace(-20, 20, 4001).astype(np.float32)
    found = jax.vmap(jax.grad(ours))(x)
    np.testing.assert_allclose(found, derivative(x.astype(np.float64)), atol=3e-6)


def test_float64_and_accelerators_take_the_librarys():
    with jax.enable_x64(True):
        x = jax.numpy.asarray(np.linspace(-9, 9, 99))
        assert (sine.sin(x) == jax.numpy.sin(x)).all() and (sine.cos(x) == jax.numpy.cos(x)).all()
    assert "sin" not in str(jax.make_jaxpr(lambda x: sine.sin(x))(np.float32(1.0)))
    with target_platform("gpu"):
        assert "sin" in str(jax.make_jaxpr(lambda x: sine.sin(x))(np.float32(1.0)))
