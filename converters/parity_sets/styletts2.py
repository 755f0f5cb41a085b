"""StyleTTS 2's networks at full size against their reference, for both published configurations.

Bounds are those of the vectors' README: ten times what the reference itself loses in float32, plus 1e-6 of the largest value;
in float64 1e-6 of the largest value. What follows the harmonic source is compared with the stored source (and, for the
iSTFT decoder, the stored first-frame phases) put in, as the README says, because neither is reproducible to float32's digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from converters import interpreter
from converters.parity import Result, compare
from converters.seeded import seeded_state_dict
from converters.tables.styletts2 import PLBERT, network_table, table
from empatheia_jax import weights
from empatheia_jax.styletts2 import mel as mel_frontend
from empatheia_jax.styletts2.config import NETWORKS, StyleTTS2Config
from empatheia_jax.styletts2.model import StyleTTS2, build_network, repeat_by_duration, round_durations
from empatheia_jax.styletts2.sampler import adpm2, ancestral_levels, karras_schedule, mix_with_reference

LOSSES = "float32_vs_float64.json"
CONFIGS = ("ljspeech", "libritts")
# README section 5: the waveform with the stored source put in.
WAVE_BOUNDS = {"libritts.decoder": 1e-5, "libritts.e2e": 1e-5, "ljspeech.decoder": 1e-5, "ljspeech.e2e": 2e-4}
# Nothing put in: 1 − correlation that the README states for the reference itself in float32, end to end.
CHAINED_BOUNDS = {"hifigan": 1 - 0.9999, "istftnet": 1 - 0.954}
# A float32 source is off by this much in the reference itself (decoder file, end to end); ours keeps more digits.
SOURCE_BOUNDS = {"decoder": 4e-4, "e2e": 2e-3}


def matches(folder: Path) -> bool:
    return (folder / LOSSES).is_file() and all((folder / "manifests" / name).is_dir() for name in CONFIGS)


def source_config(name: str) -> dict[str, Any]:
    """`model_params` of the two published configurations (`Configs/config.yml`, `Configs/config_libritts.yml`)."""
    blocks = {"resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3}
    istft = {"type": "istftnet", "upsample_rates": [10, 6], "upsample_kernel_sizes": [20, 12]}
    istft |= {"gen_istft_n_fft": 20, "gen_istft_hop_size": 5}
    hifigan = {"type": "hifigan", "upsample_rates": [10, 5, 3, 2], "upsample_kernel_sizes": [20, 10, 6, 4]}
    return {
        "multispeaker": name == "libritts",
        "dim_in": 64,
        "hidden_dim": 512,
        "n_layer": 3,
        "n_mels": 80,
        "n_token": 178,
        "max_dur": 50,
        "style_dim": 128,
        "decoder": {**(hifigan if name == "libritts" else istft), **blocks, "upsample_initial_channel": 512},
        "slm": {"hidden": 768, "nlayers": 13, "initial_channel": 64},
        "diffusion": {
            "transformer": {"num_layers": 3, "num_heads": 8, "head_features": 64, "multiplier": 2},
            "dist": {"sigma_data": 0.2},
        },
    }


def published_config(name: str) -> StyleTTS2Config:
    """One of the two published configurations."""
    return StyleTTS2Config.from_source(source_config(name), PLBERT)


def state_dict(folder: Path, network: str, config: str, seed: int) -> dict[str, np.ndarray]:
    """The stand-in checkpoint of one network: seeded tensors, then the folder's overrides."""
    manifest = json.loads((folder / "manifests" / config / f"{network}.json").read_text())
    spec = json.loads((folder / "overrides.json").read_text()).get(network, {})
    tensors = seeded_state_dict(manifest, seed + spec.get("seed_offset", 0))
    for key, (factor, offset) in {**spec.get("affine", {}), **spec.get("affine_by_config", {}).get(config, {})}.items():
        tensors[key] = tensors[key] * np.float32(factor) + np.float32(offset)
    if "arrays" in spec:
        with np.load(folder / spec["arrays"]) as arrays:
            tensors.update({key: arrays[key] for key in arrays.files if key in tensors})
    for key, entry in manifest.items():
        if "same_as" in entry:
            tensors[key] = tensors[entry["same_as"]]
    return tensors


class Comparison:
    """Loads networks of one configuration, runs them compiled, and compares with one file of the folder."""

    def __init__(self, folder: Path, config: str, seed: int, float64: bool):
        self.folder, self.name, self.seed, self.float64 = folder, config, seed, float64
        self.config = published_config(config)
        self.dtype = jnp.float64 if float64 else jnp.float32
        self.losses = json.loads((folder / LOSSES).read_text())
        self._networks: dict[str, nnx.Module] = {}

    def network(self, name: str) -> nnx.Module:
        """One network with its stand-in weights; converted through the table, as a checkpoint is."""
        if name not in self._networks:

            def construct():
                kinds = {"rngs": nnx.Rngs(0), "dtype": self.dtype, "param_dtype": self.dtype}
                return build_network(name, self.config, **kinds)

            abstract = weights.flatten(nnx.eval_shape(construct))
            rows = network_table(name, self.config, "module.", "")
            tensors = state_dict(self.folder, name, self.name, self.seed)
            flat = interpreter.load(tensors, rows, abstract, self.dtype)
            self._networks[name] = weights.materialize(construct, flat)
        return self._networks[name]

    def call(self, network: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(network, *arguments)` compiled, float arguments in the run's type."""
        graph, state = nnx.split(self.network(network))
        arguments = jax.tree.map(self.cast, arguments)
        return jax.jit(lambda state, *a: function(nnx.merge(graph, state), *a))(state, *arguments)

    def cast(self, x: Any) -> Any:
        x = np.asarray(x)
        return x.astype(self.dtype) if np.issubdtype(x.dtype, np.floating) else x

    def arrays(self, file: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{file}.npz") as arrays:
            return {key: arrays[key] for key in arrays.files}

    def result(self, file: str, key: str, ours: Any, expected: np.ndarray, bound: float | None = None) -> Result:
        """Compared within the README's bound, or within `bound` in float32."""
        largest = float(np.abs(expected).max())
        exact = 1e-6 * largest
        if self.float64:
            bound = exact
        elif bound is None:
            loss = self.losses.get(file, {}).get(key, {}).get("float32_vs_float64_max_abs", 0.0)
            bound = 10 * loss + exact
        return compare(f"{file}.npz", key, np.asarray(ours), expected, bound)


def cf(x: Any) -> np.ndarray:
    """Channels-last → channels-first."""
    return np.moveaxis(np.asarray(x), -1, 1)


def cl(x: Any) -> np.ndarray:
    """Channels-first → channels-last."""
    return np.moveaxis(np.asarray(x), 1, -1)


def compare_manifests(c: Comparison) -> Iterator[Result]:
    """The whole checkpoint's keys and shapes against the whole model."""
    manifest = {}
    for name in NETWORKS:
        entries = json.loads((c.folder / "manifests" / c.name / f"{name}.json").read_text())
        manifest |= {f"net.{name}.{key}": entry for key, entry in entries.items()}
    abstract = weights.flatten(nnx.eval_shape(lambda: StyleTTS2(c.config, rngs=nnx.Rngs(0))))
    report = interpreter.check(manifest, table(c.config), abstract)
    wrong = len(report.lines()) + len(report.ignored)
    yield Result(f"manifests/{c.name}", f"{len(manifest)} keys", wrong, wrong, 0, "; ".join(report.lines()[:1]))


def compare_mel(c: Comparison) -> Iterator[Result]:
    z, wave = c.arrays("mel"), c.cast(c.arrays("mel")["wave"])
    # The stored constants are float32 and so is the rounding of ours: it is their bound in float64 too.
    yield compare("mel.npz", "filterbank", mel_frontend.filterbank(), z["filterbank"], 2e-6)
    before = (mel_frontend.FFT - mel_frontend.WINDOW) // 2
    yield compare("mel.npz", "window", mel_frontend.window()[before : before + mel_frontend.WINDOW], z["window"], 1e-6)
    yield c.result("mel", "mel_power", cf(jax.jit(mel_frontend.mel_power)(wave)), z["mel_power"])
    yield c.result("mel", "log_mel", cf(jax.jit(mel_frontend.log_mel)(wave)), z["log_mel"])


def compare_text_encoder(c: Comparison) -> Iterator[Result]:
    z = c.arrays("text_encoder")
    out = c.call("text_encoder", lambda net, t, n: net(t, n), z["tokens"], z["lengths"])
    yield c.result("text_encoder", "out", cf(out), z["out"])
    length = int(z["lengths"][1])
    alone = cf(out)[1:, :, :length]  # the README's unpadded run of row 1 must equal our padded one
    yield c.result("text_encoder", "out_row1_alone", alone, z["out_row1_alone"])


def compare_bert(c: Comparison) -> Iterator[Result]:
    z = c.arrays("bert")

    def parts(net, tokens, lengths):
        positions = net.positions[...][: tokens.shape[1]]
        embeddings = net.embedding_norm(net.tokens[...][tokens] + net.types[...][0] + positions)
        return embeddings, net.projection(embeddings), net(tokens, lengths=lengths)

    found = c.call("bert", parts, z["tokens"], z["attention_mask"].sum(1))
    for key, ours in zip(("embeddings", "hidden0", "out"), found):
        yield c.result("bert", key, ours, z[key])


def compare_bert_encoder(c: Comparison) -> Iterator[Result]:
    z = c.arrays("bert_encoder")
    yield c.result("bert_encoder", "out", c.call("bert_encoder", lambda net, x: net(x), z["x"]), z["out"])


def compare_style_encoders(c: Comparison) -> Iterator[Result]:
    for name in ("style_encoder", "predictor_encoder"):
        z = c.arrays(name)

        def parts(net, mel):
            trunk = net.trunk(mel)
            return trunk[0], trunk[1], trunk[-2], trunk[-1], net.pool(trunk[-1]), net(mel)

        first, second, fourth, last, pooled, out = c.call(name, parts, cl(z["mel"]))
        yield c.result(name, "shared_0_slice", cf(first)[:, :4, :16, :16], z["shared_0_slice"])
        yield c.result(name, "shared_1_slice", cf(second)[:, :4, :16, :16], z["shared_1_slice"])
        yield c.result(name, "shared_4", cf(fourth), z["shared_4"])
        yield c.result(name, "shared_6", cf(last), z["shared_6"])
        yield c.result(name, "pooled", pooled, z["pooled"])
        yield c.result(name, "out", out, z["out"])


def compare_predictor(c: Comparison) -> Iterator[Result]:
    z = c.arrays("predictor")

    def parts(net, text, style, lengths, alignment):
        d = net.encode(text, style, lengths)
        durations = net.durations(d, lengths)
        unpacked = net.duration_logits(d, None)
        return d, net.duration_logits(d, lengths), unpacked, durations, jnp.einsum("btc,btf->bfc", d, alignment)

    d, logits, unpacked, durations, en = c.call(
        "predictor", parts, cl(z["d_en"]), z["style"], z["lengths"], z["alignment"]
    )
    yield c.result("predictor", "d", d, z["d"])
    yield c.result("predictor", "d_row1_alone", d[1:, : int(z["lengths"][1])], z["d_row1_alone"])
    yield c.result("predictor", "duration_logits", logits, z["duration_logits"])
    yield c.result("predictor", "duration_logits_unpacked_lstm", unpacked, z["duration_logits_unpacked_lstm"])
    yield c.result("predictor", "duration", durations, z["duration"])
    yield c.result("predictor", "en", cf(en), z["en"])
    shared, (f0, energy) = c.call(
        "predictor", lambda net, x, s: (net.shared_states(x), net.curves(x, s)), cl(z["f0n_en"]), z["style"]
    )
    yield c.result("predictor", "f0n_shared", shared, z["f0n_shared"])
    yield c.result("predictor", "F0", f0, z["F0"])
    yield c.result("predictor", "N", energy, z["N"])


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
    yield c.result("pitch_extractor", "gan_feature_slice", feature[:, ::16], z["gan_feature_slice"])
    yield c.result("pitch_extractor", "pool", cf(pooled), z["pool"])
    yield c.result("pitch_extractor", "F0", f0, z["F0"])
    yield c.result("pitch_extractor", "F0_row0_alone", f0[0], z["F0_row0_alone"])


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
    yield c.result(file, "encode_slice", cf(first)[:, ::16], z["encode_slice"])
    yield c.result(file, "decode3_slice", cf(last)[:, ::8], z["decode3_slice"])
    yield c.result(file, "ups0_slice", cf(up)[:, ::16, ::4], z["ups0_slice"])
    # The stored losses of these are those of a float32 source; with the source put in, what remains is the decoder's own.
    for key, ours in (("noise_res0_slice", cf(noise)[:, ::16, ::4]), ("conv_post", cf(raw))):
        yield c.result(file, key, ours, z[key], 2e-5 * float(np.abs(z[key]).max()))
    yield c.result(file, "out", np.asarray(out)[:, None], z["out"], WAVE_BOUNDS[file])


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

    def sample(net, noise, steps, embedding, features):
        return adpm2(lambda x, s: net.denoise(x, s, embedding, features), noise, steps)

    style = c.call("diffusion", sample, z["noise"][:, 0], z["step_noise"][:, :, 0], bert, reference)
    yield c.result(file, "s_pred", style, z["s_pred"])
    if c.config.multispeaker:
        shares = (float(str(z[name])) for name in ("alpha", "beta"))  # 0.3 was stored in float32, and meant as 0.3
        style = mix_with_reference(style, reference, *shares)
    acoustic, prosodic = np.split(np.asarray(style), 2, -1)
    yield c.result(file, "ref", acoustic, z["ref"])
    yield c.result(file, "s", prosodic, z["s"])

    def durations(net, x, style, lengths):
        d = net.encode(x, style, lengths)
        return d, net.duration_logits(d, lengths), net.durations(d, lengths)

    d, logits, expected = c.call("predictor", durations, projected, prosodic, lengths)
    for key, ours in (("d", d), ("duration_logits", logits), ("duration", expected)):
        yield c.result(file, key, ours, z[key])
    yield c.result(file, "pred_dur_rounded", round_durations(expected, lengths)[0], z["pred_dur_rounded"], 0)
    whole = round_durations(expected, lengths, last_extra=0 if c.config.multispeaker else 5)
    yield c.result(file, "pred_dur", whole[0], z["pred_dur"], 0)
    yield from compare_frames(c, file, z, text, d, whole, prosodic, acoustic)


def compare_frames(c: Comparison, file: str, z, text, d, whole, prosodic, acoustic) -> Iterator[Result]:
    """The second half of the trace: frames, curves, wave."""
    frames = int(whole.sum())

    def align(x):
        y = repeat_by_duration(jnp.asarray(x), jnp.asarray(whole), frames)
        return np.concatenate([y[:, :1], y[:, :-1]], 1) if c.config.decoder.type == "hifigan" else np.asarray(y)

    en, asr = align(d), align(text)
    yield c.result(file, "en", cf(en), z["en"])
    f0, energy = c.call("predictor", lambda net, x, s: net.curves(x, s), en, prosodic)
    yield c.result(file, "F0", f0, z["F0"])
    yield c.result(file, "N", energy, z["N"])
    yield c.result(file, "asr", cf(asr), z["asr"])
    source = excitation(c, f0, z["sine_noise"])
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
    yield c.result(file, "wav", stored, z["wav"], WAVE_BOUNDS[file])
    different = 1 - float(np.corrcoef(chained.ravel(), z["wav"].ravel())[0, 1])
    note = "nothing put in but frame 0's phases; 1 − correlation"
    yield Result(f"{file}.npz", "wav (chained)", different, different, CHAINED_BOUNDS[c.config.decoder.type], note)


SHARED = (
    compare_mel,
    compare_text_encoder,
    compare_bert,
    compare_bert_encoder,
    compare_style_encoders,
    compare_predictor,
    compare_text_aligner,
    compare_pitch_extractor,
    compare_discriminators,
)
EACH = (compare_manifests, compare_diffusion, compare_decoder, compare_end_to_end)


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for name in CONFIGS:
        comparison = Comparison(folder, name, seed, float64)
        for part in (SHARED if name == CONFIGS[0] else ()) + EACH:
            yield from part(comparison)
