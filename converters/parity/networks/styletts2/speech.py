"""Networks that take speech: mel spectrogram, style encoders, text aligner, pitch extractor, discriminators."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from converters.parity.networks.styletts2.comparison import (
    Comparison,
    cf,
    cl,
)
from converters.parity.result import Result, compare
from empatheia_jax.styletts2 import mel as mel_frontend


def compare_mel(c: Comparison) -> Iterator[Result]:
    z, wave = c.arrays("mel"), c.cast(c.arrays("mel")["wave"])
    # The stored constants are float32 and so is the rounding of ours: it is their bound in float64 too.
    yield compare("mel.npz", "filterbank", mel_frontend.filterbank(), z["filterbank"], 2e-6)
    before = (mel_frontend.FFT - mel_frontend.WINDOW) // 2
    yield compare("mel.npz", "window", mel_frontend.window()[before : before + mel_frontend.WINDOW], z["window"], 1e-6)
    yield c.result("mel", "mel_power", cf(jax.jit(mel_frontend.mel_power)(wave)), z["mel_power"])
    yield c.result("mel", "log_mel", cf(jax.jit(mel_frontend.log_mel)(wave)), z["log_mel"])


def compare_style_encoders(c: Comparison) -> Iterator[Result]:
    for name in ("style_encoder", "predictor_encoder"):
        z = c.arrays(name)

        def parts(net, mel):
            trunk = net.trunk(mel)
            return trunk[0], trunk[1], trunk[-2], trunk[-1], net.pool(trunk[-1]), net(mel)

        first, second, fourth, last, pooled, out = c.call(name, parts, cl(z["mel"]))
        yield c.result(
            name, "shared_0_slice", c.cut(name, "shared_0_slice", cf(first), ":, :4, :16, :16"), z["shared_0_slice"]
        )
        yield c.result(
            name, "shared_1_slice", c.cut(name, "shared_1_slice", cf(second), ":, :4, :16, :16"), z["shared_1_slice"]
        )
        yield c.result(name, "shared_4", cf(fourth), z["shared_4"])
        yield c.result(name, "shared_6", cf(last), z["shared_6"])
        yield c.result(name, "pooled", pooled, z["pooled"])
        yield c.result(name, "out", out, z["out"])


def compare_text_aligner(c: Comparison) -> Iterator[Result]:
    z = c.arrays("text_aligner")

    def parts(net, mel, padding, tokens, replace):
        features = net.features(mel)
        return net.cepstra(mel), features, net.ctc_logits(features), *net.align(features, padding, tokens, replace)

    mfcc, feature, ctc, logits, attention = c.call(
        "text_aligner", parts, cl(z["mel"]), z["src_mask"], z["tokens"], z["rand_mask_uniform"]
    )
    yield c.result("text_aligner", "mfcc", cf(mfcc), z["mfcc"])
    yield c.result("text_aligner", "feature", cf(feature), z["feature"])
    yield c.result("text_aligner", "ctc_logit", ctc, z["ctc_logit"])
    yield c.result("text_aligner", "s2s_logit", logits, z["s2s_logit"])
    yield c.result("text_aligner", "s2s_attn", attention, z["s2s_attn"])


def compare_pitch_extractor(c: Comparison) -> Iterator[Result]:
    z = c.arrays("pitch_extractor")

    def parts(net, mel):
        feature = net.feature(mel)
        return feature, net.pool(feature), net(mel)

    feature, pooled, f0 = c.call("pitch_extractor", parts, z["mel"][:, 0].swapaxes(1, 2))
    feature = np.asarray(feature).transpose(0, 3, 2, 1)  # (B, C, mel, T)
    few = c.cut("pitch_extractor", "gan_feature_slice", feature, ":, ::16")
    yield c.result("pitch_extractor", "gan_feature_slice", few, z["gan_feature_slice"])
    yield c.result("pitch_extractor", "pool", cf(pooled), z["pool"])
    yield c.result("pitch_extractor", "F0", f0, z["F0"])
    for row in range(len(z["mel"])):
        if (key := f"F0_row{row}_alone") in z:
            yield c.result("pitch_extractor", key, f0[row], z[key])


def compare_discriminators(c: Comparison) -> Iterator[Result]:
    z = c.arrays("discriminators")
    for name in ("mpd", "msd"):

        def parts(net, wave):
            return [(logits, jnp.mean(jnp.abs(maps[0]), (0, 1, 2))) for logits, maps in net(wave)]

        for i, (logits, mean) in enumerate(c.call(name, parts, z["wave"][:, 0])):
            yield c.result("discriminators", f"{name}_{i}_out", logits, z[f"{name}_{i}_out"])
            key = f"{name}_{i}_fmap0_absmean"
            yield c.result("discriminators", key, mean, z[key])
    out = c.call("wd", lambda net, x: net(x), cl(z["wd_in"]))
    yield c.result("discriminators", "wd_out", out, z["wd_out"])
