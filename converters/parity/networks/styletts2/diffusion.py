"""The style denoiser and its sampler."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from converters.parity.networks.styletts2.comparison import (
    Comparison,
)
from converters.parity.result import Result, compare
from empatheia_jax.styletts2.sampler import adpm2, ancestral_levels, karras_schedule


def scales_of(prefix: str, names: Iterable[str]) -> list[tuple[str, float]]:
    """(name, guidance) of the arrays whose name ends in their guidance: `sampled_scale2`, `sampled_scale1.5`."""
    found = (re.fullmatch(rf"{prefix}(\d+(?:\.\d+)?)", name) for name in names)
    return [(match[0], float(match[1])) for match in found if match]


def compare_diffusion(c: Comparison) -> Iterator[Result]:
    file = f"{c.name}.diffusion"
    z = c.arrays(file)
    features = z.get("features")
    x, embedding = z["x_noisy"][:, 0], z["embedding"]

    def parts(net, x, sigmas, embedding, features):
        skip, out, into, noise = net.scales(sigmas)
        mapping = net.mapping(noise, features)
        update = net(into[:, None] * x, noise, embedding, features)
        guided = [net.denoise(x, sigmas, embedding, features, guidance=w) for _, w in denoised]
        return skip, out, into, noise, mapping, update, *guided

    denoised = scales_of("denoised_scale", z)
    names = ("c_skip", "c_out", "c_in", "c_noise", "mapping", "net_out", *(name for name, _ in denoised))
    for name, ours in zip(names, c.call("diffusion", parts, x, z["sigmas"], embedding, features)):
        yield c.result(file, name, np.asarray(ours).reshape(z[name].shape), z[name])
    schedule = karras_schedule(int(z["num_steps"]))
    yield compare(f"{file}.npz", "schedule", schedule, z["schedule"], 0)  # float32 constants of the original
    levels = ancestral_levels(schedule[:-2], schedule[1:-1])
    yield compare(f"{file}.npz", "sigma_up_down_mid", levels, z["sigma_up_down_mid"], 3e-6)

    def sample(net, noise, steps, embedding, features, guidance):
        def denoise(x, sigma):
            return net.denoise(x, sigma, embedding, features, guidance=guidance)

        return adpm2(denoise, noise, steps)

    first = None if features is None else features[:1]
    for key, scale in scales_of("sampled_scale", z):
        ours = c.call(
            "diffusion",
            lambda net, n, s, e, f, w=scale: sample(net, n, s, e, f, w),
            z["noise"][:, 0],
            z["step_noise"][:, :, 0],
            embedding[:1],
            first,
        )
        yield c.result(file, key, ours[:, None], z[key])
    ours = c.call(
        "diffusion",
        lambda net, n, s, e, f: sample(net, n, s, e, f, 1),
        z["batch_noise"][:, 0],
        z["batch_step_noise"][:, :, 0],
        embedding,
        features,
    )
    yield c.result(file, "batch_sampled", ours[:, None], z["batch_sampled"])
