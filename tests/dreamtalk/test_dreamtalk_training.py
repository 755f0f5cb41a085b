"""The losses of both trainings: null styles, padding, what learns, and that it does learn."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dreamtalk_sizes import DENOISER, RENDERER, build
from flax import nnx

from empatheia_jax import tiny
from empatheia_jax.dreamtalk import perceptual, training

# One layer where the networks' own tests have several: what is trained here is compiled, too.
DENOISER = dataclasses.replace(DENOISER, decoder_layers=1)


@pytest.fixture(scope="module")
def denoiser():
    config = dataclasses.replace(DENOISER, dropout=0.0)
    model = build(config)
    rng = np.random.default_rng(0)
    batch = training.MotionBatch(
        motion=jnp.asarray(rng.normal(size=(4, 6, config.face3d_dim)), jnp.float32),
        audio=jnp.asarray(rng.normal(size=(4, 6, config.window_slots, config.audio_feature_dim)), jnp.float32),
        frame_weight=jnp.ones((4, 6)),
        style_clip=jnp.asarray(rng.normal(size=(4, config.style_max_len, config.face3d_dim)), jnp.float32),
        style_padding=jnp.zeros((4, config.style_max_len), bool),
    )
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def loss(params, batch, key, null_probability, velocity_weight=0.0):
        return training.denoiser_loss(
            nnx.merge(graph, params, rest),
            batch,
            key,
            null_probability=null_probability,
            velocity_weight=velocity_weight,
        )

    return params, batch, loss


def test_a_null_style_hides_the_style_clip(denoiser):
    params, batch, loss = denoiser
    other = dataclasses.replace(batch, style_clip=batch.style_clip + 1)
    key = jax.random.key(0)
    assert loss(params, batch, key, 1.0)["loss"].total == loss(params, other, key, 1.0)["loss"].total
    assert loss(params, batch, key, 0.0)["loss"].total != loss(params, other, key, 0.0)["loss"].total


def test_padding_frames_weigh_nothing(denoiser):
    params, batch, loss = denoiser
    weight = batch.frame_weight.at[:, 4:].set(0)
    padded = dataclasses.replace(batch, frame_weight=weight)
    changed = dataclasses.replace(padded, audio=batch.audio.at[:, 4:].set(9.0))
    key = jax.random.key(1)
    a, b = loss(params, padded, key, 0.1, 0.5)["loss"], loss(params, changed, key, 0.1, 0.5)["loss"]
    assert a.weight == 16.0
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-6)
    whole = loss(params, batch, key, 0.1, 0.5)["loss"]
    assert abs(float(whole.mean - a.mean)) > 1e-4


def test_the_loss_is_the_mean_of_x0_and_velocity(denoiser):
    params, batch, loss = denoiser
    parts = loss(params, batch, jax.random.key(2), 0.1, 0.3)
    np.testing.assert_allclose(parts["loss"].mean, parts["x0"].mean + 0.3 * parts["velocity"].mean, rtol=1e-6)
    assert parts["velocity"].mean > 0


def test_a_denoiser_learns_a_few_clips(denoiser):
    params, batch, loss = denoiser
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, key):
        value, gradient = jax.value_and_grad(lambda p: loss(p, batch, key, 0.1)["loss"].mean)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state, values = jax.jit(optimizer.init)(params), []
    for i in range(60):
        params, state, value = step(params, state, jax.random.key(i))
        values.append(value)
    assert np.mean(values[-10:]) < 0.6 * np.mean(values[:10])


@pytest.fixture(scope="module")
def renderer():
    config = RENDERER
    rng = np.random.default_rng(0)
    batch = training.FrameBatch(
        portrait=jnp.asarray(rng.uniform(-1, 1, size=(2, 32, 32, 3)), jnp.float32),
        windows=jnp.asarray(rng.normal(size=(2, config.window_frames, config.coefficient_dim)), jnp.float32),
        target=jnp.asarray(rng.uniform(-1, 1, size=(2, 32, 32, 3)), jnp.float32),
        weight=jnp.asarray([1.0, 0.0]),
    )
    graph, params = nnx.split(build(config))

    def loss(params, batch, warp_only=False):
        return training.renderer_loss(
            nnx.merge(graph, params),
            batch,
            perceptual.edge_features,
            training.RendererWeights(style=1.0, pixel=1.0, scales=2),
            warp_only=warp_only,
        )

    return params, batch, jax.jit(loss, static_argnames="warp_only")


def test_warping_alone_gives_the_editing_network_no_gradient(renderer):
    params, batch, loss = renderer

    @jax.jit
    def warp_only(params):
        losses = loss(params, batch, warp_only=True)
        return losses["loss"].mean, losses

    gradient, losses = jax.jit(jax.grad(warp_only, has_aux=True))(params)
    sizes = {".".join(map(str, p)): np.abs(g[...]).max() for p, g in nnx.to_flat_state(gradient)}
    assert all(size == 0 for path, size in sizes.items() if path.startswith("editing."))
    assert any(size > 0 for path, size in sizes.items() if path.startswith("warping."))
    assert any(size > 0 for path, size in sizes.items() if path.startswith("mapping."))
    assert set(losses) == {"loss", "warp"}


def test_examples_without_weight_do_not_count(renderer):
    params, batch, loss = renderer
    changed = dataclasses.replace(batch, target=batch.target * np.asarray([1, 0], np.float32)[:, None, None, None])
    found = loss(params, batch)
    assert found["loss"].mean == loss(params, changed)["loss"].mean
    np.testing.assert_allclose(
        found["loss"].mean,
        2.5 * found["warp"].mean + 4 * found["final"].mean + found["pixel"].mean,
        rtol=1e-5,
    )


def test_a_picture_is_at_no_distance_from_itself_and_further_from_a_stranger():
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, size=(1, 32, 32, 3)).astype(np.float32)
    near, far = image + np.float32(0.01), -image

    narrow = dataclasses.replace(perceptual.VGG19, widths=(8, 8, 16, 16, 16))
    for features in (perceptual.edge_features, tiny.made_up(lambda: perceptual.Vgg19(narrow, rngs=nnx.Rngs(0)))):
        compare = functools.partial(perceptual.perceptual_distance, features, scales=1, style_weight=1.0)
        compare = jax.jit(compare)

        def distance(other, compare=compare):
            return float(compare(other, image)[0])

        assert distance(image) == 0.0 < distance(near) < distance(far)


def test_the_projects_own_training_step_takes_these_losses():
    """The same step, clipping, moving average and single compilation as every other stage."""
    from configs import dreamtalk_denoiser
    from empatheia_jax.dreamtalk.settings import TRAININGS
    from empatheia_jax.parallel.mesh import make_mesh
    from empatheia_jax.settings import read
    from empatheia_jax.training import partition
    from empatheia_jax.training import step as steps

    config = read(TRAININGS["denoiser"], dreamtalk_denoiser.get_config())
    model = build(dataclasses.replace(DENOISER, dropout=0.1))
    rng = np.random.default_rng(0)
    batch = training.MotionBatch(
        motion=rng.normal(size=(2, 4, DENOISER.face3d_dim)).astype(np.float32),
        audio=rng.normal(size=(2, 4, DENOISER.window_slots, DENOISER.audio_feature_dim)).astype(np.float32),
        frame_weight=np.ones((2, 4), np.float32),
        style_clip=rng.normal(size=(2, DENOISER.style_max_len, DENOISER.face3d_dim)).astype(np.float32),
        style_padding=np.zeros((2, DENOISER.style_max_len), bool),
    )
    parts = partition.split(model, nnx.Param)
    step = steps.build(
        parts,
        training.denoiser_objective(**dataclasses.asdict(config.objective)),
        optax.adam(config.learning_rate),
        make_mesh(1, 1, 1, devices=jax.devices()[:1]),
        coefficients={"loss": 1.0},
        clip=config.clip,
        ema=config.ema,
    )
    state, frozen = step.init(parts.trainable, config.seed), step.place_frozen(parts.frozen)
    assert not any(path.startswith("schedule") or path.endswith("position") for path in parts.trainable)
    losses = []
    for _ in range(3):
        state, metrics = step(state, frozen, step.place_batch(batch))
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all() and len(set(losses)) == 3  # other steps and noise each time
    assert step.compilations == 1


def test_the_configs_describe_networks_that_exist():
    from configs import dreamtalk_denoiser, dreamtalk_renderer
    from empatheia_jax.dreamtalk import released
    from empatheia_jax.dreamtalk.settings import TRAININGS
    from empatheia_jax.settings import read

    assert read(TRAININGS["denoiser"], dreamtalk_denoiser.get_config()).network == released.DENOISER
    renderer = read(TRAININGS["renderer"], dreamtalk_renderer.get_config())
    assert renderer.network == dataclasses.replace(released.RENDERER, unused_residual_convs=False)
    assert renderer.objective == training.RendererWeights()
    assert (renderer.warp_steps, renderer.decay_every, renderer.steps) == (200_000, 300_000, 600_000)
