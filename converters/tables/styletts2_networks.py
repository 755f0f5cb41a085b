"""The rows of the networks of StyleTTS 2 and of Kokoro, whose tensors have the same names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from converters.table import (
    Arrays,
    Ignore,
    Row,
    Same,
    Shape,
    Table,
    Transform,
    chain,
    conv1d,
    conv2d,
    permute,
    prefixed,
    squeeze,
    transpose,
)
from converters.tables import albert
from empatheia_jax.styletts2.config import StyleTTS2Config
from empatheia_jax.styletts2.style_encoder import STAGES

Rows = list[Row | Ignore | Same]

# PyTorch's transposed convolutions are (in, out, width); ours are (width, in, out), not mirrored.
transposed_conv1d = permute(2, 0, 1, name="transposed_conv1d")
depthwise1d = chain(squeeze(1), transpose)  # (channels, 1, width) → (width, channels)
vector3 = chain(squeeze(2), squeeze(1))  # (channels, 1, 1) → (channels,)
channel_vector = chain(squeeze(2), squeeze(0))  # (1, channels, 1) → (channels,)


EXPAND: Any = "expand"
"""In place of `weight_norm`: a folded kernel here, its two parts g and v in the file."""


def weight_norm_parts(kernel: Transform) -> Transform:
    """The parts g and v of a weight norm (over all axes but the first, as in PyTorch) → the kernel g v / ‖v‖, by `kernel`.

    Back again v is the kernel itself and g its norm.
    """

    def norm(v: np.ndarray) -> np.ndarray:
        return np.sqrt(np.sum(np.square(v), axis=tuple(range(1, v.ndim)), keepdims=True))

    def shapes(targets: Sequence[Shape]) -> Sequence[Shape]:
        (v,) = kernel.source_shapes(targets)
        return [(v[0], *(1,) * (len(v) - 1)), v]

    def to_source(arrays: Arrays) -> Arrays:
        (v,) = kernel.to_source(arrays)
        return [norm(v), v]

    return Transform(
        f"weight_norm_parts then {kernel}",
        lambda arrays: kernel.to_target([arrays[1] * (arrays[0] / norm(arrays[1]))]),
        to_source,
        shapes,
    )


def linear(source: str, target: str, bias: bool = True) -> Rows:
    """A dense layer."""
    rows: Rows = [Row(f"{source}.weight", f"{target}.kernel", transpose)]
    return rows + ([Row(f"{source}.bias", f"{target}.bias")] if bias else [])


def conv(source: str, target: str, weight_norm: bool, bias: bool = True, kernel=conv1d) -> Rows:
    """A 1-D convolution, weight-normed or plain."""
    if weight_norm is EXPAND:
        parts = (f"{source}.weight_g", f"{source}.weight_v")
        rows: Rows = [Row(parts, f"{target}.kernel", weight_norm_parts(kernel))]
    elif weight_norm:
        rows = [
            Row(f"{source}.weight_g", f"{target}.g", vector3),
            Row(f"{source}.weight_v", f"{target}.v", kernel),
        ]
    else:
        rows = [Row(f"{source}.weight", f"{target}.kernel", kernel)]
    return rows + ([Row(f"{source}.bias", f"{target}.bias")] if bias else [])


def bilstm(source: str, target: str) -> Rows:
    """A bidirectional LSTM layer."""
    rows: Rows = []
    for suffix, direction in (("", "forward"), ("_reverse", "backward")):
        rows += [
            Row(f"{source}.weight_ih_l0{suffix}", f"{target}.{direction}.kernel_ih", transpose),
            Row(f"{source}.weight_hh_l0{suffix}", f"{target}.{direction}.kernel_hh", transpose),
            Row(f"{source}.bias_ih_l0{suffix}", f"{target}.{direction}.bias_ih"),
            Row(f"{source}.bias_hh_l0{suffix}", f"{target}.{direction}.bias_hh"),
        ]
    return rows


def residual(source: str, target: str, wn: bool) -> Rows:
    """An `AdainResBlk1d`; rows for parts that a block does not have fill nothing."""
    return (
        linear(f"{source}.norm1.fc", f"{target}.norm1.fc")
        + linear(f"{source}.norm2.fc", f"{target}.norm2.fc")
        + conv(f"{source}.conv1", f"{target}.conv1", wn)
        + conv(f"{source}.conv2", f"{target}.conv2", wn)
        + conv(f"{source}.conv1x1", f"{target}.shortcut", wn, bias=False)
        + conv(f"{source}.pool", f"{target}.pool", wn, kernel=depthwise1d)
    )


def snake_residual(source: str, target: str, wn: bool) -> Rows:
    """An `AdaINResBlock1`."""
    rows: Rows = []
    for half in (1, 2):
        rows += conv(f"{source}.convs{half}.{{j}}", f"{target}.convs{half}.{{j}}", wn)
        rows += linear(f"{source}.adain{half}.{{j}}.fc", f"{target}.adain{half}.{{j}}.fc")
        rows += [Row(f"{source}.alpha{half}.{{j}}", f"{target}.alpha{half}.{{j}}", channel_vector)]
    return rows


def text_encoder_rows(config: StyleTTS2Config) -> Rows:
    """The text encoder."""
    wn = config.weight_norm
    return [
        Row("embedding.weight", "embedding.embedding"),
        *conv("cnn.{i}.0", "cnn.{i}.conv", wn),
        Row("cnn.{i}.1.gamma", "cnn.{i}.norm.scale"),
        Row("cnn.{i}.1.beta", "cnn.{i}.norm.bias"),
        *bilstm("lstm", "lstm"),
    ]


def predictor_rows(config: StyleTTS2Config) -> Rows:
    """The predictor of durations, F0 and energy."""
    wn = config.weight_norm
    rows: Rows = []
    for layer in range(config.n_layer):  # LSTMs and norms alternate in one list
        rows += bilstm(f"text_encoder.lstms.{2 * layer}", f"text_encoder.lstms.{layer}")
        rows += linear(f"text_encoder.lstms.{2 * layer + 1}.fc", f"text_encoder.norms.{layer}.fc")
    rows += bilstm("lstm", "lstm") + bilstm("shared", "shared")
    rows += linear("duration_proj.linear_layer", "duration_proj")
    for curve in ("F0", "N"):
        rows += residual(f"{curve}.{{i}}", f"{curve}.{{i}}", wn)
        rows += conv(f"{curve}_proj", f"{curve}_proj", weight_norm=False)
    return rows


def decoder_rows(config: StyleTTS2Config) -> Rows:
    """The decoder before its vocoder."""
    wn = config.weight_norm
    rows = residual("encode", "body.encode", wn) + residual("decode.{i}", "body.decode.{i}", wn)
    rows += conv("F0_conv", "body.F0_conv", wn) + conv("N_conv", "body.N_conv", wn)
    rows += conv("asr_res.0", "body.asr_res", wn)
    rows += linear("generator.m_source.l_linear", "generator.m_source.linear")
    rows += conv("generator.ups.{i}", "generator.ups.{i}", wn, kernel=transposed_conv1d)
    rows += conv("generator.noise_convs.{i}", "generator.noise_convs.{i}", weight_norm=False)
    rows += snake_residual("generator.noise_res.{i}", "generator.noise_res.{i}", wn)
    blocks = len(config.decoder.resblock_kernel_sizes)
    for stage in range(len(config.decoder.upsample_rates)):
        for block in range(blocks):
            rows += snake_residual(
                f"generator.resblocks.{stage * blocks + block}", f"generator.resblocks.{stage}.{block}", wn
            )
    rows += conv("generator.conv_post", "generator.conv_post", wn)
    if config.decoder.type == "hifigan":
        rows.append(Row("generator.alphas.{i}", "generator.alphas.{i}", channel_vector))
    return rows


def spectral_conv2d(source: str, target: str, bias: bool = True) -> Rows:
    """A 2-D convolution with the old spectral norm: the kernel as trained, and the power iteration's two vectors."""
    rows: Rows = [
        Row(f"{source}.weight_orig", f"{target}.kernel", conv2d),
        Row(f"{source}.weight_u", f"{target}.u"),
        Row(f"{source}.weight_v", f"{target}.v"),
    ]
    return rows + ([Row(f"{source}.bias", f"{target}.bias")] if bias else [])


def style_encoder_rows(config: StyleTTS2Config) -> Rows:
    """A style encoder, acoustic or prosodic."""
    rows = spectral_conv2d("shared.0", "stem")
    for stage in range(STAGES):
        source, target = f"shared.{stage + 1}", f"blocks.{stage}"
        rows += spectral_conv2d(f"{source}.conv1", f"{target}.conv1")
        rows += spectral_conv2d(f"{source}.downsample_res.conv", f"{target}.downsample")
        rows += spectral_conv2d(f"{source}.conv2", f"{target}.conv2")
        rows += spectral_conv2d(f"{source}.conv1x1", f"{target}.shortcut", bias=False)
    return rows + spectral_conv2d(f"shared.{STAGES + 2}", "head") + linear("unshared", "unshared")


def diffusion_rows(config: StyleTTS2Config) -> Rows:
    """The denoiser is registered twice in a checkpoint, as `diffusion.net` and as `unet`: one network, equal tensors."""
    block, net = "blocks.{i}", "diffusion.net"
    attention, to = f"{net}.{block}.attention", f"{net}.to"
    rows: Rows = []
    for norm in ("norm", "norm_context"):
        if config.multispeaker:
            rows += linear(f"{attention}.{norm}.fc", f"{block}.{norm}.fc")
        else:
            rows += [
                Row(f"{attention}.{norm}.weight", f"{block}.{norm}.scale"),
                Row(f"{attention}.{norm}.bias", f"{block}.{norm}.bias"),
            ]
    rows += linear(f"{attention}.to_q", f"{block}.to_q", bias=False)
    rows += linear(f"{attention}.to_kv", f"{block}.to_kv", bias=False)
    rows += linear(f"{attention}.attention.to_out", f"{block}.to_out")
    rows += linear(f"{net}.{block}.feed_forward.0", f"{block}.up") + linear(
        f"{net}.{block}.feed_forward.2", f"{block}.down"
    )
    rows += [
        Row(f"{to}_out.1.weight", "to_out.kernel", chain(squeeze(2), transpose)),
        Row(f"{to}_out.1.bias", "to_out.bias"),
    ]
    rows += linear(f"{to}_mapping.0", "mapping1") + linear(f"{to}_mapping.2", "mapping2")
    rows += [Row(f"{to}_time.0.0.weights", "frequencies")] + linear(f"{to}_time.0.1", "to_time")
    rows += linear(f"{to}_features.0", "to_features") if config.multispeaker else []
    rows += [Row(f"{net}.fixed_embedding.embedding.weight", "fixed_embedding")]
    return rows + [Same(s.replace(net, "unet"), s) for row in rows if isinstance(row, Row) for s in row.sources]


def text_aligner_rows(config: StyleTTS2Config) -> Rows:
    """The text aligner (ASR)."""
    unit, s2s = "cnns.{i}.0.blocks.{j}", "asr_s2s"
    attention = f"{s2s}.attention_layer"

    def plain_conv(source: str, target: str, bias: bool = True) -> Rows:
        return conv(f"{source}.conv", target, weight_norm=False, bias=bias)

    def norm(source: str, target: str) -> Rows:
        return [Row(f"{source}.weight", f"{target}.scale"), Row(f"{source}.bias", f"{target}.bias")]

    def dense(source: str, target: str, bias: bool = True) -> Rows:
        return linear(f"{source}.linear_layer", target, bias)

    return [
        Row("to_mfcc.dct_mat", "dct"),
        *plain_conv("init_cnn", "stem"),
        *plain_conv(f"{unit}.0", "blocks.{i}.dilated.{j}"),
        *norm(f"{unit}.2", "blocks.{i}.norms.{j}"),
        *plain_conv(f"{unit}.4", "blocks.{i}.convs.{j}"),
        *norm("cnns.{i}.1", "blocks.{i}.out_norm"),
        *plain_conv("projection", "projection"),
        *dense("ctc_linear.0", "ctc_hidden"),
        *dense("ctc_linear.2", "ctc_out"),
        Row(f"{s2s}.embedding.weight", "embedding.embedding"),
        *linear(f"{s2s}.project_to_n_symbols", "to_symbols"),
        *dense(f"{s2s}.project_to_hidden.0", "to_hidden"),
        *dense(f"{attention}.query_layer", "query", bias=False),
        *dense(f"{attention}.memory_layer", "memory", bias=False),
        *dense(f"{attention}.v", "energy", bias=False),
        *plain_conv(f"{attention}.location_layer.location_conv", "location_conv", bias=False),
        *dense(f"{attention}.location_layer.location_dense", "location_dense", bias=False),
        Row(f"{s2s}.decoder_rnn.weight_ih", "rnn.kernel_ih", transpose),
        Row(f"{s2s}.decoder_rnn.weight_hh", "rnn.kernel_hh", transpose),
        Row(f"{s2s}.decoder_rnn.bias_ih", "rnn.bias_ih"),
        Row(f"{s2s}.decoder_rnn.bias_hh", "rnn.bias_hh"),
    ]


def batch_norm(source: str, target: str) -> Rows:
    """A batch normalisation with its running statistics."""
    return [
        Row(f"{source}.weight", f"{target}.scale"),
        Row(f"{source}.bias", f"{target}.bias"),
        Row(f"{source}.running_mean", f"{target}.mean"),
        Row(f"{source}.running_var", f"{target}.var"),
        Row(f"{source}.num_batches_tracked", f"{target}.count"),
    ]


def pitch_extractor_rows(config: StyleTTS2Config) -> Rows:
    """The pitch extractor (JDC)."""

    def kernel(source: str, target: str) -> Rows:
        return [Row(f"{source}.weight", f"{target}.kernel", conv2d)]

    rows = kernel("conv_block.0", "stem") + batch_norm("conv_block.1", "stem_norm") + kernel("conv_block.3", "stem_out")
    for block in range(3):
        source, target = f"res_block{block + 1}", f"blocks.{block}"
        rows += batch_norm(f"{source}.pre_conv.0", f"{target}.pre_norm")
        rows += kernel(f"{source}.conv.0", f"{target}.conv1") + batch_norm(f"{source}.conv.1", f"{target}.norm")
        rows += kernel(f"{source}.conv.3", f"{target}.conv2") + kernel(f"{source}.conv1by1", f"{target}.shortcut")
    rows += batch_norm("pool_block.0", "pool_norm")
    rows += kernel("detector_conv.0", "detector_conv") + batch_norm("detector_conv.1", "detector_norm")
    for branch in ("classifier", "detector"):
        rows += bilstm(f"bilstm_{branch}", f"{branch}_lstm") + linear(branch, branch)
    return rows


def normed_conv2d(source: str, target: str) -> Rows:
    """A weight-normed 2-D convolution."""
    return [
        Row(f"{source}.weight_g", f"{target}.g", chain(squeeze(3), vector3)),
        Row(f"{source}.weight_v", f"{target}.v", conv2d),
        Row(f"{source}.bias", f"{target}.bias"),
    ]


def discriminator_rows(convs: str, post: str) -> Rows:
    """`mpd` or `msd`, which name their layers differently."""
    source = target = "discriminators.{i}"
    return normed_conv2d(f"{source}.{convs}.{{j}}", f"{target}.convs.{{j}}") + normed_conv2d(
        f"{source}.{post}", f"{target}.post"
    )


def network_rows(name: str, config: StyleTTS2Config) -> Rows:
    """Rows of one network, with keys and paths from inside it."""
    match name:
        case "bert":
            return [*albert.rows()]
        case "bert_encoder":
            return [Row("weight", "kernel", transpose), Row("bias", "bias")]
        case "text_encoder":
            return text_encoder_rows(config)
        case "predictor":
            return predictor_rows(config)
        case "decoder":
            return decoder_rows(config)
        case "style_encoder" | "predictor_encoder":
            return style_encoder_rows(config)
        case "diffusion":
            return diffusion_rows(config)
        case "text_aligner":
            return text_aligner_rows(config)
        case "pitch_extractor":
            return pitch_extractor_rows(config)
        case "mpd":
            return discriminator_rows("convs", "conv_post")
        case "msd":
            return discriminator_rows("discriminators", "out")
        case "wd":
            return conv("pre", "pre", True) + conv("convs.{i}", "convs.{i}", True) + conv("conv_post", "post", True)
    raise ValueError(f"no table for the network {name!r}")


def into(rows: Iterable[Row | Ignore | Same], target: str) -> Rows:
    """The rows with their targets below `target`."""
    return [
        dataclasses.replace(row, target=tuple(target + t for t in row.targets)) if isinstance(row, Row) else row
        for row in rows
    ]


def network_table(name: str, config: StyleTTS2Config, *prefixes: str) -> Table:
    """Table of one network alone; its keys may stand under any of `prefixes`."""
    return Table(prefixed(network_rows(name, config), *(prefixes or ("",))))


def table(config: StyleTTS2Config) -> Table:
    """Rows of all networks that `config` names. Keys are `net.NETWORK.module.…` in a released file, where most networks
    were saved from a data-parallel wrapper, `net.NETWORK.…` for the others, and `NETWORK.…` in Kokoro.
    """
    rows: Rows = []
    for name in config.networks:
        prefixes = (f"net.{name}.module.", f"net.{name}.", f"{name}.module.", f"{name}.")
        rows += into(prefixed(network_rows(name, config), *prefixes), f"{name}.")
    return Table(rows + [Ignore("optimizer.*", "state of the training")])
