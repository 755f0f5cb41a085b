"""Trains the drawn face's renderer: portrait + coefficient windows → frames, on shards of drawn people.

A drawing knows where every point of a face goes, so the warping network is first taught the flow itself, alone (mean absolute
error in pixels of its map, heavier where expression moves the face). The editing network then learns on portraits warped by the
true and by the predicted flow; its loss is the mean absolute error (heavier where the frame differs from the warped portrait
and where expression moves the face) and that of horizontal and vertical differences.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree

from empatheia_jax.dreamtalk import renderer_layers
from empatheia_jax.dreamtalk.config import RendererConfig
from empatheia_jax.dreamtalk.drawn_face.identity import sample_identity
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION
from empatheia_jax.dreamtalk.editing_net import EditingNet
from empatheia_jax.dreamtalk.renderer import Renderer, normalise_image
from empatheia_jax.dreamtalk.settings import DrawnFace
from empatheia_jax.training.drawn_face import checkpoint
from empatheia_jax.training.drawn_face.flow import true_flow
from empatheia_jax.training.drawn_face.performances import HELD_OUT, widened_windows

_POSE_GAIN = 8.0  # angles and shifts are small numbers: the first layer starts by listening to them harder


def new_renderer(config: RendererConfig, seed: int) -> Renderer:
    """A renderer at the start of training, made to begin with something sensible.

    The descriptor starts as the coefficients of the window's middle; the flow as none; the frame as the warped portrait, whose
    colours pass every layer of full resolution as positive and negative parts, since the layers' activations are one-sided.
    """
    model = Renderer(config, rngs=nnx.Rngs(seed))
    heard = [*sorted(ACTIONS.values()), *range(EXPRESSION, EXPRESSION + 6)]
    first = np.asarray(model.mapping.first.kernel[...]) * 0.2
    for channel, index in enumerate(heard):
        first[:, :, channel] = 0.0
        first[3, index, channel] = _POSE_GAIN if index >= EXPRESSION else 1.0
    model.mapping.first.kernel[...] = jnp.asarray(first)
    for layer in model.mapping.layers:
        layer.kernel[...] = layer.kernel[...] * 0.1
    flow = model.warping.flow_conv
    flow.kernel[...] = flow.kernel[...] * 0.1

    _pass_through(model.editing)
    return model


def _pass_through(editing: EditingNet) -> None:
    """Sets the editing network's two layers of full resolution so that it returns the warped portrait, nearly.

    Activations are one-sided, so colours travel as channels 0-2 (positive) and 3-5 (negative). Every norm divides by the size of
    all channels together, which would lose a picture's contrast: channels 6 and 7 are large constants that keep this size nearly
    the same for all pictures. Channels 8-10 are what is brighter than 0.6, so that the last layer can undo the tanh.
    """
    constant, bright, size = 4.0, 0.6, 1.7  # `size`: of all channels together
    last = editing.levels[-1]
    colours = np.eye(3, dtype=np.float32)
    recombine = np.concatenate([colours, -colours], 0) / 1.1  # the colour out of its two parts (leaky slope 0.1)
    for layer, source, rows in ((editing.first, colours, slice(3, 6)), (last.jump, recombine, slice(0, 6))):
        kernel, bias = np.array(layer.conv.kernel[...]), np.zeros(layer.conv.bias.shape, np.float32)
        middle = kernel.shape[0] // 2
        kernel[..., :11] = 0.0
        for first, sign in ((0, 1.0), (3, -1.0), (8, 1.0)):
            kernel[middle, middle, rows, first : first + 3] = sign * source
        bias[6], bias[7], bias[8:11] = constant, -constant, -bright
        layer.conv.kernel[...], layer.conv.bias[...] = jnp.asarray(kernel), jnp.asarray(bias)
        layer.norm.scale[...] = jnp.full_like(layer.norm.scale[...], size)
    last.up.norm.scale[...] = last.up.norm.scale[...].at[:11].set(0.02)
    kernel = np.array(editing.final.kernel[...]) * 0.02
    kernel[:, :, :11] = 0.0
    kernel[3, 3, 0:3], kernel[3, 3, 3:6], kernel[3, 3, 8:11] = 0.8 * colours, -colours, 2.0 * colours
    editing.final.kernel[...] = jnp.asarray(kernel)
    editing.final.bias[...] = jnp.full_like(editing.final.bias[...], 0.12)


def draw_shards(folder: str, first: int, count: int, people: int, frames_each: int) -> None:
    """Draws shards into a folder, one `.npz` each, leaving those that are there. Runs beside the training."""
    from empatheia_jax.training.drawn_face import performances

    for number in range(first, first + count):
        path = Path(folder) / f"{number:05d}.npz"
        if not path.exists():
            shard = performances.shard(number, people, frames_each)
            temporary = path.with_suffix(".tmp.npz")
            np.savez(temporary, **vars(shard))
            temporary.rename(path)


def flow_loss(renderer: Renderer, portrait, windows, flow, moved) -> jax.Array:
    """Of the mapping and warping networks alone: see `losses`."""
    predicted = renderer.warping.flow(portrait, renderer.mapping(windows))
    weight = 1.0 + 4.0 * jnp.minimum(1.0, moved)
    return (weight[..., None] * jnp.abs(predicted - flow)).mean()


def losses(renderer: Renderer, portrait, windows, frame, flow, moved, trust) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The training loss and its parts.

    Args:
        portrait, frame: images in [-1, 1].
        flow, moved: the true flow, (N, h, w, 2), and the share of it that expression makes, (N, h, w).
        trust: per example, 1 to edit the portrait as the network warps it, 0 as the true flow does.
    """
    descriptor = renderer.mapping(windows)
    predicted = renderer.warping.flow(portrait, descriptor)
    flow_weight = 1.0 + 4.0 * jnp.minimum(1.0, moved)
    flow_error = (flow_weight[..., None] * jnp.abs(predicted - flow)).mean()
    true_warp = renderer_layers.warp(portrait, renderer_layers.flow_to_deformation(flow))
    used = jnp.where(trust[:, None, None, None] > 0, jax.lax.stop_gradient(predicted), flow)
    image = renderer.editing(
        portrait, renderer_layers.warp(portrait, renderer_layers.flow_to_deformation(used)), descriptor
    )
    weight = 1.0 + 5.0 * jnp.minimum(1.0, 3.0 * jnp.abs(frame - true_warp).mean(-1, keepdims=True))
    moving = jax.image.resize(jnp.minimum(1.0, moved), moved.shape[:1] + frame.shape[1:3], "linear")
    weight = weight + 2.0 * moving[..., None]
    error = image - frame
    pixel = (weight * jnp.abs(error)).mean()
    edge = jnp.abs(error[:, 1:] - error[:, :-1]).mean() + jnp.abs(error[:, :, 1:] - error[:, :, :-1]).mean()
    parts = {"flow": flow_error, "pixel": pixel, "edge": edge, "plain": jnp.abs(error).mean()}
    return flow_error + pixel + edge, parts


def train(config: DrawnFace, folder: Path, minutes: float) -> None:
    """Trains for `minutes` (or `config.renderer_steps`), from the folder's last checkpoint if there is one."""
    values = config.renderer
    shards = folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    if all((shards / f"{number:05d}.npz").exists() for number in range(config.shards)):
        _train(config, values, folder, shards, minutes)
        return
    artist = multiprocessing.get_context("spawn").Process(
        target=draw_shards,
        args=(str(shards), 0, config.shards, config.people_per_shard, config.frames_per_person),
        daemon=True,
    )
    artist.start()
    try:
        _train(config, values, folder, shards, minutes)
    finally:
        artist.terminate()
        artist.join()


def _train(config: DrawnFace, values: RendererConfig, folder: Path, shards: Path, minutes: float) -> None:
    graph, params, rest = nnx.split(new_renderer(values, config.seed), nnx.Param, ...)
    flat, unravel = ravel_pytree(params)  # one long vector: the optimizer is then a handful of operations
    rate, flow_rate = config.renderer_rate, config.flow_rate
    schedule = optax.join_schedules(
        [
            optax.warmup_cosine_decay_schedule(0.0, flow_rate, 50, config.flow_steps, 0.05 * flow_rate),
            optax.warmup_cosine_decay_schedule(0.0, rate, 50, config.renderer_steps, 0.02 * rate),
        ],
        [config.flow_steps],
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b1=0.9, b2=0.99))
    state = optimizer.init(flat)
    step, (params, average, state) = checkpoint.restore(folder / "renderer.npz", (params, params, state))
    flat, average = ravel_pytree(params)[0], ravel_pytree(average)[0]

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(flat, average, state, step, portrait, windows, frame, flow, moved, trust):
        def loss(vector):
            renderer = nnx.merge(graph, unravel(vector), rest)
            return losses(renderer, normalise_image(portrait), windows, normalise_image(frame), flow, moved, trust)

        (_, parts), gradient = jax.value_and_grad(loss, has_aux=True)(flat)
        change, state = optimizer.update(gradient, state, flat)
        flat = flat + change
        keep = jnp.minimum(config.average, (1.0 + step) / (10.0 + step))
        return flat, keep * average + (1 - keep) * flat, state, parts

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def update_flow(flat, average, state, step, portrait, windows, flow, moved):
        def loss(vector):
            renderer = nnx.merge(graph, unravel(vector), rest)
            return flow_loss(renderer, normalise_image(portrait), windows, flow, moved)

        value, gradient = jax.value_and_grad(loss)(flat)
        change, state = optimizer.update(gradient, state, flat)
        flat = flat + change
        keep = jnp.minimum(config.average, (1.0 + step) / (10.0 + step))
        return flat, keep * average + (1 - keep) * flat, state, {"flow": value}

    def save() -> None:
        checkpoint.save(folder / "renderer.npz", step, (unravel(flat), unravel(average), state))

    flow_size = values.image_size // 2 ** (values.warp_encoder_layers - values.warp_decoder_layers)
    examples = Examples(shards, flow_size, values.window_radius)
    rng = np.random.default_rng([config.seed, step])
    started, looked = time.monotonic(), -1e9
    log = (folder / "renderer.jsonl").open("a")
    recent = []
    while step < config.flow_steps + config.renderer_steps and time.monotonic() - started < minutes * 60:
        if time.monotonic() - looked > 10:
            looked = time.monotonic()
            examples.look()
        if not examples.pool:
            time.sleep(1.0)
            continue
        if step < config.flow_steps:
            batch = examples.flow_batch(rng, config.flow_batch)
            flat, average, state, parts = update_flow(flat, average, state, step, *batch)
        else:
            batch = examples.batch(rng, config.renderer_batch)
            trust = (rng.random(config.renderer_batch) < config.trust).astype(np.float32)
            flat, average, state, parts = update(flat, average, state, step, *batch, trust)
        recent.append({k: float(v) for k, v in parts.items()})
        step += 1
        if step % 50 == 0 or step == config.flow_steps:
            mean = {k: round(float(np.mean([r[k] for r in recent])), 5) for k in recent[0]}
            seconds = round(time.monotonic() - started, 1)
            line = {"step": step, "seconds": seconds, "shards": len(examples.pool), **mean}
            recent = []
            print(json.dumps(line), file=log, flush=True)
            print(line, flush=True)
        if step % 100 == 0:
            save()
    save()


class Examples:
    """Frames of the shards that have been drawn so far, with their true flows (computed when first asked for)."""

    def __init__(self, shards: Path, flow_size: int, radius: int):
        self.shards, self.flow_size, self.radius = shards, flow_size, radius
        self.pool: list[tuple[int, dict[str, np.ndarray]]] = []
        self._flows: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._motions: list[np.ndarray] = []

    def look(self) -> None:
        """Takes in shards that have appeared."""
        known = {number for number, _ in self.pool}
        for path in sorted(self.shards.glob("[0-9]*[0-9].npz")):
            if int(path.stem) not in known:
                with np.load(path) as file:
                    self.pool.append((int(path.stem), {k: file[k] for k in file.files}))

    def batch(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, ...]:
        """Random examples: portraits, windows, frames, flows and how far expression moves each place."""
        rows = []
        for _ in range(size):
            number, shard = self.pool[int(rng.integers(len(self.pool)))]
            i = int(rng.integers(len(shard["frames"])))
            who = int(shard["portrait_index"][i])
            if (number, i) not in self._flows:
                person = sample_identity(number * 1000 + who)
                self._flows[number, i] = true_flow(person, shard["windows"][i][self.radius], self.flow_size)
            rows.append((shard["portraits"][who], shard["windows"][i], shard["frames"][i], *self._flows[number, i]))
        return tuple(np.stack(column) for column in zip(*rows))

    def flow_batch(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, ...]:
        """Any person's portrait with any performance: portraits, windows, flows and how far expression moves each place.

        No frame has to be drawn for these, so every one is new.
        """
        self._motions.append(widened_windows(rng, int(rng.integers(HELD_OUT)), 24, self.radius))
        del self._motions[:-100]
        rows = []
        for _ in range(size):
            number, shard = self.pool[int(rng.integers(len(self.pool)))]
            who = int(rng.integers(len(shard["portraits"])))
            windows = self._motions[int(rng.integers(len(self._motions)))]
            window = windows[int(rng.integers(len(windows)))]
            person = sample_identity(number * 1000 + who)
            rows.append((shard["portraits"][who], window, *true_flow(person, window[self.radius], self.flow_size)))
        return tuple(np.stack(column) for column in zip(*rows))
