"""Content synchronizer and style disentangler."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax import tiny, weights
from empatheia_jax.bridge.content_synchronizer import ContentSynchronizer, SynchronizerConfig, resize
from empatheia_jax.bridge.style_disentangler import CLASSES, DisentanglerConfig, StyleDisentangler
from empatheia_jax.bridge.transformer import Block, BlockConfig
from empatheia_jax.parallel.rules import axis_names

BLOCK = BlockConfig(width=16, heads=2, mlp=24, layers=2)
CS = SynchronizerConfig(hidden=24, block=BLOCK, latent=16, speech_channels=20, video_window=3, video_channels=8)
SD = DisentanglerConfig(hidden=24, block=BLOCK, latent=16, speech_style=12, video_style=10)


def build(module, config):
    return tiny.made_up(lambda: module(config, rngs=nnx.Rngs(0)))


def run(function, module, *inputs):
    return nnx.jit(function)(module, *inputs)


@pytest.fixture(scope="module")
def cs():
    return build(ContentSynchronizer, CS)


@pytest.fixture(scope="module")
def sd():
    return build(StyleDisentangler, SD)


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_padding_of_source_and_queries_changes_nothing_in_the_valid_part(cs):
    text = random(2, 9, 24)
    lengths = jnp.array([6, 4])
    want, _ = run(lambda m, *x: m.speech(*x, 5), cs, text[:1, :6], lengths[:1], jnp.array([5]))
    padded = text.at[:, 6:].set(1e3)
    got, _ = run(lambda m, *x: m.speech(*x, 11), cs, padded, lengths, jnp.array([5, 7]))
    np.testing.assert_allclose(got[0, :5], want[0], atol=2e-5)


def test_content_depends_on_text_length_and_modality(cs):
    text, lengths = random(2, 6, 24), jnp.array([6, 3])
    call = nnx.jit(lambda m, x: m(x, lengths, jnp.array([4, 5]), 5, jnp.array([7, 8]), 8, jax.random.key(1)))
    out = call(cs, text)
    assert out.speech.shape == (2, 5, 20) and out.video.shape == (2, 8, 3, 8) and out.kl.shape == (2,)
    assert np.all(np.asarray(out.kl) > 0)
    other = call(cs, text + 1.0)
    assert np.abs(np.asarray(out.speech - other.speech)).max() > 1e-3


@pytest.mark.parametrize("positions", [True, False])
def test_content_follows_the_order_of_the_words_where_the_source_has_positions(positions):
    cs = build(ContentSynchronizer, dataclasses.replace(CS, source_positions=positions))
    text, lengths = random(1, 6, 24), jnp.array([6])
    speak = nnx.jit(lambda m, x: m.speech(x, lengths, jnp.array([5]), 5)[0])
    moved = np.abs(np.asarray(speak(cs, text) - speak(cs, text[:, jnp.array([3, 0, 5, 1, 4, 2])]))).max()
    assert moved > 1e-3 if positions else moved < 1e-5

    gradient = nnx.jit(lambda m, x: jax.grad(lambda x: jnp.square(m.speech(x, lengths, jnp.array([5]), 5)[0]).sum())(x))
    found = gradient(cs, text)
    assert found.shape == text.shape and np.all(np.abs(np.asarray(found)).max(axis=-1) > 0)


def test_both_modalities_in_one_pass_equal_each_alone(cs):
    text, lengths = random(2, 6, 24), jnp.array([6, 3])
    phonemes, frames = jnp.array([4, 5]), jnp.array([8, 7])
    both = run(lambda m, x: m(x, lengths, phonemes, 5, frames, 8), cs, text)
    np.testing.assert_allclose(both.speech, run(lambda m, x: m.speech(x, lengths, phonemes, 5)[0], cs, text), atol=1e-5)
    np.testing.assert_allclose(both.video, run(lambda m, x: m.video(x, lengths, frames, 8)[0], cs, text), atol=1e-5)


def test_latents_are_sampled_with_a_key_and_their_mean_without(cs):
    speak = nnx.jit(lambda m, key: m.speech(random(1, 6, 24), jnp.array([6]), jnp.array([4]), 4, key)[0])

    def call(key):
        return np.asarray(speak(cs, key))

    np.testing.assert_array_equal(call(None), call(None))
    assert np.abs(call(jax.random.key(0)) - call(jax.random.key(1))).max() > 1e-3


@pytest.mark.parametrize("sharing, pairs", [("all", 1), ("modality", 2), ("none", 4)])
def test_style_for_every_way_of_sharing(sharing, pairs):
    sd = build(StyleDisentangler, dataclasses.replace(SD, sharing=sharing))
    assert len(sd.vaes) == pairs
    style = run(lambda m, *x: m(*x, jax.random.key(0)), sd, random(3, 16, 24), random(3, 16, 24, seed=1))
    assert style.speech.shape == (3, 12) and style.video.shape == (3, 10)
    assert {task: logits.shape for task, logits in style.logits.items()} == {t: (3, n) for t, n in CLASSES.items()}


def test_speech_style_does_not_see_the_video_states_unless_told_to(sd):
    speech, video = random(2, 16, 24), random(2, 16, 24, seed=1)
    call = nnx.jit(lambda m, *x: m(*x))
    same, moved = call(sd, speech, video), call(sd, speech, video + 1)
    np.testing.assert_allclose(same.speech, moved.speech, atol=1e-6)
    assert np.abs(np.asarray(same.video - moved.video)).max() > 1e-4
    literal = build(StyleDisentangler, dataclasses.replace(SD, inputs="speech"))
    np.testing.assert_array_equal(call(literal, speech, video).video, call(literal, speech, video + 1).video)


@pytest.mark.parametrize("kind", ["vae", "linear"])
def test_style_of_a_whole_answer_does_not_see_its_padding(kind):
    sd = build(StyleDisentangler, dataclasses.replace(SD, kind=kind))
    states, lengths = random(2, 9, 24), jnp.array([9, 5])
    call = nnx.jit(lambda m, x: m(x, x, None, lengths))
    style, padded = call(sd, states), call(sd, states.at[1, 5:].set(1e3))
    np.testing.assert_allclose(padded.speech, style.speech, atol=1e-5)
    alone = nnx.jit(lambda m, x: m(x, x))(sd, states[1:, :5])
    np.testing.assert_allclose(style.video[1:], alone.video, atol=1e-5)


def test_ablations_are_linear_maps():
    cs = build(ContentSynchronizer, dataclasses.replace(CS, kind="linear"))
    sd = build(StyleDisentangler, dataclasses.replace(SD, kind="linear"))
    x, lengths = random(2, 6, 24), jnp.array([6, 6])
    content = nnx.jit(lambda m, x: m.speech(x, lengths, lengths, 6)[0])
    style = nnx.jit(lambda m, x: m(x, x).speech)
    for function, module in ((content, cs), (style, sd)):
        both = function(module, x) + function(module, -x)
        np.testing.assert_allclose(both, 2 * function(module, jnp.zeros_like(x)), atol=1e-5)
    assert sd(x, x).logits == {}


def test_resize_keeps_the_ends_and_interpolates_between():
    x = jnp.arange(4.0)[None, :, None]
    out = resize(x, jnp.array([4]), jnp.array([7]), 9)[0, :, 0]
    np.testing.assert_allclose(out[:7], np.linspace(0, 3, 7), atol=1e-6)
    np.testing.assert_allclose(resize(x, jnp.array([4]), jnp.array([2]), 2)[0, :, 0], [0, 3])


def test_parameters_carry_logical_axes_with_the_stacked_axis_first():
    block = weights.abstract(lambda: Block(BLOCK, rngs=nnx.Rngs(0)))
    kernel = block.encoder.mlp.up.kernel
    assert kernel.shape == (2, 16, 24)
    assert axis_names(kernel) == ("layers", "embed", "mlp")
