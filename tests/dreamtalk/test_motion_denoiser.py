"""The motion denoiser: its savings change nothing, and every size is a matter of the config."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dreamtalk_sizes import DENOISER as SMALL
from dreamtalk_sizes import build
from flax import nnx

from empatheia_jax.dreamtalk import diffusion, windows
from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.errors import UserError

DYNAMIC = dataclasses.replace(SMALL, dynamic_experts=3, dynamic_ratio=4, dynamic_temperature=30.0)


def inputs(config: DenoiserConfig, batch: int = 1, frames: int = 6):
    rng = np.random.default_rng(0)
    audio = rng.normal(size=(batch, frames, config.window_slots, config.audio_feature_dim)).astype(np.float32)
    clip = rng.normal(size=(batch, config.style_max_len, config.face3d_dim)).astype(np.float32)
    padding = np.arange(config.style_max_len)[None] >= np.full((batch, 1), 11)
    noise = rng.normal(size=(batch, frames, config.face3d_dim)).astype(np.float32)
    return audio, clip, padding, noise


@functools.partial(nnx.jit, static_argnames=("steps", "guidance"))
def sampled_from(model, audio, clip, padding, noise, **options):
    """The model's sample for a sound and a style clip, and its states on the way, as one program."""
    return model.sample_ddim(model.content_encoder(audio), model.style_encoder(clip, padding), noise, **options)


@pytest.mark.parametrize("config", [SMALL, DYNAMIC, dataclasses.replace(SMALL, decoder_layers=1)])
def test_skipping_the_dead_work_of_the_decoder_changes_nothing(config):
    model = build(config)
    rng = np.random.default_rng(1)
    memory = jnp.asarray(rng.normal(size=(2, 5, config.window_slots, config.d_model)), jnp.float32)
    style = jnp.asarray(rng.normal(size=(2, config.d_model)), jnp.float32)

    @nnx.jit
    def both(decoder, memory, style):
        position = decoder.position[...][0]
        whole = decoder.merge(
            decoder.upper.train_step(style, position, memory, None),
            decoder.lower.train_step(style, position, memory, None),
        )
        return decoder(memory, style), whole

    np.testing.assert_allclose(*both(model.decoder, memory, style), atol=2e-6)


@pytest.mark.parametrize("config", [SMALL, DYNAMIC])
def test_guided_sampling_equals_two_plain_evaluations_a_step(config):
    model = build(config)
    audio, clip, padding, x = inputs(config)
    sampled, states = sampled_from(model, audio, clip, padding, x, steps=5, guidance=1.7)

    evaluate = jax.jit(lambda x, t, clip, padding: model(x, t, audio, clip, padding))
    null, none = np.zeros_like(clip), np.zeros_like(padding)
    visited = diffusion.ddim_timesteps(config.diffusion_steps, 5)
    alpha_bars = np.asarray(model.schedule.alpha_bars[...])
    for k in reversed(range(5)):
        np.testing.assert_allclose(states[4 - k], x, atol=2e-5)
        t = np.full((1,), visited[k], np.float32)
        given, plain = (np.asarray(evaluate(x, t, *style)) for style in ((clip, padding), (null, none)))
        clean = diffusion.guide(given, plain, 1.7)
        a, before = alpha_bars[visited[k]], alpha_bars[visited[k - 1] if k else 0]
        x = np.sqrt(before) * clean + np.sqrt(1 - before) * (x - np.sqrt(a) * clean) / np.sqrt(1 - a)
    np.testing.assert_allclose(sampled, x, atol=2e-5)


def test_guidance_of_one_is_no_guidance():
    model = build(SMALL)
    audio, clip, padding, x = inputs(SMALL)
    plain, _ = sampled_from(model, audio, clip, padding, x, steps=4)
    guided, _ = sampled_from(model, audio, clip, padding, x, steps=4, guidance=1.0)
    np.testing.assert_allclose(guided, plain, atol=1e-5)


def test_padding_of_a_style_clip_does_not_reach_its_code():
    model = build(SMALL)
    _, clip, padding, _ = inputs(SMALL)
    encode = nnx.jit(lambda encoder, clip, padding: encoder(clip, padding))
    code = encode(model.style_encoder, clip, padding)
    other = np.where(padding[..., None], np.float32(1e3), clip)
    np.testing.assert_allclose(encode(model.style_encoder, other, padding), code, atol=1e-6)
    shorter = encode(model.style_encoder, clip[:, :11], padding[:, :11])
    np.testing.assert_allclose(shorter, code, atol=1e-5)


def test_dropout_only_with_a_key_and_reaches_every_weight():
    model = build(SMALL)
    audio, clip, padding, x = inputs(SMALL, batch=2)
    t = np.asarray([3.0, 70.0], np.float32)
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params, key):
        return jnp.square(nnx.merge(graph, params, rest)(x, t, audio, clip, padding, key)).mean()

    plain, dropped = jax.jit(loss), jax.jit(jax.value_and_grad(loss))
    assert plain(params, None) == plain(params, None)
    value, gradients = dropped(params, jax.random.key(0))
    assert value != dropped(params, jax.random.key(1))[0]
    # a bias added to all keys of an attention shifts its logits alike: no gradient there, so kernels are what we check
    dead = [path for path, g in nnx.to_flat_state(gradients) if path[-1] == "kernel" and not np.any(g[...])]
    assert not dead


def test_sampling_compiles_once_for_any_style_noise_and_guidance():
    model = build(SMALL)
    graph, state = nnx.split(model)
    traces = 0

    @jax.jit
    def sample(state, content, style, noise, scale):
        nonlocal traces
        traces += 1
        return nnx.merge(graph, state).sample_ddim(content, style, noise, steps=10, guidance=scale)[0]

    audio, clip, padding, noise = inputs(SMALL)
    rng = np.random.default_rng(1)
    content = rng.normal(size=(*audio.shape[:-1], SMALL.d_model)).astype(np.float32)
    style = rng.normal(size=(1, SMALL.d_model)).astype(np.float32)
    first = sample(state, content, style, noise, 1.0)
    second = sample(state, content, style * 2, noise + 1, 2.5)
    assert traces == 1 and not np.allclose(first, second)


def test_windows_are_zero_outside_the_clip_and_centred_on_every_second_row():
    features = np.arange(1, 8, dtype=np.float32)[:, None]
    got = windows.audio_windows(features, radius=2)[..., 0]
    np.testing.assert_array_equal(got, [[0, 0, 1, 2, 3], [1, 2, 3, 4, 5], [3, 4, 5, 6, 7]])
    assert windows.audio_windows(features[:1], radius=2).shape == (0, 5, 1)
    np.testing.assert_array_equal(
        windows.motion_window_index(3, 2), [[0, 0, 0, 1, 2], [0, 0, 1, 2, 2], [0, 1, 2, 2, 2]]
    )


def test_steps_that_do_not_divide_the_schedule_are_refused():
    with pytest.raises(UserError, match="divisor"):
        diffusion.ddim_timesteps(1000, 3)


def test_a_config_with_a_lost_coefficient_is_refused():
    with pytest.raises(UserError, match="exactly once"):
        dataclasses.replace(SMALL, lower_face_indices=(0, 1, 2, 4))
