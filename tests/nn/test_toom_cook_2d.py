"""Convolution of pictures with fewer multiplications against XLA's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from empatheia_jax.nn import toom_cook_2d as few


def reference(x, kernel, stride, padding):
    """XLA's convolution in float64."""
    with jax.enable_x64(True):
        numbers = ("NHWC", "HWIO", "NHWC")
        x, kernel = (jnp.asarray(each, jnp.float64) for each in (x, kernel))
        return np.asarray(
            jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, ((padding,) * 2,) * 2, dimension_numbers=numbers)
        )


@pytest.mark.parametrize(
    ("size", "stride", "padding", "height", "width", "tile"),
    [
        (3, 1, 1, 13, 13, 4),
        (3, 1, 1, 11, 9, 2),
        (3, 1, 0, 3, 20, 4),  # one row of outputs
        (5, 2, 1, 22, 23, 4),
        (7, 2, 0, 29, 40, 4),
        (7, 2, 3, 17, 15, 3),
        (4, 3, 2, 16, 19, 4),
        (1, 1, 0, 6, 5, 4),
        (2, 1, 1, 5, 5, 3),
    ],
)
def test_it_is_the_definition_to_a_few_roundings(size, stride, padding, height, width, tile):
    rng = np.random.default_rng(size * height)
    x = rng.normal(size=(2, height, width, 6)).astype(np.float32)
    kernel = rng.normal(size=(size, size, 6, 5)) / np.sqrt(6 * size**2)
    changed = few.transform_kernel(kernel, stride, tile)
    wanted = reference(x, kernel, stride, padding)
    found = few.convolve(x, jnp.asarray(changed, jnp.float32), size, stride, padding, tile)
    assert found.shape == wanted.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-5)  # values have a deviation of 1
    with jax.enable_x64(True):
        found = few.convolve(jnp.asarray(x, jnp.float64), jnp.asarray(changed), size, stride, padding, tile)
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize(("tile", "taps", "bound"), [(2, 3, 6e-7), (3, 3, 1.3e-6), (4, 3, 1.8e-6), (4, 4, 6e-6)])
def test_rounding_is_what_the_docstring_says(tile, taps, bound):
    rng = np.random.default_rng(tile)
    x = np.maximum(rng.normal(size=(1, 16, 16, 256)), 0).astype(np.float32)
    kernel = rng.normal(size=(taps, taps, 256, 8))
    wanted = reference(x, kernel, 1, 0)
    found = few.convolve(x, jnp.asarray(few.transform_kernel(kernel, 1, tile), jnp.float32), taps, tile=tile)
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < bound


def test_products_are_as_few_as_the_docstring_says():
    kernel = few.transform_kernel(np.ones((7, 7, 3, 2)), 2)
    assert kernel.shape == (49, 4 * 3, 2)
    x = few.spread(jnp.zeros((1, 19, 11, 12)), 4)
    assert x.shape == (7, 7, 1, 4, 2, 12)


def test_transforms_of_pixels_are_exact():
    rng = np.random.default_rng(0)
    pixels = rng.integers(-128, 128, (1, 19, 19, 3))
    found = few.spread(jnp.asarray(pixels, jnp.float32), 4)
    with jax.enable_x64(True):
        wanted = few.spread(jnp.asarray(pixels, jnp.float64), 4)
    np.testing.assert_array_equal(found, np.asarray(wanted))
