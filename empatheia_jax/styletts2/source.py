"""The harmonic source that excites both decoders: F0 → sines at its first nine multiples, plus noise, merged into one wave.

After the neural source-filter model (Wang et al. 2019) as in yl4579/StyleTTS2, `Modules/hifigan.py`, class SineGen. The
original samples F0 at 24 kHz, reduces it to one value per 300 samples, sums that to a phase and interpolates the phase
linearly. All of this is linear between block centres, so here the phase of sample r of block k is written directly,

    phase = P[k] + (r − 149.5) · ρ,   ρ = ρ[k] in the block's first half, ρ[k + 1] in its second,

with ρ[k] = (h · F0[k] / 24000) mod 1 in cycles per sample and P[k] = 300 · (ρ[0] + … + ρ[k]), where ρ is 0 before the first
centre and after the last. The original takes sines of numbers near 1e4 in float32, which costs three to four digits and
more the longer the text is. Here P loses nothing with length: 300 · ρ is h · F0 / 80 cycles, so h · F0 is added up modulo 80,
in two parts: F0 on a grid of 1/4096 Hz, whose multiples and sums have few enough digits to be exact, and the small rest.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from empatheia_jax.nn import sine
from empatheia_jax.styletts2.linear import linear
from empatheia_jax.styletts2.masks import length_mask

SAMPLE_RATE = 24000
BLOCK = 300  # samples per value of F0
BLOCKS_PER_SECOND = SAMPLE_RATE // BLOCK
GRID = 4096  # steps per Hz
HARMONICS = 9
AMPLITUDE = 0.1
VOICED_NOISE = 0.003
UNVOICED_NOISE = 0.1 / 3
VOICED_ABOVE = 10.0  # Hz


def _add_modulo(a: Array, b: Array) -> Array:
    return (a + b) % BLOCKS_PER_SECOND


def _centre_cycles(f0: Float[Array, "B n 1"], multiples: Float[Array, " 9"]) -> Float[Array, "B n 9"]:
    """Phase of every harmonic at every block's centre, in cycles below 1: the sum of h · F0 up to it, over 80."""
    coarse = jnp.round(f0 * GRID) / GRID
    exact = lax.associative_scan(_add_modulo, (coarse % BLOCKS_PER_SECOND) * multiples % BLOCKS_PER_SECOND, axis=1)
    return _add_modulo(exact, jnp.cumsum((f0 - coarse) * multiples, axis=1)) / BLOCKS_PER_SECOND


def harmonic_cycles(f0: Float[Array, "B n"], valid: Float[Array, "B n 1"] | None) -> Float[Array, "B n 300 9"]:
    """Phase of every harmonic at every sample, in cycles, modulo whole cycles up to the block's own advance."""
    multiples = jnp.arange(1, HARMONICS + 1, dtype=f0.dtype)
    f0 = f0[..., None] if valid is None else jnp.where(valid > 0, f0[..., None], 0)
    rho = (f0 * multiples / SAMPLE_RATE) % 1  # (B, n, 9), cycles per sample
    centres = _centre_cycles(f0, multiples)
    before = rho.at[:, 0].set(0)
    after = jnp.concatenate([rho[:, 1:], jnp.zeros_like(rho[:, :1])], 1)
    offset = jnp.arange(BLOCK, dtype=f0.dtype) - (BLOCK - 1) / 2
    slope = jnp.where(offset[:, None] < 0, before[:, :, None], after[:, :, None])  # (B, n, 300, 9)
    return centres[:, :, None] + offset[:, None] * slope


class HarmonicSource(nnx.Module):
    """F0 (two values per frame) → excitation (B, 300 · n, 1)."""

    def __init__(self, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, param_dtype: DTypeLike = jnp.float32):
        self.linear = linear(HARMONICS, 1, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.dtype = dtype

    def __call__(
        self,
        f0: Float[Array, "B n"],
        noise: Float[Array, "B 300*n 9"] | None = None,
        lengths: Int[Array, " B"] | None = None,
    ) -> Float[Array, "B 300*n 1"]:
        """`noise` is standard normal (None: no noise); `lengths` counts valid values of F0. Zero at padding.

        The original also draws an initial phase per harmonic, which has no effect at all: it is added to the first sample
        only, and the phase is then read from samples 149 and 150 of each block.
        """
        f0 = f0.astype(self.dtype)
        batch, blocks = f0.shape
        valid = None if lengths is None else length_mask(lengths, blocks, self.dtype)
        cycles = harmonic_cycles(f0, valid)
        # Whole cycles are taken off before the sine, whose argument is then exact to the last digits.
        sines = sine.sin(2 * jnp.pi * (cycles - jnp.round(cycles)))
        voiced = (f0 > VOICED_ABOVE).astype(self.dtype)[..., None, None]
        waves = AMPLITUDE * sines * voiced
        if noise is not None:
            noise = noise.astype(self.dtype).reshape(batch, blocks, BLOCK, HARMONICS)
            waves = waves + noise * (voiced * VOICED_NOISE + (1 - voiced) * UNVOICED_NOISE)
        merged = jnp.tanh(self.linear(waves))
        if valid is not None:
            merged = jnp.where(valid[..., None] > 0, merged, 0)
        return merged.reshape(batch, blocks * BLOCK, 1)
