"""Sampling from the denoiser: DDIM and DDPM."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from converters.parity.networks.dreamtalk.vectors import (
    DENOISER,
    EXACT,
    Vectors,
    compiled,
)
from converters.parity.result import Result
from empatheia_jax.dreamtalk import diffusion
from empatheia_jax.dreamtalk.denoiser import Denoiser


def ddim(v: Vectors) -> Iterator[Result]:
    want, model = v.load("ddim"), v.denoiser
    clips, padding = v.styles
    style = model.style_encoder(clips[:1], padding[:1])
    content = model.content_encoder(v.audio)
    noise = v.array(want["x_T"])
    visited = diffusion.ddim_timesteps(model.schedule.steps, 10)[::-1]
    yield v.exact("ddim", "timesteps", visited, want["timesteps"])
    # one compilation for both scales
    sample = compiled(
        model, lambda net, *inputs, scale: net.sample_ddim(*inputs, steps=10, guidance=scale), content, style, noise
    )

    def first_step(net: Denoiser, *inputs):
        return net.predict(noise, jnp.asarray(visited[0], noise.dtype), net.condition(*inputs, guided=True))

    first = compiled(model, first_step)(content, style)
    for scale in (1, 2):
        out, states = sample(scale=v.array(np.float64(scale)))
        yield v.check("ddim", f"cfg{scale}_out", out[0], want[f"cfg{scale}_out"], DENOISER)
        yield v.check("ddim", f"cfg{scale}_xt", states[:, 0], want[f"cfg{scale}_xt"], DENOISER)
        yield v.check("ddim", f"cfg{scale}_cond0", first[0], want[f"cfg{scale}_cond0"], DENOISER)
        yield v.check("ddim", f"cfg{scale}_uncond0", first[1], want[f"cfg{scale}_uncond0"], DENOISER)
    plain, _ = compiled(model, lambda net, *inputs: net.sample_ddim(*inputs, steps=10))(content, style, noise)
    yield v.check("ddim", "noguidance_out", plain[0], want["noguidance_out"], DENOISER)
    four = compiled(model, lambda net, *inputs: net.sample_ddim(*inputs, steps=4, guidance=1.5))
    yield v.check("ddim", "ddim4_cfg1p5_out", four(content, style, noise)[0][0], want["ddim4_cfg1p5_out"], DENOISER)


def ddpm(v: Vectors) -> Iterator[Result]:
    want, model = v.load("ddpm"), v.denoiser
    clips, padding = v.styles
    style = model.style_encoder(clips[:1], padding[:1])
    content = model.content_encoder(v.audio)
    steps = int(want["num_steps"])
    schedule = diffusion.VarianceSchedule(steps, float(want["beta_1"]), float(want["beta_T"]), param_dtype=v.dtype)
    tables_of = {
        "betas": schedule.betas,
        "alphas": schedule.alphas,
        "alpha_bars": schedule.alpha_bars,
        "sigmas_flex": schedule.sigmas_flexible,
        "sigmas_inflex": schedule.sigmas_inflexible,
    }
    for name, table in tables_of.items():
        yield v.exact("ddpm", f"sched_{name}", table[...], want[f"sched_{name}"], EXACT)
        table[...] = v.array(want[f"sched_{name}"])  # the tables are used as a checkpoint stores them
    yield v.exact("ddpm", "t", np.arange(steps, 0, -1), want["t"])
    noises = v.array(want["noise"])[:, None]

    def sample(**options):
        walk = compiled(model, lambda net, *inputs: net.sample_ddpm(*inputs, schedule=schedule, **options))
        return walk(content, style, noises)

    out, states = sample(guidance=float(want["cfg_scale"]))
    yield v.check("ddpm", "out", out[0], want["out"], DENOISER)
    yield v.check("ddpm", "xt", states[:, 0], want["xt"], DENOISER)
    out, _ = sample(flexibility=1.0)
    yield v.check("ddpm", "out_flexibility1_noguidance", out[0], want["out_flexibility1_noguidance"], DENOISER)
