"""The denoiser: content encoder, style encoder, decoder, and the whole network at one step."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from converters.parity.networks.dreamtalk.vectors import (
    DENOISER,
    EXACT,
    Vectors,
    compiled,
)
from converters.parity.result import Result
from converters.table import Row
from converters.tables import dreamtalk as tables
from empatheia_jax.dreamtalk import diffusion
from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.dreamtalk.denoiser import TimeEmbedding
from empatheia_jax.dreamtalk.transformer import sinusoidal_table


def denoiser_blocks(v: Vectors) -> Iterator[Result]:
    model = v.denoiser
    for key, stored in v.load("denoiser_buffers").items():
        row = next(row for row in tables.denoiser(model.config).rows if isinstance(row, Row) and row.sources == (key,))
        made = _constant(model.config, row.targets[0])
        yield v.exact("denoiser_buffers", key.removeprefix("diff_net."), made, stored, EXACT)

    want = v.load("content_encoder")
    encoder = model.content_encoder
    yield v.check(
        "content_encoder", "embed_f0", encoder.embed(v.audio[0, : len(want["embed_f0"])]), want["embed_f0"], DENOISER
    )
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
        attended = first.attend_memory(query, first.read_memory(memory), code[:, None])
        layer0 = attended[:, :, model.config.window_slots // 2].reshape(-1, model.config.d_model)
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
