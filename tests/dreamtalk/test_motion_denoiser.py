"""The motion denoiser: its savings change nothing, and every size is a matter of the config."""

from __future__ import annotations

import dataclasses

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
    return jnp.asarray(audio), jnp.asarray(clip), jnp.asarray(padding), jnp.asarray(noise)


@pytest.mark.parametrize("config", [SMALL, DYNAMIC, dataclasses.replace(SMALL, decoder_layers=1)])
def test_skipping_the_dead_work_of_the_decoder_changes_nothing(config):
    model = build(config)
    rng = np.random.default_rng(1)
    memory = jnp.asarray(rng.normal(size=(2, 5, config.window_slots, config.d_model)), jnp.float32)
    style = jnp.asarray(rng.normal(size=(2, config.d_model)), jnp.float32)
    position = model.decoder.position[...][0]
    whole = model.decoder.merge(
        model.decoder.upper.train_step(style, position, memory, None),
        model.decoder.lower.train_step(style, position, memory, None),
    )
    np.testing.assert_allclose(model.decoder(memory, style), whole, atol=2e-6)


@pytest.mark.parametrize("config", [SMALL, DYNAMIC])
def test_guided_sampling_equals_two_plain_evaluations_a_step(config):
    model = build(config)
    audio, clip, padding, x = inputs(config)
    content, style = model.content_encoder(audio), model.style_encoder(clip, padding)
    sampled, states = model.sample_ddim(content, style, x, steps=5, guidance=1.7)

    evaluate = jax.jit(lambda x, t, clip, padding: model(x, t, audio, clip, padding))
    null, none = jnp.zeros_like(clip), jnp.zeros_like(padding)
    visited = diffusion.ddim_timesteps(config.diffusion_steps, 5)
    alpha_bars = model.schedule.alpha_bars[...]
    for k in reversed(range(5)):
        np.testing.assert_allclose(states[4 - k], x, atol=2e-5)
        t = jnp.full((1,), visited[k], jnp.float32)
        clean = diffusion.guide(evaluate(x, t, clip, padding), evaluate(x, t, null, none), 1.7)
        a, before = alpha_bars[visited[k]], alpha_bars[visited[k - 1] if k else 0]
        x = jnp.sqrt(before) * clean + jnp.sqrt(1 - before) * (x - jnp.sqrt(a) * clean) / jnp.sqrt(1 - a)
    np.testing.assert_allclose(sampled, x, atol=2e-5)


def test_guidance_of_one_is_no_guidance():
    model = build(SMALL)
    audio, clip, padding, x = inputs(SMALL)
    content, style = model.content_encoder(audio), model.style_encoder(clip, padding)
    plain, _ = model.sample_ddim(content, style, x, steps=4)
    guided, _ = model.sample_ddim(content, style, x, steps=4, guidance=1.0)
    np.testing.assert_allclose(guided, plain, atol=1e-5)


def test_padding_of_a_style_clip_does_not_reach_its_code():
    model = build(SMALL)
    _, clip, padding, _ = inputs(SMALL)
    code = model.style_encoder(clip, padding)
    other = jnp.where(padding[..., None], 1e3, clip)
    np.testing.assert_allclose(model.style_encoder(other, padding), code, atol=1e-6)
    shorter = model.style_encoder(clip[:, :11], padding[:, :11])
    np.testing.assert_allclose(shorter, code, atol=1e-5)


def test_dropout_only_with_a_key_and_reaches_every_weight():
    model = build(SMALL)
    audio, clip, padding, x = inputs(SMALL, batch=2)
    t = jnp.asarray([3.0, 70.0])
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params, key):
        return jnp.square(nnx.merge(graph, params, rest)(x, t, audio, clip, padding, key)).mean()

    loss = jax.jit(loss)
    assert loss(params, None) == loss(params, None)
    assert loss(params, jax.random.key(0)) != loss(params, jax.random.key(1))
    gradients = jax.grad(loss)(params, jax.random.key(0))
    # a bias added to all keys of an attention shifts its logits alike: no gradient there, so kernels are what we check
    dead = [
        path for path, g in nnx.to_flat_state(gradients) if path[-1] == "kernel" and float(jnp.abs(g[...]).max()) == 0.0
    ]
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
    content, style = model.content_encoder(audio), model.style_encoder(clip, padding)
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
