"""The style denoiser and its sampler."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converters.parity.networks.styletts2.comparison import (
    Comparison,
)
from converters.parity.result import Result, compare
from empatheia_jax.styletts2.sampler import adpm2, ancestral_levels, karras_schedule


def compare_diffusion(c: Comparison) -> Iterator[Result]:
    file = f"{c.name}.diffusion"
    z = c.arrays(file)
    features = z.get("features")
    x, embedding = z["x_noisy"][:, 0], z["embedding"]

    def parts(net, x, sigmas, embedding, features):
        skip, out, into, noise = net.scales(sigmas)
        mapping = net.mapping(noise, features)
        update = net(into[:, None] * x, noise, embedding, features)
        single, double = (net.denoise(x, sigmas, embedding, features, guidance=w) for w in (1, 2.0))
        return skip, out, into, noise, mapping, update, single, double

    names = ("c_skip", "c_out", "c_in", "c_noise", "mapping", "net_out", "denoised_scale1", "denoised_scale2")
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
    for scale in (1, 2):
        key = f"sampled_scale{scale}"
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
