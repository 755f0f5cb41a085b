"""Trains the drawn face's renderer: portrait + coefficient windows → frames, on shards of drawn people.

A drawing knows where every point of a head goes, so the warping network is taught the flow itself (mean absolute error, in
pixels of its map). The editing network learns on portraits warped by the true flow, later by the predicted one; its loss is
the mean absolute error (heavier where a frame differs from the warped portrait: mouth, eyes, brows), that of horizontal and
vertical differences, and 1 - SSIM.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict

from empatheia_jax.dreamtalk import renderer_layers
from empatheia_jax.dreamtalk.config import RendererConfig
from empatheia_jax.dreamtalk.drawn_face import checkpoint
from empatheia_jax.dreamtalk.drawn_face.drawing import true_flow
from empatheia_jax.dreamtalk.drawn_face.identity import sample_identity
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION
from empatheia_jax.dreamtalk.drawn_face.quality import ssim
from empatheia_jax.dreamtalk.renderer import Renderer, normalise_image

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

    editing = model.editing
    sign = np.concatenate([np.eye(3), -np.eye(3)], 1).astype(np.float32)  # (colour, part)
    kernel = np.asarray(editing.first.conv.kernel[...]).copy()
    kernel[..., :6] = 0.0
    kernel[3, 3, 3:6, :6] = sign  # channels 3-5 of the input are the warped portrait's
    editing.first.conv.kernel[...] = jnp.asarray(kernel)
    last = editing.levels[-1]
    kernel = np.asarray(last.jump.conv.kernel[...]).copy()
    kernel[..., :6] = 0.0
    kernel[1, 1, :6, :6] = np.eye(6)
    last.jump.conv.kernel[...] = jnp.asarray(kernel)
    last.up.norm.scale[...] = last.up.norm.scale[...].at[:6].set(0.3)
    kernel = np.asarray(editing.final.kernel[...]).copy() * 0.1
    kernel[3, 3, :6] = 0.75 * sign.T
    editing.final.kernel[...] = jnp.asarray(kernel)
    return model


def draw_shards(folder: str, first: int, count: int, people: int, frames_each: int) -> None:
    """Draws shards into a folder, one `.npz` each, leaving those that are there. Runs beside the training."""
    from empatheia_jax.dreamtalk.drawn_face import material

    for number in range(first, first + count):
        path = Path(folder) / f"{number:05d}.npz"
        if not path.exists():
            shard = material.shard(number, people, frames_each)
            temporary = path.with_suffix(".tmp.npz")
            np.savez(temporary, **vars(shard))
            temporary.rename(path)


def losses(renderer: Renderer, portrait, windows, frame, flow, trust) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The training loss and its parts.

    Args:
        portrait, frame: images in [-1, 1].
        flow: the true flow, (N, h, w, 2) in pixels of the warping network's map.
        trust: per example, 1 to edit the portrait as the network warps it, 0 as the true flow does.
    """
    descriptor = renderer.mapping(windows)
    predicted = renderer.warping.flow(portrait, descriptor)
    flow_error = jnp.abs(predicted - flow).mean()
    used = jnp.where(trust[:, None, None, None] > 0, jax.lax.stop_gradient(predicted), flow)
    warped = renderer_layers.warp(portrait, renderer_layers.flow_to_deformation(used))
    image = renderer.editing(portrait, warped, descriptor)
    differs = jnp.abs(frame - renderer_layers.warp(portrait, renderer_layers.flow_to_deformation(flow)))
    weight = 1.0 + 5.0 * jnp.minimum(1.0, 3.0 * differs.mean(-1, keepdims=True))
    error = image - frame
    pixel = (weight * jnp.abs(error)).mean()
    edge = jnp.abs(error[:, 1:] - error[:, :-1]).mean() + jnp.abs(error[:, :, 1:] - error[:, :, :-1]).mean()
    structure = 1.0 - ssim(image.mean(-1, keepdims=True), frame.mean(-1, keepdims=True), span=2.0).mean()  # of grey
    total = 0.5 * flow_error + pixel + 0.5 * edge + 0.5 * structure
    return total, {"flow": flow_error, "pixel": pixel, "edge": edge, "ssim": 1.0 - structure}


def train(config: ConfigDict, folder: Path, minutes: float) -> None:
    """Trains for `minutes` (or `config.renderer_steps`), from the folder's last checkpoint if there is one."""
    values = RendererConfig(**config.renderer)
    shards = folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
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


def _train(config: ConfigDict, values: RendererConfig, folder: Path, shards: Path, minutes: float) -> None:
    flow_size = values.image_size // 2 ** (values.warp_encoder_layers - values.warp_decoder_layers)
    graph, params, rest = nnx.split(new_renderer(values, config.seed), nnx.Param, ...)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.renderer_rate, 100, config.renderer_steps, config.renderer_rate * 0.02
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b1=0.9, b2=0.99))
    average = params
    state = optimizer.init(params)
    step, saved = checkpoint.restore(folder / "renderer.npz", (params, average, state))
    params, average, state = saved

    @jax.jit
    def update(params, average, state, step, portrait, windows, frame, size, trust):
        flow = jax.vmap(lambda pose, size: true_flow(pose, size, flow_size))(windows[:, values.window_radius], size)

        def loss(p):
            portraits, frames = normalise_image(portrait), normalise_image(frame)
            return losses(nnx.merge(graph, p, rest), portraits, windows, frames, flow, trust)

        (_, parts), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        change, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, change)
        keep = jnp.minimum(config.average, (1.0 + step) / (10.0 + step))
        average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, average, params)
        return params, average, state, parts

    pool: dict[str, dict[str, np.ndarray]] = {}
    rng = np.random.default_rng([config.seed, step])
    started, looked = time.monotonic(), -1e9
    log = (folder / "renderer.jsonl").open("a")
    recent = []
    while step < config.renderer_steps and time.monotonic() - started < minutes * 60:
        if time.monotonic() - looked > 10:
            looked = time.monotonic()
            for path in sorted(shards.glob("[0-9]*[0-9].npz")):
                if path.name not in pool:
                    with np.load(path) as file:
                        pool[path.name] = {k: file[k] for k in file.files}
        if not pool:
            time.sleep(1.0)
            continue
        batch = _batch(rng, list(pool.items()), config.renderer_batch, config.people_per_shard)
        progress = step / config.renderer_steps
        trust = (rng.random(config.renderer_batch) < np.clip((progress - 0.1) / 0.3, 0.0, 1.0)).astype(np.float32)
        params, average, state, parts = update(params, average, state, step, *batch, trust)
        recent.append({k: float(v) for k, v in parts.items()})
        step += 1
        if step % 50 == 0:
            mean = {k: round(float(np.mean([r[k] for r in recent])), 5) for k in recent[0]}
            line = {"step": step, "seconds": round(time.monotonic() - started, 1), "shards": len(pool), **mean}
            recent = []
            print(json.dumps(line), file=log, flush=True)
            print(line, flush=True)
        if step % 200 == 0:
            checkpoint.save(folder / "renderer.npz", step, (params, average, state))
    checkpoint.save(folder / "renderer.npz", step, (params, average, state))


def _batch(rng: np.random.Generator, pool: list[tuple[str, dict]], size: int, people: int):
    portraits, windows, frames, sizes = [], [], [], []
    for _ in range(size):
        name, shard = pool[int(rng.integers(len(pool)))]
        i = int(rng.integers(len(shard["frames"])))
        who = int(shard["portrait_index"][i])
        portraits.append(shard["portraits"][who])
        windows.append(shard["windows"][i])
        frames.append(shard["frames"][i])
        sizes.append(sample_identity(int(name[:5]) * 1000 + who).size)
    return np.stack(portraits), np.stack(windows), np.stack(frames), np.array(sizes, np.float32)
