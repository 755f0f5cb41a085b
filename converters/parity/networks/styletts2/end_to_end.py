"""A sentence from tokens to speech."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from converters.parity.networks.styletts2.comparison import (
    CHAINED_BOUNDS,
    SOURCE_BOUNDS,
    Comparison,
    cf,
    cl,
)
from converters.parity.networks.styletts2.decoder import excitation, generator_input
from converters.parity.result import Result
from empatheia_jax.styletts2.durations import frame_index, whole_durations
from empatheia_jax.styletts2.sampler import adpm2, mix_with_reference


def compare_end_to_end(c: Comparison) -> Iterator[Result]:
    """Every stage from our own previous one; the decoder from the stored inputs too, as the README asks."""
    file = f"{c.name}.e2e"
    z = c.arrays(file)
    tokens, lengths = z["tokens"], np.array([z["tokens"].shape[1]], np.int32)
    text = c.call("text_encoder", lambda net, t, n: net(t, n), tokens, lengths)
    yield c.result(file, "t_en", cf(text), z["t_en"])
    bert = c.call("bert", lambda net, t: net(t), tokens)
    yield c.result(file, "bert_dur", bert, z["bert_dur"])
    projected = c.call("bert_encoder", lambda net, x: net(x), bert)
    yield c.result(file, "d_en", cf(projected), z["d_en"])
    reference = None
    if c.config.multispeaker:
        mel = cl(z["ref_mel"])
        halves = [c.call(n, lambda net, m: net(m), mel) for n in ("style_encoder", "predictor_encoder")]
        reference = np.concatenate(halves, -1)
        yield c.result(file, "ref_s", reference, z["ref_s"])

    guidance = float(z.get("embedding_scale", 1))

    def sample(net, noise, steps, embedding, features):
        return adpm2(lambda x, s: net.denoise(x, s, embedding, features, guidance=guidance), noise, steps)

    style = c.call("diffusion", sample, z["noise"][:, 0], z["step_noise"][:, :, 0], bert, reference)
    yield c.result(file, "s_pred", style, z["s_pred"])
    if reference is not None:
        shares = (float(str(z[name])) for name in ("alpha", "beta"))  # 0.3 was stored in float32, and meant as 0.3
        style = mix_with_reference(style, jnp.asarray(reference), *shares)
    acoustic, prosodic = np.split(np.asarray(style), 2, -1)
    yield c.result(file, "ref", acoustic, z["ref"])
    yield c.result(file, "s", prosodic, z["s"])

    def durations(net, x, style, lengths):
        d = net.encode(x, style, lengths)
        return d, net.duration_logits(d, lengths), net.durations(d, lengths)

    d, logits, expected = c.call("predictor", durations, projected, prosodic, lengths)
    for key, ours in (("d", d), ("duration_logits", logits), ("duration", expected)):
        yield c.result(file, key, ours, z[key])
    yield c.result(file, "pred_dur_rounded", whole_durations(expected[0]), z["pred_dur_rounded"], 0)
    whole = whole_durations(expected[0], last_extra=c.config.last_extra)
    yield c.result(file, "pred_dur", whole, z["pred_dur"], 0)
    yield from compare_frames(c, file, z, text, d, whole, prosodic, acoustic)


def compare_frames(c: Comparison, file: str, z, text, d, whole, prosodic, acoustic) -> Iterator[Result]:
    """The second half of the trace: frames, curves, wave."""
    index = frame_index(whole, late=c.config.late)
    en, asr = np.asarray(d)[:, index], np.asarray(text)[:, index]
    yield c.result(file, "en", cf(en), z["en"])
    f0, energy = c.call("predictor", lambda net, x, s: net.curves(x, s), en, prosodic)
    yield c.result(file, "F0", f0, z["F0"])
    yield c.result(file, "N", energy, z["N"])
    yield c.result(file, "asr", cf(asr), z["asr"])
    # Phase is a sum over all frames: what float32 rounds off F0 adds up with the length of the text. In float32 the source
    # therefore follows the stored F0; that it follows from our own is shown in float64.
    source = excitation(c, f0 if c.float64 else z["F0"], z["sine_noise"])
    yield c.result(file, "har_source", source, z["har_source"], SOURCE_BOUNDS["e2e"])

    def decode(net, asr, f0, energy, style, given):
        return net.generator(net.body(asr, f0, energy, style), style, given)

    def wave(*inputs, source):
        given = generator_input(c, source, z.get("har_frame0"))
        return np.asarray(c.call("decoder", decode, *inputs, given))[:, None]

    chained = wave(asr, f0, energy, acoustic, source=source)
    if c.float64:
        yield c.result(file, "wav", chained, z["wav"])
        return
    stored = wave(cl(z["asr"]), z["F0"], z["N"], z["ref"], source=z["har_source"])
    yield c.result(file, "wav", stored, z["wav"], c.wave_bound("e2e"))
    different = 1 - float(np.corrcoef(chained.ravel(), z["wav"].ravel())[0, 1])
    note = "nothing put in but the source's F0 and frame 0's phases; 1 − correlation"
    yield Result(f"{file}.npz", "wav (chained)", different, different, CHAINED_BOUNDS[c.config.decoder.type], note)


def compare_end_to_end_in_float64(c: Comparison) -> Iterator[Result]:
    """The source and the wave with every stage from our own previous one, in float64, whatever the run's type is."""
    if c.float64:
        return  # `compare_end_to_end` has done so
    with jax.enable_x64(True):
        exact = Comparison(c.folder, c.name, c.seed, True)
        found = [result for result in compare_end_to_end(exact) if result.array in ("har_source", "wav")]
    for result in found:
        yield dataclasses.replace(result, array=f"{result.array} (float64)")
