"""Single layers of the denoiser and the renderer."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from flax import nnx

from converters.parity.networks.dreamtalk.vectors import (
    DENOISER,
    EXACT,
    HIDDEN,
    PICTURE,
    Vectors,
    nchw,
)
from converters.parity.result import Result
from converters.parity.seeded import seeded_state_dict
from converters.table import Table
from converters.tables import dreamtalk as tables
from empatheia_jax.dreamtalk import renderer_layers as layers
from empatheia_jax.dreamtalk.denoiser import TimeEmbedding
from empatheia_jax.dreamtalk.style_encoder import mish
from empatheia_jax.dreamtalk.transformer import DecoderLayer, DynamicFeedForward


def single_layers(v: Vectors) -> Iterator[Result]:
    want, net, style = v.load("layers"), v.renderer, v.denoiser.style_encoder
    z = v.array(want["descriptor"][..., 0])
    decode = net.editing.levels
    for name, layer in {
        "adain__warpping_net.hourglass.encoder.encoder0.norm_0": lambda x: net.warping.encoder[0].norm_0(x, z),
        "adain_encoder_block__warpping_net.hourglass.encoder.encoder0": lambda x: net.warping.encoder[0](x, z),
        "adain_decoder_block__warpping_net.hourglass.decoder.decoder4": lambda x: net.warping.decoder[0](x, z),
        "layernorm2d__warpping_net.flow_out.0": lambda x: net.warping.flow_norm(x),
        "down_block__editing_net.encoder.down0": lambda x: layers.average_pool(net.editing.down[0](x)),
        "up_block__editing_net.decoder.up0": lambda x: decode[2].enlarge(x),
        "res_block__editing_net.decoder.res2.res0": lambda x: decode[0].residual[0](x, z),
        "jump__editing_net.decoder.jump0": lambda x: decode[2].jump(x),
        "final__editing_net.decoder.final": lambda x: net.editing.finish(x),
    }.items():
        x = v.array(want[f"{name}_in"].transpose(0, 2, 3, 1))
        expected = want[f"{name}_out"]
        bound = max(DENOISER, HIDDEN * float(np.abs(expected).max()))
        yield v.check("layers", name.split("__")[0], nchw(layer(x)), expected, bound)

    flow = v.array(want["flow_in"].transpose(0, 2, 3, 1))
    deformation = layers.flow_to_deformation(flow)
    yield v.check("layers", "deformation", deformation, want["deformation"], EXACT)
    still = layers.flow_to_deformation(jnp.zeros_like(flow))
    for name, source, grid in (
        ("warp_32", "warp_src32", deformation),
        ("warp_8", "warp_src8", deformation),
        ("warp_32_zeroflow", "warp_src32", still),
    ):
        warped = layers.warp(v.array(want[source].transpose(0, 2, 3, 1)), grid)
        yield v.check("layers", name, nchw(warped), want[name], PICTURE)

    sinusoid = TimeEmbedding.sinusoid(v.array(want["sin_t"]), want["sin_embed"].shape[-1])
    yield v.check("layers", "sin_embed", sinusoid, want["sin_embed"], DENOISER)
    if not v.float64:
        # its own angles are rounded to float32, up to 1000 rad
        yield v.check("layers", "sin_embed_f32", sinusoid, want["sin_embed_f32"], PICTURE)
    yield v.check("layers", "mish_out", mish(v.array(want["mish_in"])), want["mish_out"], DENOISER)
    if style.pooling is None:
        raise ValueError("the network of this set pools by attention; its configuration says otherwise")
    pooled = style.pooling(v.array(want["pool_in"]), jnp.asarray(want["pool_mask"]))
    yield v.check("layers", "pool_out", pooled, want["pool_out"], DENOISER)
    x = v.array(want["encoder_layer_in_TBC"].transpose(1, 0, 2))
    got = style.layers[0](x, jnp.asarray(want["encoder_layer_mask"])).transpose(1, 0, 2)
    yield v.check("layers", "encoder_layer_out", got, want["encoder_layer_out"], DENOISER)


def epsilons(v: Vectors) -> Iterator[Result]:
    want, net = v.load("layers_eps"), v.renderer
    ours = v.denoiser.style_encoder.layers[0].norm1(v.array(want["ln_in"]))
    yield v.check("layers_eps", "ln_out", ours, want["ln_out"], DENOISER)
    z = v.array(want["adain_descriptor"][..., 0])
    ours = net.warping.encoder[0].norm_0(v.array(want["adain_in"].transpose(0, 2, 3, 1)), z)
    yield v.check("layers_eps", "adain_out", nchw(ours), want["adain_out"], DENOISER)
    ours = net.warping.flow_norm(v.array(want["ln2d_in"].transpose(0, 2, 3, 1)))
    yield v.check("layers_eps", "ln2d_out", nchw(ours), want["ln2d_out"], DENOISER)


def dynamic_layer(v: Vectors) -> Iterator[Result]:
    want, manifest = v.load("dynamic_fc"), v.manifest("dynamic_fc")
    hidden, dim = manifest["dynamic_fc_layer.linear1.dynamic_conv.weight"]["shape"][1:3]

    def construct() -> DecoderLayer:
        return DecoderLayer(
            dim,
            int(want["nhead"]),
            hidden,
            0.0,
            v.config["denoiser"]["layer_norm_eps"],
            int(want["K"]),
            int(want["ratio"]),
            float(want["temperature"]),
            rngs=nnx.Rngs(0),
            dtype=v.dtype,
            param_dtype=v.dtype,
        )

    table = Table(tables.decoder_layer("dynamic_fc_layer.", "", dynamic=True))
    layer = v.build(construct, table, seeded_state_dict(manifest, v.seed))
    if not isinstance(layer.feed_forward, DynamicFeedForward):
        raise ValueError("the layer of this set mixes experts")
    style = v.array(want["style"])
    mixture = layer.feed_forward.mixture(style)
    yield v.check("dynamic_fc", "att", mixture, want["att"], DENOISER)
    target, memory = (v.array(want[name].transpose(1, 0, 2)) for name in ("tgt_WBC", "memory_WBC"))
    yield v.check("dynamic_fc", "out", layer(target, memory, style).transpose(1, 0, 2), want["out"], DENOISER)
    one = layer(target[:1], memory[:1], style[:1]).transpose(1, 0, 2)
    yield v.check("dynamic_fc", "out (batch of one)", one, want["out"][:, :1], DENOISER)
