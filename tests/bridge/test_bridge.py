"""Content synchronizer and style disentangler."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax.bridge.content_synchronizer import ContentSynchronizer, SynchronizerConfig, resize
from empatheia_jax.bridge.style_disentangler import CLASSES, DisentanglerConfig, StyleDisentangler
from empatheia_jax.bridge.transformer import Block, BlockConfig
from empatheia_jax.nn.axes import axes_of

BLOCK = BlockConfig(width=32, heads=4, mlp=48, layers=2)
CS = SynchronizerConfig(hidden=24, block=BLOCK, latent=16, speech_channels=20, video_window=3, video_channels=8)
SD = DisentanglerConfig(hidden=24, block=BLOCK, latent=16, speech_style=12, video_style=10)


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_padding_of_source_and_queries_changes_nothing_in_the_valid_part():
    cs = ContentSynchronizer(CS, rngs=nnx.Rngs(0))
    text = random(2, 9, 24)
    lengths = jnp.array([6, 4])
    want, _ = cs.speech(text[:1, :6], lengths[:1], jnp.array([5]), 5)
    padded = text.at[:, 6:].set(1e3)
    got, _ = cs.speech(padded, lengths, jnp.array([5, 7]), 11)
    np.testing.assert_allclose(got[0, :5], want[0], atol=2e-5)


def test_content_depends_on_text_length_and_modality():
    cs = ContentSynchronizer(CS, rngs=nnx.Rngs(0))
    text, lengths = random(2, 6, 24), jnp.array([6, 3])
    out = cs(text, lengths, jnp.array([4, 5]), 5, jnp.array([7, 8]), 8, jax.random.key(1))
    assert out.speech.shape == (2, 5, 20) and out.video.shape == (2, 8, 3, 8) and out.kl.shape == (2,)
    assert np.all(np.asarray(out.kl) > 0)
    other = cs(text + 1.0, lengths, jnp.array([4, 5]), 5, jnp.array([7, 8]), 8, jax.random.key(1))
    assert np.abs(np.asarray(out.speech - other.speech)).max() > 1e-3


def test_latents_are_sampled_with_a_key_and_their_mean_without():
    cs = ContentSynchronizer(CS, rngs=nnx.Rngs(0))
    call = lambda key: np.asarray(cs.speech(random(1, 6, 24), jnp.array([6]), jnp.array([4]), 4, key)[0])  # noqa: E731
    np.testing.assert_array_equal(call(None), call(None))
    assert np.abs(call(jax.random.key(0)) - call(jax.random.key(1))).max() > 1e-3


@pytest.mark.parametrize("sharing, pairs", [("all", 1), ("modality", 2), ("none", 4)])
def test_style_for_every_way_of_sharing(sharing, pairs):
    sd = StyleDisentangler(dataclasses.replace(SD, sharing=sharing), rngs=nnx.Rngs(0))
    assert len(sd.vaes) == pairs
    style = sd(random(3, 16, 24), random(3, 16, 24, seed=1), jax.random.key(0))
    assert style.speech.shape == (3, 12) and style.video.shape == (3, 10)
    assert {task: logits.shape for task, logits in style.logits.items()} == {t: (3, n) for t, n in CLASSES.items()}


def test_speech_style_does_not_see_the_video_states_unless_told_to():
    speech, video = random(2, 16, 24), random(2, 16, 24, seed=1)
    own = StyleDisentangler(SD, rngs=nnx.Rngs(0))
    literal = StyleDisentangler(dataclasses.replace(SD, inputs="speech"), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(own(speech, video).speech, own(speech, video + 1).speech, atol=1e-6)
    assert np.abs(np.asarray(own(speech, video).video - own(speech, video + 1).video)).max() > 1e-4
    np.testing.assert_array_equal(literal(speech, video).video, literal(speech, video + 1).video)


def test_ablations_are_linear_maps():
    cs = ContentSynchronizer(dataclasses.replace(CS, kind="linear"), rngs=nnx.Rngs(0))
    sd = StyleDisentangler(dataclasses.replace(SD, kind="linear"), rngs=nnx.Rngs(0))
    x, lengths = random(2, 6, 24), jnp.array([6, 6])
    f = lambda x: cs.speech(x, lengths, lengths, 6)[0]  # noqa: E731
    np.testing.assert_allclose(f(x) + f(-x), 2 * f(jnp.zeros_like(x)), atol=1e-5)
    g = lambda x: sd(x, x).speech  # noqa: E731
    np.testing.assert_allclose(g(x) + g(-x), 2 * g(jnp.zeros_like(x)), atol=1e-5)
    assert sd(x, x).logits == {}


def test_resize_keeps_the_ends_and_interpolates_between():
    x = jnp.arange(4.0)[None, :, None]
    out = resize(x, jnp.array([4]), jnp.array([7]), 9)[0, :, 0]
    np.testing.assert_allclose(out[:7], np.linspace(0, 3, 7), atol=1e-6)
    np.testing.assert_allclose(resize(x, jnp.array([4]), jnp.array([2]), 2)[0, :, 0], [0, 3])


def test_parameters_carry_logical_axes_with_the_stacked_axis_first():
    block = nnx.eval_shape(lambda: Block(BLOCK, rngs=nnx.Rngs(0)))
    kernel = block.encoder.mlp.up.kernel
    assert kernel.shape == (2, 32, 48)
    assert axes_of(kernel) == ("layers", "embed", "mlp")
