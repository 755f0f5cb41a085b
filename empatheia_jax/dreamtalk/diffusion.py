"""Diffusion over expression coefficients: schedule, DDPM and DDIM sampling, classifier-free guidance.

The network predicts the clean motion x0. Steps are numbered 1 … T; index 0 of every table is the clean end.
DDPM: Ho et al. 2020; DDIM: Song et al. 2021; guidance: Ho & Salimans 2022.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.dreamtalk.transformer import Buffer
from empatheia_jax.errors import UserError

Predict = Callable[[Array, Array], Array]  # (x_t (B, L, C), t scalar) -> x0 (B, L, C)


class VarianceSchedule(nnx.Module):
    """Linear schedule: β_t = linspace(first, last), α = 1 - β, ᾱ_t = Π α. Tables of `steps + 1` float32 values.

    The tables are buffers of released checkpoints, rounded to float32; they are used as stored.
    """

    def __init__(self, steps: int, beta_first: float, beta_last: float, *, param_dtype=jnp.float32):
        betas = np.concatenate([[0.0], np.linspace(beta_first, beta_last, steps)]).astype(np.float32)
        alphas = np.float32(1.0) - betas
        alpha_bars = np.exp(np.cumsum(np.log(alphas), dtype=np.float32))
        inflexible = np.zeros_like(betas)
        inflexible[1:] = np.sqrt((1 - alpha_bars[:-1]) / (1 - alpha_bars[1:]) * betas[1:])
        self.betas = Buffer(jnp.asarray(betas, param_dtype))
        self.alphas = Buffer(jnp.asarray(alphas, param_dtype))
        self.alpha_bars = Buffer(jnp.asarray(alpha_bars, param_dtype))
        self.sigmas_flexible = Buffer(jnp.asarray(np.sqrt(betas), param_dtype))
        self.sigmas_inflexible = Buffer(jnp.asarray(inflexible, param_dtype))

    @property
    def steps(self) -> int:
        """T, the number of noising steps."""
        return self.betas.shape[0] - 1


def guide(conditional: Array, unconditional: Array, scale: float | Array) -> Array:
    """Classifier-free guidance: unconditional + scale · (conditional − unconditional); scale 1 is no guidance."""
    return unconditional + scale * (conditional - unconditional)


def ddim_timesteps(total: int, steps: int) -> np.ndarray:
    """The steps that DDIM visits, ascending: 1, 1 + T//n, … (901 first when walking down from T = 1000 with n = 10).

    Raises:
        UserError: `steps` does not give exactly that many steps.
    """
    if not 1 <= steps <= total:
        raise UserError(f"DDIM steps: found {steps}; expected 1 … {total}")
    visited = np.arange(0, total, total // steps) + 1
    if len(visited) != steps:
        raise UserError(f"DDIM steps: {steps} steps over {total} give {len(visited)}; choose a divisor of {total}")
    return visited


def ddim_sample(
    predict: Predict, schedule: VarianceSchedule, noise: Float[Array, "B L C"], steps: int
) -> tuple[Float[Array, "B L C"], Float[Array, "n B L C"]]:
    """Deterministic DDIM (η = 0) as one compiled loop; returns the motion and the state that entered each step."""
    visited = ddim_timesteps(schedule.steps, steps)
    now, before = visited[::-1], np.concatenate([[0], visited[:-1]])[::-1]
    alpha_bars = schedule.alpha_bars[...].astype(noise.dtype)

    def step(x, at):
        t, t_before = at
        a, a_before = alpha_bars[t], alpha_bars[t_before]
        clean = predict(x, t.astype(noise.dtype))
        direction = (x - jnp.sqrt(a) * clean) / jnp.sqrt(1 - a)
        return jnp.sqrt(a_before) * clean + jnp.sqrt(1 - a_before) * direction, x

    return jax.lax.scan(step, noise, (jnp.asarray(now.copy()), jnp.asarray(before.copy())))


def ddpm_sample(
    predict: Predict, schedule: VarianceSchedule, noises: Float[Array, "T B L C"], flexibility: float = 0.0
) -> tuple[Float[Array, "B L C"], Float[Array, "T B L C"]]:
    """Ancestral sampling; `noises[0]` is x_T and `noises[k]` the noise added by step T - k + 1 (none at step 1).

    `flexibility` mixes the two variances: 0 the posterior's, 1 σ² = β. Returns the motion and the state at each step.
    """
    steps = schedule.steps
    dtype = noises.dtype
    alphas, alpha_bars = schedule.alphas[...].astype(dtype), schedule.alpha_bars[...].astype(dtype)
    sigmas = flexibility * schedule.sigmas_flexible[...] + (1 - flexibility) * schedule.sigmas_inflexible[...]
    sigmas = sigmas.astype(dtype)
    added = jnp.concatenate([noises[1:], jnp.zeros_like(noises[:1])])

    def step(x, at):
        t, z = at
        a, a_bar, a_bar_before = alphas[t], alpha_bars[t], alpha_bars[t - 1]
        clean = predict(x, t.astype(dtype))
        keep = jnp.sqrt(a) * (1 - a_bar_before) / (1 - a_bar)
        take = jnp.sqrt(a_bar_before) * (1 - a) / (1 - a_bar)
        return keep * x + take * clean + sigmas[t] * z, x

    return jax.lax.scan(step, noises[0], (jnp.arange(steps, 0, -1), added))
