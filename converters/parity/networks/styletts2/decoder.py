"""The waveform decoder."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from converters.parity.networks.styletts2.comparison import (
    SOURCE_BOUNDS,
    Comparison,
    cf,
    cl,
)
from converters.parity.result import Result


def excitation(c: Comparison, f0: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Our own harmonic source."""
    return c.call("decoder", lambda net, f, n: net.source(f, n), f0, noise)


def generator_input(c: Comparison, source: np.ndarray, har: np.ndarray | None) -> np.ndarray:
    """What the generator takes: the source itself, or its spectrum with the stored frames (`har`) put in."""
    if c.config.decoder.type == "hifigan":
        return np.asarray(source)
    spectrum = np.array(c.call("decoder", lambda net, s: net.generator.spectrum(s), source))
    frames = cl(har)
    spectrum[:, : frames.shape[1]] = frames
    return spectrum


def compare_decoder(c: Comparison) -> Iterator[Result]:
    file = f"{c.name}.decoder"
    z = c.arrays(file)
    istft = c.config.decoder.type == "istftnet"
    source = excitation(c, z["F0"], z["sine_noise"])
    yield c.result(file, "har_source", source, z["har_source"], SOURCE_BOUNDS["decoder"])
    if istft:
        ours = np.asarray(c.call("decoder", lambda net, s: net.generator.spectrum(s), z["har_source"]))
        yield compare_spectrum(c, file, cf(ours), z["har"])
    used = source if c.float64 else z["har_source"]  # float32's rounding of the stored one is too coarse for float64
    given = generator_input(c, used, z["har"][:, :, :1] if istft else None)

    def parts(net, asr, f0, energy, style, given):
        first, last = net.body.intermediates(asr, f0, energy, style)
        generator = net.generator
        raw, _ = (generator.spectrogram if istft else generator.pre_tanh)(last, style, given)
        up = generator.ups[0](jax.nn.leaky_relu(last, 0.1) if istft else _first_snake(generator, last))
        return first, last, up, generator.noise_branch(0, given, style, None), raw, generator(last, style, given)

    first, last, up, noise, raw, out = c.call("decoder", parts, cl(z["asr"]), z["F0"], z["N"], z["style"], given)
    yield c.result(file, "encode_slice", c.cut(file, "encode_slice", cf(first), ":, ::16"), z["encode_slice"])
    yield c.result(file, "decode3_slice", c.cut(file, "decode3_slice", cf(last), ":, ::8"), z["decode3_slice"])
    yield c.result(file, "ups0_slice", c.cut(file, "ups0_slice", cf(up), ":, ::16, ::4"), z["ups0_slice"])
    # The stored losses of these are those of a float32 source; with the source put in, what remains is the decoder's own.
    for key, ours in (
        ("noise_res0_slice", c.cut(file, "noise_res0_slice", cf(noise), ":, ::16, ::4")),
        ("conv_post", cf(raw)),
    ):
        yield c.result(file, key, ours, z[key], 2e-5 * float(np.abs(z[key]).max()))
    yield c.result(file, "out", np.asarray(out)[:, None], z["out"], c.wave_bound("decoder"))


def _first_snake(generator, x):
    alpha = generator.alphas[0][...]
    return x + jnp.square(jnp.sin(alpha * x)) / alpha


def compare_spectrum(c: Comparison, file: str, ours: np.ndarray, expected: np.ndarray) -> Result:
    """Magnitudes and phases, of the stored source. Phases are compared as angles (±π are one) weighted by magnitude: the
    angle of a vanishing number is noise; frame 0's sign is a rounding error of the reference.
    """
    bins = ours.shape[1] // 2
    turned = ours[:, :bins] * np.exp(1j * ours[:, bins:]) - expected[:, :bins] * np.exp(1j * expected[:, bins:])
    largest = float(np.abs(turned).max())
    scale = float(expected[:, :bins].max())
    edges = np.abs(ours[:, [bins, 2 * bins - 1], 1:] - expected[:, [bins, 2 * bins - 1], 1:])
    # Where the real part itself is rounding noise, 0 and π are a coin's two sides.
    certain = expected[:, [0, bins - 1], 1:] > 1e-5 * scale
    wrong = float(np.max(np.where(certain, edges, 0)))
    return Result(f"{file}.npz", "har", max(largest, wrong), max(largest / scale, wrong), 1e-5 * scale)
