"""DreamTalk: every vector of its folder but wav2vec 2.0's (see `parity_sets.wav2vec2`).

The pictures and clips of `preprocess.npz`, `portrait_crop.npz` and `render_video.npz` come from the media folder beside
the vectors' root; without it those arrays are left out, and the command lists the files as not compared.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from converters import interpreter
from converters.parity import Result, compare
from converters.seeded import seeded_state_dict
from converters.table import Table
from converters.tables import dreamtalk as tables
from empatheia_jax import weights
from empatheia_jax.dreamtalk import diffusion, features, motion, portrait, windows
from empatheia_jax.dreamtalk import renderer_layers as layers
from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser, TimeEmbedding
from empatheia_jax.dreamtalk.renderer import Renderer, normalise_image, to_uint8
from empatheia_jax.dreamtalk.style_encoder import mish
from empatheia_jax.dreamtalk.transformer import DecoderLayer, sinusoidal_table

# In float32: what the reference itself differs by between float32 and float64, with some room.
DENOISER, DESCRIPTOR, PICTURE, EXACT = 2e-5, 2e-4, 1e-4, 1e-6
GREY_LEVEL = 1.0
HIDDEN = 4e-6  # of hidden features, relative to the largest of them: they reach 600
STORED_FLOAT64 = 1e-9  # relative, in a float64 run
STORED_FLOAT32 = 2e-7  # the same for arrays that are stored rounded to float32


def matches(folder: Path) -> bool:
    return (folder / "denoiser.manifest.json").is_file() and (folder / "renderer.manifest.json").is_file()


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    vectors = Vectors(folder, seed, float64)
    for check in (
        inputs,
        portraits,
        denoiser_blocks,
        noise_predictor,
        ddim,
        ddpm,
        single_layers,
        epsilons,
        dynamic_layer,
        mapping,
        small_pictures,
        warping,
        editing,
        pictures,
        video,
    ):
        yield from check(vectors)


class Vectors:
    """The folder's arrays, and the networks with their stand-in weights."""

    def __init__(self, folder: Path, seed: int, float64: bool):
        self.folder, self.seed, self.float64 = folder, seed, float64
        self.dtype = jnp.float64 if float64 else jnp.float32
        self.config = json.loads((folder / "config.json").read_text())
        self.media = next((p / "media" for p in folder.resolve().parents if (p / "media").is_dir()), None)

    def load(self, name: str) -> dict[str, np.ndarray]:
        return dict(np.load(self.folder / f"{name}.npz"))

    def manifest(self, name: str) -> dict:
        return json.loads((self.folder / f"{name}.manifest.json").read_text())

    def array(self, value: np.ndarray) -> jax.Array:
        return jnp.asarray(value, self.dtype)

    def picture(self, value: np.ndarray) -> jax.Array:
        """uint8 (H, W, 3) → (1, H, W, 3) in [-1, 1]."""
        return self.array(normalise_image(jnp.asarray(value)))[None]  # rounded to float32, as the reference's input

    def windows(self, value: np.ndarray) -> jax.Array:
        """(N, 73, 27) → (N, 27, 73)."""
        return self.array(value.transpose(0, 2, 1))

    def check(self, file: str, name: str, ours, expected, bound: float) -> Result:
        expected = np.asarray(expected)
        if self.float64:
            bound = STORED_FLOAT64 if expected.dtype == np.float64 else STORED_FLOAT32
            scale = float(np.max(np.abs(expected))) if expected.size else 0.0
            bound *= max(1.0, scale)
        return compare(f"{file}.npz", name, np.asarray(ours, np.float64), expected, bound)

    def exact(self, file: str, name: str, ours, expected, bound: float = 0.0) -> Result:
        """For what does not depend on the precision of the run."""
        return compare(f"{file}.npz", name, np.asarray(ours, np.float64), expected, bound)

    def build(self, construct, table: Table, state: dict) -> nnx.Module:
        abstract = weights.flatten(nnx.eval_shape(construct))
        flat = interpreter.load(state, table, abstract, self.dtype, place=lambda _, array: jnp.asarray(array))
        return weights.materialize(construct, flat)

    @cached_property
    def denoiser(self) -> Denoiser:
        config = DenoiserConfig.from_source(self.config)
        manifest = self.manifest("denoiser")
        state = seeded_state_dict(manifest, self.seed) | self.load("denoiser_buffers")
        return self.build(
            lambda: Denoiser(config, rngs=nnx.Rngs(0), dtype=self.dtype, param_dtype=self.dtype),
            tables.denoiser(config),
            state,
        )

    @cached_property
    def renderer(self) -> Renderer:
        config = RendererConfig.from_source(self.config["renderer"])
        return self.build(
            lambda: Renderer(config, rngs=nnx.Rngs(0), dtype=self.dtype, param_dtype=self.dtype),
            tables.renderer(config),
            seeded_state_dict(self.manifest("renderer"), self.seed),
        )

    @cached_property
    def audio(self) -> jax.Array:
        given = self.load("audio_window")
        return self.array(windows.audio_windows(given["feat"], 16, radius=int(given["win_size"])))[None]

    @cached_property
    def styles(self) -> tuple[jax.Array, jax.Array]:
        """Clips and padding masks: the padded clip, then the full one."""
        given = self.load("style_encoder")
        padded, padding, _ = motion.style_clip(given["clip_padded"], 256)
        clips = np.stack([padded, given["clip_full"]])
        return self.array(clips), jnp.asarray(np.stack([padding, np.zeros(256, bool)]))


def compiled(module: nnx.Module, function: Callable = lambda net, *inputs: net(*inputs), *first):
    """`function(module, *first, …)` as one program that takes the weights as an argument, not as constants."""
    graph, state = nnx.split(module)
    call = jax.jit(lambda state, *inputs, **options: function(nnx.merge(graph, state), *inputs, **options))
    return functools.partial(call, state, *first)


def nchw(x) -> np.ndarray:
    return np.asarray(x).transpose(0, 3, 1, 2)


def summaries(v: Vectors, file: str, name: str, ours, expected: dict, bound: float) -> Iterator[Result]:
    """Mean, standard deviation, largest magnitude and probe of a whole tensor, channels last."""
    x = nchw(ours).astype(np.float64)
    noise = np.random.default_rng(12345).standard_normal(x.shape[1:])
    found = {
        "shape": x.shape,
        "mean": x.mean(axis=(2, 3)),
        "std": x.std(axis=(2, 3)),
        "absmax": np.abs(x).max(axis=(2, 3)),
        "probe": (x * noise).sum(axis=(1, 2, 3)) / np.sqrt(noise.size),
    }
    bound = max(bound, HIDDEN * float(expected[f"{name}_absmax"].max()))
    for kind, value in found.items():
        yield v.check(file, f"{name}_{kind}", value, expected[f"{name}_{kind}"], bound)


# ------------------------------------------------------------------------------------------------ inputs


def inputs(v: Vectors) -> Iterator[Result]:
    given = v.load("audio_window")
    count, radius, feat = int(given["num_frames"]), int(given["win_size"]), given["feat"]
    start, tail = int(given["tail_start_idx"]), int(given["tail_num_frames"])
    index = windows.audio_window_index(int(given["start_idx"]), count, len(feat), radius)
    yield v.exact("audio_window", "window_index", index, given["window_index"])
    index = windows.audio_window_index(start, tail, len(feat), radius)
    yield v.exact("audio_window", "tail_window_index", index, given["tail_window_index"])
    wide = feat.astype(np.float64)
    sums = windows.audio_windows(wide, count, radius=radius).sum(axis=-1)
    yield v.exact("audio_window", "windows_rowsum", sums, given["windows_rowsum"], 1e-4)
    sums = windows.audio_windows(wide, tail, radius=radius, start=start).sum(axis=-1)
    yield v.exact("audio_window", "tail_rowsum", sums, given["tail_rowsum"], 1e-4)

    file, want = "preprocess", v.load("preprocess")
    boxes = [portrait.widen(tuple(b[:4]), float(want["bbox_increase"]), int(b[4]), int(b[5])) for b in want["bbox_in"]]
    yield v.exact(file, "bbox_out", boxes, want["bbox_out"])
    index = [windows.motion_window_index(n, radius, i, i + 1)[0] for i, n, radius in want["seq_cases"]]
    yield v.exact(file, "seq_index", index, want["seq_index"])
    rows = [features.rows_of(int(n)) for n in want["len_samples"]]
    yield v.exact(file, "len_wav2vec", rows, want["len_wav2vec"])
    yield v.exact(file, "len_video", [windows.video_frames(n) for n in rows], want["len_video"])
    yield v.exact(file, "out_uint8", to_uint8(jnp.asarray(want["out_ramp"])), want["out_uint8"])
    unit = normalise_image(jnp.asarray(want["img_uint8_crop"])).transpose(2, 0, 1)
    yield v.exact(file, "img_norm_crop", unit, want["img_norm_crop"], EXACT)
    wave = v.load("wav2vec2_full")["wav_int16"].astype(np.float32) / 32768
    yield v.exact(file, "wav_norm_head", features.standardise(wave)[:64], want["wav_norm_head"], EXACT)
    if v.media is None:
        return
    track, transform = motion.read_mat(v.media / "style_clips" / f"{want['mat_name']}.mat")
    expression = motion.expression_of(track)
    clip, padding, _ = motion.style_clip(expression, 256)
    long_track, long_transform = motion.read_mat(v.media / "pose" / "RichardShelby_front_neutral_level1_001.mat")
    pose = motion.pose_of(long_track, long_transform)
    middle, _, begin = motion.style_clip(motion.expression_of(long_track), 256, "middle")
    made = np.load(v.media / "reference_run" / "acknowledgement_english_facemotion.npy")
    for name, ours in {
        "mat_exp_rows": expression[[0, 1, -1]],
        "mat_exp_colsum": expression.astype(np.float64).sum(axis=0),
        "mat_len": len(expression),
        "pose_rows": pose[want["pose_rows_idx"]],
        "pose_len": len(pose),
        "clip_pose_rows": motion.pose_of(track, transform)[[0, -1]],
        "transform_params_rows": transform[[0, -1]],
        "style_clip": clip,
        "style_mask": padding,
        "middle_start_idx": begin,
        "middle_first_row": middle[0],
        "real_facemotion_len": len(made),
        "real_pose_equals_mat": (motion.hold_pose(pose, len(made)) == made[:, 64:]).all(),
        "real_exp_mean": made[:, :64].mean(axis=0),
        "real_exp_std": made[:, :64].std(axis=0),
    }.items():
        yield v.exact(file, name, ours, want[name], EXACT)


def portraits(v: Vectors) -> Iterator[Result]:
    if v.media is None:
        return
    want = v.load("portrait_crop")
    picture = np.asarray(Image.open(v.media / "portraits" / "uncropped" / "male_face.png"))[..., :3]
    yield v.exact("portrait_crop", "image_hw", picture.shape[:2], want["image_hw"])
    box = portrait.box_around(tuple(want["face_rect_ltrb"]), *picture.shape[:2])
    yield v.exact("portrait_crop", "bbox_ltrb", box, want["bbox_ltrb"])
    whole = portrait.resize_bilinear(portrait.cut(picture, box, squash=True), 256, 256)
    yield v.exact("portrait_crop", "crop_rgb_every4", whole[::4, ::4], want["crop_rgb_every4"])


# ------------------------------------------------------------------------------------------------ denoiser


def denoiser_blocks(v: Vectors) -> Iterator[Result]:
    model = v.denoiser
    for key, stored in v.load("denoiser_buffers").items():
        row = next(row for row in tables.denoiser(model.config).rows if row.sources == (key,))
        made = _constant(model.config, row.targets[0])
        yield v.exact("denoiser_buffers", key.removeprefix("diff_net."), made, stored, EXACT)

    want = v.load("content_encoder")
    encoder = model.content_encoder
    yield v.check("content_encoder", "embed_f0", encoder.embed(v.audio[0, :2]), want["embed_f0"], DENOISER)
    content = compiled(encoder)(v.audio)
    yield v.check("content_encoder", "content", content[0], want["content"], DENOISER)
    noise = np.random.default_rng(12345).standard_normal(content.shape[1:])
    probe = [(np.asarray(content[0], np.float64) * noise).sum() / np.sqrt(noise.size)]
    yield v.check("content_encoder", "content_probe", probe, want["content_probe"], DENOISER)

    want = v.load("style_encoder")
    clips, padding = v.styles
    style = model.style_encoder
    codes = compiled(style)(clips, padding)
    yield v.exact("style_encoder", "pad_mask", padding[0], want["pad_mask"])
    yield v.check("style_encoder", "style_padded", codes[0], want["style_padded"], DENOISER)
    yield v.check("style_encoder", "style_full", codes[1], want["style_full"], DENOISER)
    yield v.check("style_encoder", "style_null", model.null_style()[0], want["style_null"], DENOISER)
    rows = style.encode(clips[:1], padding[:1])[0, want["encoder_row_idx"]]
    yield v.check("style_encoder", "encoder_rows", rows, want["encoder_rows"], DENOISER)
    unmasked = style(clips[:1], padding[1:])[0]
    yield v.check(
        "style_encoder", "style_padded_but_mask_ignored", unmasked, want["style_padded_but_mask_ignored"], DENOISER
    )

    want = v.load("decoder")
    decoder = model.decoder
    memory, code = v.array(want["content"]), v.array(want["style_code"])
    yield v.check("decoder", "face3d", compiled(decoder)(memory, code), want["face3d"], DENOISER)
    position = decoder.position[...][0]
    for half, stack in (("upper", decoder.upper), ("lower", decoder.lower)):
        indices = getattr(model.config, f"{half}_face_indices")
        yield v.exact("decoder", f"{half}_idx", indices, want[f"{half}_idx"])
        query = stack.query(code, position)
        center = stack(query, stack.read_memory(memory), code)
        yield v.check("decoder", f"{half}_center_feat", center, want[f"{half}_center_feat"], DENOISER)
        first = stack.layers[0]
        layer0 = first.attend_memory(query, first.read_memory(memory), code[:, None])[:, :, 5].reshape(10, -1)
        yield v.check("decoder", f"{half}_layer0_center", layer0, want[f"{half}_layer0_center"], DENOISER)


def _constant(config: DenoiserConfig, path: str) -> np.ndarray:
    """A buffer as we compute it, without the weights around it."""
    if path.startswith("schedule."):
        schedule = diffusion.VarianceSchedule(config.diffusion_steps, config.beta_first, config.beta_last)
        return np.asarray(getattr(schedule, path.removeprefix("schedule."))[...])
    if path == "null_style_clip":
        return np.zeros((config.style_max_len, config.face3d_dim))
    if path == "null_style_padding":
        return np.zeros(config.style_max_len, bool)
    length = config.style_max_len if path.startswith("style_encoder") else config.window_slots
    return sinusoidal_table(length, config.d_model)


def noise_predictor(v: Vectors) -> Iterator[Result]:
    want = v.load("noise_predictor")
    model, t = v.denoiser, v.array(want["t"])
    sinusoid = TimeEmbedding.sinusoid(t, model.config.d_model)
    yield v.check("noise_predictor", "time_embed_sin", sinusoid, want["time_embed_sin"], DENOISER)
    yield v.check("noise_predictor", "time_embed", model.time_embedding(t), want["time_embed"], DENOISER)
    audio = jnp.concatenate([v.audio, v.audio[:, ::-1]])
    got = compiled(model)(v.array(want["x_t"]), t, audio, *v.styles)
    yield v.check("noise_predictor", "e_theta", got, want["e_theta"], DENOISER)


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


# ------------------------------------------------------------------------------------------------ single layers


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

    sinusoid = TimeEmbedding.sinusoid(v.array(want["sin_t"]), 256)
    yield v.check("layers", "sin_embed", sinusoid, want["sin_embed"], DENOISER)
    if not v.float64:
        # its own angles are rounded to float32, up to 1000 rad
        yield v.check("layers", "sin_embed_f32", sinusoid, want["sin_embed_f32"], PICTURE)
    yield v.check("layers", "mish_out", mish(v.array(want["mish_in"])), want["mish_out"], DENOISER)
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
    style = v.array(want["style"])
    yield v.check("dynamic_fc", "att", layer.feed_forward.mixture(style), want["att"], DENOISER)
    target, memory = (v.array(want[name].transpose(1, 0, 2)) for name in ("tgt_WBC", "memory_WBC"))
    yield v.check("dynamic_fc", "out", layer(target, memory, style).transpose(1, 0, 2), want["out"], DENOISER)
    one = layer(target[:1], memory[:1], style[:1]).transpose(1, 0, 2)
    yield v.check("dynamic_fc", "out (batch of one)", one, want["out"][:, :1], DENOISER)


# ------------------------------------------------------------------------------------------------ renderer


def mapping(v: Vectors) -> Iterator[Result]:
    want, net = v.load("mapping_net"), v.renderer.mapping
    random = net(v.windows(want["windows_random"]))
    yield v.check("mapping_net", "descriptor_random", random[..., None], want["descriptor_random"], DENOISER)
    states = net.hidden(v.windows(want["windows"]))
    yield v.exact("mapping_net", "lens", [s.shape[1] for s in states], want["lens"])
    ends = states[0][:, np.asarray([0, -1])].transpose(0, 2, 1)
    yield v.check("mapping_net", "first_last_frame", ends, want["first_last_frame"], DESCRIPTOR)
    yield v.check("mapping_net", "after_encoder0_mid", states[1][:, 4], want["after_encoder0_mid"], DESCRIPTOR)
    last = states[3].transpose(0, 2, 1)
    yield v.check("mapping_net", "after_encoder2", last, want["after_encoder2"], DESCRIPTOR)
    descriptor = states[3].mean(axis=1)[..., None]
    yield v.check("mapping_net", "descriptor", descriptor, want["descriptor"], DESCRIPTOR)


def small_pictures(v: Vectors) -> Iterator[Result]:
    file, want = "face_generator_small", v.load("face_generator_small")
    model = v.renderer
    got = compiled(model)(v.picture(want["source_uint8"]), v.windows(want["windows"]))
    fake, warp = nchw(got.image), nchw(got.warped)
    yield v.check(file, "flow_field", nchw(got.flow), want["flow_field"], PICTURE)
    for name, ours in {
        "warp_even": warp[:, :, ::4, ::4],
        "warp_crop": warp[:, :, 40:72, 40:72],
        "fake_grid4": fake[:, :, ::4, ::4],
        "fake_crop": fake[:, :, 40:72, 40:72],
        "fake_corner": fake[:, :, -16:, -16:],
    }.items():
        yield v.check(file, name, ours, want[name], PICTURE)
    yield from summaries(v, file, "fake", got.image, want, PICTURE)
    yield from summaries(v, file, "warp", got.warped, want, PICTURE)


def warping(v: Vectors) -> Iterator[Result]:
    file, want, net = "warping_net", v.load("warping_net"), v.renderer.warping
    source = v.picture(v.load("face_generator")["source_uint8"])
    descriptor = v.array(v.load("mapping_net")["descriptor"][..., 0])
    features_, levels = compiled(net, lambda net, *inputs: net.hourglass(*inputs))(source, descriptor)
    flow = net.flow_conv(jax.nn.leaky_relu(net.flow_norm(features_), net.slope))
    deformation = layers.flow_to_deformation(flow)
    warped = layers.warp(source, deformation)
    warp = nchw(warped)
    for name, ours in {
        "flow_field": nchw(flow),
        "deformation": deformation,
        "warp_grid8": warp[:, :, ::8, ::8],
        "warp_crop": warp[:, :, 96:160, 96:160],
        "warp_corner": warp[:, :, :24, :24],
    }.items():
        yield v.check(file, name, ours, want[name], PICTURE)
    crop = nchw(features_)[:, ::16, 24:40, 24:40]
    bound = HIDDEN * float(want["hourglass_absmax"].max())
    yield v.check(file, "hourglass_crop", crop, want["hourglass_crop"], bound)
    yield v.exact(file, "warp_zeros", (warp == 0).sum(axis=(1, 2, 3)), want["warp_zeros"])
    for index, level in enumerate(levels):
        level = jnp.broadcast_to(level, (2, *level.shape[1:]))
        yield from summaries(v, file, f"enc{index}", level, want, PICTURE)
    yield from summaries(v, file, "hourglass", features_, want, PICTURE)
    yield from summaries(v, file, "flow", flow, want, PICTURE)
    yield from summaries(v, file, "warp", warped, want, PICTURE)


def editing(v: Vectors) -> Iterator[Result]:
    file, want, net = "editing_net", v.load("editing_net"), v.renderer.editing
    whole = v.load("face_generator")
    descriptor = v.array(v.load("mapping_net")["descriptor"][..., 0])
    source = v.picture(whole["source_uint8"])
    small = source[:, 64:128, 64:128]
    ours = compiled(net)(small, small[:, ::-1], descriptor[:1])
    yield v.check(file, "small_out", nchw(ours), want["small_out"], PICTURE)

    warping_net = v.renderer.warping
    warped, _ = compiled(warping_net)(source, descriptor)
    skips = compiled(net, lambda net, *inputs: net.encode(*inputs))(source, warped)
    for index, level in enumerate(skips):
        yield from summaries(v, file, f"enc{index}", level, want, PICTURE)
    x = skips.pop()
    for place, level in enumerate(net.levels):
        number = len(net.levels) - 1 - place
        for block in level.residual:
            x = block(x, descriptor)
        yield from summaries(v, file, f"res{number}", x, want, PICTURE)
        x = level.enlarge(x)
        yield from summaries(v, file, f"up{number}", x, want, PICTURE)
        x = level.jump(skips.pop()) + x
        yield from summaries(v, file, f"merge{number}", x, want, PICTURE)


def pictures(v: Vectors) -> Iterator[Result]:
    file, want = "face_generator", v.load("face_generator")
    model = v.renderer
    render = compiled(model, lambda net, *inputs: net(*inputs).image)
    fake = render(v.picture(want["source_uint8"]), v.windows(want["windows"]))
    image = nchw(fake)
    for name, ours in {
        "fake_grid8": image[:, :, ::8, ::8],
        "fake_crop": image[:, :, 96:160, 96:160],
        "fake_corner": image[:, :, :24, :24],
    }.items():
        yield v.check(file, name, ours, want[name], PICTURE)
    yield from summaries(v, file, "fake", fake, want, PICTURE)
    frames = np.asarray(to_uint8(fake)).astype(int)
    yield v.exact(file, "frames_uint8", frames, want["frames_uint8"], GREY_LEVEL)


def video(v: Vectors) -> Iterator[Result]:
    if v.media is None:
        return
    file, want = "render_video", v.load("render_video")
    source = np.asarray(Image.open(v.media / "portraits" / "cropped" / "zp1.png").convert("RGB"))
    model = v.renderer
    radius = model.config.window_radius
    render = compiled(model, lambda net, *inputs: to_uint8(net(*inputs).image))

    def frames(moves: np.ndarray) -> np.ndarray:
        return np.asarray(render(v.picture(source), v.array(windows.motion_windows(moves, radius=radius))))

    moving = frames(want["facemotion"])
    yield v.exact(file, "frames_grid4", moving[:, ::4, ::4].astype(int), want["frames_grid4"], GREY_LEVEL)
    yield v.exact(file, "frames_mean", moving.mean(axis=(1, 2)), want["frames_mean"], 1e-2)
    yield v.exact(file, "nomove_pose", motion.REST_POSE, want["nomove_pose"])
    still = frames(motion.with_pose(want["facemotion"][:, :64]))
    yield v.exact(file, "nomove_grid4", still[:, ::4, ::4].astype(int), want["nomove_grid4"], GREY_LEVEL)
