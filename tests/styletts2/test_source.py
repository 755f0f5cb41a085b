"""The harmonic source's closed form equals the original's resample, sum, resample."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from empatheia_jax.styletts2.source import BLOCK, HARMONICS, SAMPLE_RATE, HarmonicSource, harmonic_cycles

cycles = jax.jit(lambda f0: harmonic_cycles(f0, None).reshape(f0.shape[0], -1, HARMONICS))


def original_cycles(f0: np.ndarray) -> np.ndarray:
    """Samplewise F0, interpolated down to one value a block, summed, interpolated up: the procedure of the release."""
    samples = torch.from_numpy(np.repeat(f0, BLOCK, axis=1))[..., None] * torch.arange(1, HARMONICS + 1)
    advance = (samples / SAMPLE_RATE) % 1
    resample = torch.nn.functional.interpolate
    blocks = resample(advance.transpose(1, 2), scale_factor=1 / BLOCK, mode="linear").transpose(1, 2)
    phase = torch.cumsum(blocks, 1)
    return resample(phase.transpose(1, 2) * BLOCK, scale_factor=BLOCK, mode="linear").transpose(1, 2).numpy()


def test_phase_is_the_originals_also_for_silence_and_negative_f0():
    f0 = np.array([[0.0, 120, 121.5, -30, 0, 240, 300.25, 90], [200, 0, 0, 0, 5, -1, 400, 410]])
    with jax.enable_x64(True):
        ours = np.asarray(cycles(jnp.asarray(f0)))
    difference = (ours - original_cycles(f0)) % 1
    assert np.minimum(difference, 1 - difference).max() < 1e-9


@pytest.mark.parametrize("minutes", [0.1, 1, 5])
@pytest.mark.parametrize("steady", [False, True])
def test_float32_phase_loses_no_digits_with_length(minutes, steady):
    count = int(4800 * minutes)
    f0 = np.full((1, count), 217.3) if steady else np.random.default_rng(0).uniform(80, 300, (1, count))
    exact = original_cycles(f0.astype(np.float32).astype(np.float64))
    ours = np.asarray(cycles(jnp.asarray(f0, jnp.float32)))
    difference = (ours - exact) % 1
    assert np.minimum(difference, 1 - difference).max() < 4e-6  # 149.5 · ρ alone rounds to 2e-6


def test_padding_is_silent_and_changes_nothing_before_it():
    source = nnx.jit(HarmonicSource(rngs=nnx.Rngs(0)))
    f0, noise = jnp.asarray([[110.0, 140, 150, 0]]), jax.random.normal(jax.random.key(0), (1, 4 * BLOCK, HARMONICS))
    alone = source(f0, noise)
    padded = source(
        jnp.pad(f0, ((0, 0), (0, 3)), constant_values=99.0),
        jnp.pad(noise, ((0, 0), (0, 3 * BLOCK), (0, 0))),
        jnp.asarray([4]),
    )
    np.testing.assert_allclose(padded[:, : 4 * BLOCK], alone, atol=1e-6)
    assert not padded[:, 4 * BLOCK :].any()
