"""Correlation with fewer multiplications against the definition."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from empatheia_jax.nn import toom_cook


def reference(x, kernel, dilation):
    """The definition in float64."""
    width, reach = len(kernel), dilation * (len(kernel) - 1) // 2
    x = np.pad(x.astype(np.float64), ((0, 0), (reach, reach), (0, 0)))
    length = x.shape[1] - 2 * reach
    return sum(x[:, k * dilation : k * dilation + length] @ kernel[k].astype(np.float64) for k in range(width))


@pytest.mark.parametrize(
    ("width", "dilation", "batch", "length"),
    [
        (3, 1, 1, 50),
        (5, 2, 1, 64),
        (7, 1, 2, 2503),
        (7, 3, 1, 1),
        (11, 5, 1, 3001),
        (11, 1, 1, 400),
        (5, 500, 1, 1700),  # a tile longer than a chunk
        (4 * 3 - 1, 3, 2, 37),
    ],
)
def test_it_is_the_definition_to_a_few_roundings(width, dilation, batch, length, monkeypatch):
    monkeypatch.setattr(toom_cook, "CHUNK", 24_000)  # 1,000 positions, so that some cases have several chunks
    rng = np.random.default_rng(width * length)
    x = rng.normal(size=(batch, length, 24)).astype(np.float32)
    kernel = (rng.normal(size=(width, 24, 16)) / np.sqrt(24 * width)).astype(np.float32)
    found = jax.jit(toom_cook.correlate, static_argnums=2)(x, kernel, dilation)
    wanted = reference(x, kernel, dilation)
    assert found.shape == wanted.shape and found.dtype == np.float32
    error = np.asarray(found) - wanted
    assert np.sqrt(np.mean(error**2)) < 1.5e-6 and np.abs(error).max() < 2e-5  # values have a deviation of 1


@pytest.mark.parametrize(("length", "loops"), [(2**16, False), (2**17, True)])
def test_only_long_sequences_are_worked_on_in_chunks(length, loops):
    """In a loop over short chunks, which stay in a core's cache, XLA's products would use one core alone."""
    x, kernel = jax.ShapeDtypeStruct((1, length, 32), np.float32), jax.ShapeDtypeStruct((7, 32, 32), np.float32)
    program = jax.jit(toom_cook.correlate).lower(x, kernel).as_text()
    assert ("stablehlo.while" in program) == loops


def test_in_float64_it_is_the_definition_to_float64_rounding():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 90, 8)), rng.normal(size=(11, 8, 8))
    with jax.enable_x64(True):
        found = toom_cook.correlate(jax.numpy.asarray(x), jax.numpy.asarray(kernel), 2)
    np.testing.assert_allclose(found, reference(x, kernel, 2), atol=1e-12)


def test_products_are_as_few_as_the_docstring_says():
    output, kernel, transform = toom_cook.matrices(4, 4)
    assert output.shape == (4, 7) and kernel.shape == (7, 4) and transform.shape == (7, 7)
    x, g = np.arange(7.0) ** 2, np.array([3.0, -1.0, 2.0, 5.0])
    np.testing.assert_allclose(output @ ((kernel @ g) * (transform @ x)), np.correlate(x, g), rtol=1e-12)


@pytest.mark.parametrize(("tile", "taps"), [(2, 2), (2, 3), (3, 3), (4, 2), (4, 3), (4, 4)])
def test_what_transforms_numbers_is_exact_in_float32(tile, taps):
    output, _, transform = toom_cook.matrices(tile, taps)
    for matrix in (output, transform):
        np.testing.assert_array_equal(matrix.astype(np.float32), matrix)


def test_more_products_than_points_are_refused():
    with pytest.raises(ValueError, match="points"):
        toom_cook.matrices(6, 4)
