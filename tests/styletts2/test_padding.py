"""A run padded to a bucket gives, at valid positions, what the unpadded run gives: the original's result."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax import tiny
from empatheia_jax.styletts2.config import DecoderConfig
from empatheia_jax.styletts2.decoder_hifigan import HiFiGANDecoder
from empatheia_jax.styletts2.decoder_istft import ISTFTDecoder
from empatheia_jax.styletts2.predictor import ProsodyPredictor
from empatheia_jax.styletts2.text_encoder import TextEncoder

STYLE = 8
BLOCKS = {"resblock_kernel_sizes": (3,), "resblock_dilation_sizes": ((1, 3, 5),), "upsample_initial_channel": 32}
ISTFT = DecoderConfig("istftnet", (10, 6), (20, 12), **BLOCKS, n_fft=20, hop=5)
HIFIGAN = DecoderConfig("hifigan", (10, 5, 3, 2), (20, 10, 6, 4), **BLOCKS, n_fft=None, hop=None)


def compiled(module: nnx.Module, method: str = "__call__"):
    graph, state = nnx.split(module)
    return lambda *a: jax.jit(lambda state, *a: getattr(nnx.merge(graph, state), method)(*a))(state, *a)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pad(x: np.ndarray, size: int, fill: float) -> np.ndarray:
    return np.pad(x, [(0, 0), (0, size - x.shape[1])] + [(0, 0)] * (x.ndim - 2), constant_values=fill)


def test_text_encoder_ignores_padding():
    encoder = compiled(tiny.made_up(lambda: TextEncoder(20, 16, 5, 2, weight_norm=True, rngs=nnx.Rngs(0))))
    tokens = np.random.default_rng(0).integers(0, 20, (1, 9))
    alone = encoder(tokens, np.array([9]))
    padded = encoder(pad(tokens, 14, 3), np.array([9]))
    np.testing.assert_allclose(padded[:, :9], alone, atol=1e-6)
    assert not padded[:, 9:].any()


def test_predictor_ignores_padding():
    predictor = tiny.made_up(lambda: ProsodyPredictor(16, STYLE, 2, 5, weight_norm=True, rngs=nnx.Rngs(0)))
    encode, durations, curves = (compiled(predictor, m) for m in ("encode", "durations", "curves"))
    text, style, lengths = normal(0, 1, 9, 16), normal(1, 1, STYLE), np.array([9])
    d, padded = encode(text, style, lengths), encode(pad(text, 13, 9.0), style, lengths)
    np.testing.assert_allclose(padded[:, :9], d, atol=1e-5)
    np.testing.assert_allclose(durations(padded, lengths)[:, :9], durations(d, lengths), atol=1e-5)
    for ours, alone in zip(curves(pad(d, 13, 9.0), style, lengths), curves(d, style, None)):
        np.testing.assert_allclose(ours[:, :18], alone, atol=1e-5)
        assert not ours[:, 18:].any()


@pytest.mark.parametrize(("kind", "config"), [(ISTFTDecoder, ISTFT), (HiFiGANDecoder, HIFIGAN)])
def test_decoder_ignores_padding(kind, config):
    decoder = compiled(tiny.made_up(lambda: kind(config, 16, STYLE, weight_norm=False, rngs=nnx.Rngs(0))))
    asr, style, noise = normal(0, 1, 4, 16), normal(1, 1, STYLE), normal(2, 1, 2400, 9)
    f0, energy = 150 + 20 * normal(3, 1, 8), normal(4, 1, 8)
    f0[:, 2:4] = 0
    alone = decoder(asr, f0, energy, style, noise, None)
    padded = decoder(pad(asr, 6, 5.0), pad(f0, 12, 0), pad(energy, 12, 0), style, pad(noise, 3600, 1.0), jnp.array([4]))
    scale = float(jnp.abs(alone).max())
    np.testing.assert_allclose(padded[:, :2400], alone, atol=1e-4 * scale)
    assert not padded[:, 2400:].any()
    assert scale > 0
