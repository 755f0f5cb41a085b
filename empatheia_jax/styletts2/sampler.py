"""Sampling a style: the ADPM2 ancestral sampler over a Karras schedule, and how styles are mixed.

The original's `Modules/diffusion/sampler.py` (KarrasSchedule, ADPM2Sampler) and its inference notebooks. All noise is an
argument, so a run repeats.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

SIGMA_MAX, SIGMA_MIN, RHO = 3.0, 1e-4, 9.0


def karras_schedule(steps: int) -> Float[np.ndarray, " steps+1"]:
    """Noise levels from 3 to 1e-4, equally spaced after the power 1/9 (Karras et al. 2022, equation 5), then 0; in float32.

    The final 0 is part of the published schedule and is never reached: there are steps − 1 updates. The original computes its
    levels in float32 whatever the type of its networks; so do we, since what follows multiplies a difference.
    """
    if steps < 2:
        raise ValueError(f"{steps} diffusion steps; at least 2 are needed")
    ramp = np.arange(steps, dtype=np.float32) / np.float32(steps - 1)
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    # The power rounded once: NumPy's own float32 power is off by a unit in the last place.
    levels = ((high + ramp * (low - high)).astype(np.float64) ** RHO).astype(np.float32)
    return np.append(levels, np.float32(0))


def ancestral_levels(sigma: Float[np.ndarray, " *n"], following: Float[np.ndarray, " *n"]) -> Float[np.ndarray, "*n 3"]:
    """(σ_up, σ_down, σ_mid) of a step: fresh noise, the level stepped down to, and where the second slope is taken.

    σ_up² + σ_down² is the following level's square; σ_mid is the arithmetic mean of σ and σ_down (the sampler's ρ is 1).
    """
    # Squares in the levels' own type, roots in float64: the original's are Python's.
    up = np.sqrt((following**2 * (sigma**2 - following**2) / sigma**2).astype(np.float64))
    down = np.sqrt((following**2 - (up**2).astype(following.dtype)).astype(np.float64))
    middle = (sigma + down.astype(sigma.dtype)) / 2
    return np.stack([up, down, middle.astype(np.float64)], -1)


def adpm2(
    denoise: Callable[[Float[Array, "B S"], Float[Array, " B"]], Float[Array, "B S"]],
    noise: Float[Array, "B S"],
    step_noise: Float[Array, "steps-1 B S"],
) -> Float[Array, "B S"]:
    """Samples with steps − 1 second-order ancestral updates.

    Args:
      denoise: (x, σ per row) → estimated clean x.
      noise: standard normal start.
      step_noise: standard normal noise of every update, the last one included.
    """
    levels = karras_schedule(len(step_noise) + 1)[:-1]
    sigma, (up, down, middle) = levels[:-1], ancestral_levels(levels[:-1], levels[1:]).T
    # The original's differences of levels are float32 too.
    to_middle, to_down = middle.astype(np.float32) - sigma, down.astype(np.float32) - sigma
    steps = np.stack([sigma, up, middle, to_middle, to_down], 1)

    def update(x, inputs):
        (sigma, up, middle, to_middle, to_down), fresh = inputs

        def slope(x, at):
            return (x - denoise(x, jnp.broadcast_to(at, x.shape[:1]))) / at

        halfway = x + slope(x, sigma) * to_middle
        return x + slope(halfway, middle) * to_down + fresh * up, None

    start = noise * jnp.asarray(levels[0], noise.dtype)
    return lax.scan(update, start, (jnp.asarray(steps, noise.dtype), step_noise))[0]


def mix_with_reference(
    predicted: Float[Array, "*B 256"], reference: Float[Array, "*B 256"], alpha: float, beta: float
) -> Float[Array, "*B 256"]:
    """Multi-speaker release: alpha of the predicted acoustic half, beta of the prosodic half, the rest the reference."""
    half = predicted.shape[-1] // 2
    share = jnp.concatenate([jnp.full((half,), alpha), jnp.full((half,), beta)]).astype(predicted.dtype)
    return share * predicted + (1 - share) * reference


def carry_over(
    predicted: Float[Array, "*B 256"], previous: Float[Array, "*B 256"] | None, share: float
) -> Float[Array, "*B 256"]:
    """Long-form reading: `share` of the previous sentence's style, the rest this one's, so that a passage has one manner."""
    return predicted if previous is None else share * previous + (1 - share) * predicted
