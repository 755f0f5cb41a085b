"""Networks at full size reproduce the reference's vectors (the whole set: `python -m converters.parity`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from converters.parity.networks.styletts2 import speech, text
from converters.parity.networks.styletts2.comparison import Comparison
from empatheia_jax.styletts2.config import DiffusionConfig
from empatheia_jax.styletts2.diffusion import StyleDenoiser
from empatheia_jax.styletts2.sampler import adpm2, carry_over, karras_schedule, mix_with_reference

PARTS = (speech.compare_mel, text.compare_text_encoder, speech.compare_pitch_extractor, speech.compare_text_aligner)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_network_equals_the_reference(shared, part):
    comparison = Comparison(shared / "parity" / "styletts2", "ljspeech", 0, False)
    with jax.default_matmul_precision("highest"):
        results = list(part(comparison))
    assert results
    assert [r for r in results if not r.passed] == []


def test_a_network_with_one_wrong_weight_does_not_pass(shared):
    comparison = Comparison(shared / "parity" / "styletts2", "ljspeech", 0, False)
    network = comparison.network("text_encoder")
    bias = jnp.asarray(network.cnn[0].norm.bias[...])
    network.cnn[0].norm.bias.set_value(bias.at[0].add(0.01))
    assert any(not r.passed for r in text.compare_text_encoder(comparison))


def denoiser(features: int | None) -> StyleDenoiser:
    config = DiffusionConfig(2, 2, 4, 2, 16, 0.2)
    return StyleDenoiser(config, 8, 12, features, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("features", [None, 8])
def test_denoiser_ignores_padded_text(features):
    net, rng = denoiser(features), np.random.default_rng(0)
    x, text = rng.standard_normal((1, 8)), rng.standard_normal((1, 5, 12))
    style = None if features is None else jnp.asarray(rng.standard_normal((1, 8)))
    padded = np.pad(text, ((0, 0), (0, 3), (0, 0)), constant_values=9.0)
    for guidance in (1, 2.0):
        alone = net.denoise(jnp.asarray(x), jnp.ones(1), jnp.asarray(text), style, guidance=guidance)
        ours = net.denoise(jnp.asarray(x), jnp.ones(1), jnp.asarray(padded), style, jnp.array([5]), guidance)
        np.testing.assert_allclose(ours, alone, atol=1e-5)


def test_guidance_of_one_is_the_conditioned_network():
    net, rng = denoiser(None), np.random.default_rng(0)
    x, text = jnp.asarray(rng.standard_normal((1, 8))), jnp.asarray(rng.standard_normal((1, 5, 12)))
    plain = net.denoise(x, jnp.ones(1), text)
    np.testing.assert_allclose(net.denoise(x, jnp.ones(1), text, guidance=jnp.asarray(1.0)), plain, atol=1e-5)
    assert np.abs(net.denoise(x, jnp.ones(1), text, guidance=3.0) - plain).max() > 1e-3


def test_sampler_finds_a_point_mass_whatever_the_noise():
    # The exact denoiser of one point is that point: the last level of noise, 1e-4, is all that may remain.
    target = jnp.arange(6.0)[None]
    for seed in (0, 1):
        key = jax.random.key(seed)
        steps = jax.random.normal(key, (9, 1, 6))
        found = adpm2(lambda x, sigma: jnp.broadcast_to(target, x.shape), steps[0], steps)
        assert np.abs(found - target).max() < 6e-4


def test_schedule_falls_from_3_to_1e4_and_ends_at_zero():
    schedule = karras_schedule(5)
    assert schedule[0] == pytest.approx(3)
    assert schedule[-2] == pytest.approx(1e-4)
    assert schedule[-1] == 0
    assert (np.diff(schedule) < 0).all()
    with pytest.raises(ValueError, match="at least 2"):
        karras_schedule(1)


def test_styles_mix_by_half_and_carry_over():
    predicted, reference = jnp.ones((1, 256)), jnp.zeros((1, 256))
    mixed = mix_with_reference(predicted, reference, alpha=0.3, beta=0.7)
    np.testing.assert_allclose(mixed[:, :128], 0.3, rtol=1e-6)
    np.testing.assert_allclose(mixed[:, 128:], 0.7, rtol=1e-6)
    assert carry_over(predicted, None, 0.7) is predicted
    np.testing.assert_allclose(carry_over(predicted, reference, 0.7), 0.3, rtol=1e-6)
