"""Sampling from the denoiser: DDIM and DDPM."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import jax
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
    steps = len(want["timesteps"])
    visited = diffusion.ddim_timesteps(model.schedule.steps, steps)[::-1]
    yield v.exact("ddim", "timesteps", visited, want["timesteps"])
    # one compilation for both scales
    sample = compiled(
        model, lambda net, *inputs, scale: net.sample_ddim(*inputs, steps=steps, guidance=scale), content, style, noise
    )

    def first_step(net: Denoiser, *inputs):
        return net.predict(noise, jnp.asarray(visited[0], noise.dtype), net.condition(*inputs, guided=True))

    first = compiled(model, first_step)(content, style)
    for scale in _scales(r"cfg([0-9p]+)_out", want):
        out, states = sample(scale=v.array(np.asarray(float(scale.replace("p", ".")))))
        yield v.check("ddim", f"cfg{scale}_out", out[0], want[f"cfg{scale}_out"], DENOISER)
        yield v.check("ddim", f"cfg{scale}_xt", states[:, 0], want[f"cfg{scale}_xt"], DENOISER)
        yield v.check("ddim", f"cfg{scale}_cond0", first[0], want[f"cfg{scale}_cond0"], DENOISER)
        yield v.check("ddim", f"cfg{scale}_uncond0", first[1], want[f"cfg{scale}_uncond0"], DENOISER)
    plain, _ = compiled(model, lambda net, *inputs: net.sample_ddim(*inputs, steps=steps))(content, style, noise)
    yield v.check("ddim", "noguidance_out", plain[0], want["noguidance_out"], DENOISER)
    for name in want:
        if found := re.fullmatch(r"ddim(\d+)_cfg([0-9p]+)_out", name):
            yield v.check("ddim", name, _few_steps(v, found, content, style, noise), want[name], DENOISER)


def _few_steps(v: Vectors, name: re.Match[str], content, style, noise) -> jax.Array:
    """A sample with the number of steps and the guidance that an array's name says (`ddim4_cfg1p5_out`)."""
    steps, guidance = int(name[1]), float(name[2].replace("p", "."))
    sample = compiled(v.denoiser, lambda net, *inputs: net.sample_ddim(*inputs, steps=steps, guidance=guidance))
    return sample(content, style, noise)[0][0]


def _scales(pattern: str, names: Iterable[str]) -> list[str]:
    """What the group of `pattern` holds in the names that have its form, in order."""
    return [found[1] for found in (re.fullmatch(pattern, name) for name in names) if found]


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
