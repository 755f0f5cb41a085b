"""Trains the drawn face's renderer: portrait + coefficient windows → frames, on shards of drawn people.

A drawing knows where every point of a face goes, so the warping network is first taught the flow itself, alone (mean absolute
error in pixels of its map, heavier where expression moves the face). The editing network then learns on portraits warped by the
true and by the predicted flow; its loss is the mean absolute error (heavier where the frame differs from the warped portrait
and where expression moves the face) and that of horizontal and vertical differences.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from empatheia_jax.dreamtalk import renderer_layers
from empatheia_jax.dreamtalk.config import RendererConfig
from empatheia_jax.dreamtalk.drawn_face.identity import sample_identity
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION
from empatheia_jax.dreamtalk.editing_net import EditingNet
from empatheia_jax.dreamtalk.renderer import Renderer, normalise_image
from empatheia_jax.dreamtalk.settings import DrawnFace
from empatheia_jax.files import replacing
from empatheia_jax.nn.bias import bias_of
from empatheia_jax.training.drawn_face.flow import true_flow
from empatheia_jax.training.drawn_face.performances import HELD_OUT, widened_windows
from empatheia_jax.training.drawn_face.phases import average, named, one_device, settings
from empatheia_jax.training.losses import Pair
from empatheia_jax.training.random_batches import RandomBatches
from empatheia_jax.training.trainer import Phase, run_phases

_LOOK_EVERY = 10.0  # seconds between two looks for new shards
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
        kernel, bias = np.array(layer.conv.kernel[...]), np.zeros(bias_of(layer.conv).shape, np.float32)
        middle = kernel.shape[0] // 2
        kernel[..., :11] = 0.0
        for first, sign in ((0, 1.0), (3, -1.0), (8, 1.0)):
            kernel[middle, middle, rows, first : first + 3] = sign * source
        bias[6], bias[7], bias[8:11] = constant, -constant, -bright
        layer.conv.kernel[...], bias_of(layer.conv)[...] = jnp.asarray(kernel), jnp.asarray(bias)
        layer.norm.scale[...] = jnp.full_like(layer.norm.scale[...], size)
    last.up.norm.scale[...] = last.up.norm.scale[...].at[:11].set(0.02)
    kernel = np.array(editing.final.kernel[...]) * 0.02
    kernel[:, :, :11] = 0.0
    kernel[3, 3, 0:3], kernel[3, 3, 3:6], kernel[3, 3, 8:11] = 0.8 * colours, -colours, 2.0 * colours
    editing.final.kernel[...] = jnp.asarray(kernel)
    final_bias = bias_of(editing.final)
    final_bias[...] = jnp.full_like(final_bias[...], 0.12)


def draw_shards(folder: str, first: int, count: int, people: int, frames_each: int) -> None:
    """Draws shards into a folder, one `.npz` each, leaving those that are there. Runs beside the training."""
    from empatheia_jax.training.drawn_face import performances

    for number in range(first, first + count):
        path = Path(folder) / f"{number:05d}.npz"
        if not path.exists():
            shard = performances.shard(number, people, frames_each)
            with replacing(path) as temporary:
                np.savez(temporary, **vars(shard))


def flow_loss(renderer: Renderer, batch: dict[str, jax.Array], key: jax.Array | None = None) -> dict[str, Pair]:
    """Loss of the mapping and warping networks alone: mean absolute error of the flow, heavier where expression moves."""
    portrait = normalise_image(batch["portrait"])
    predicted = renderer.warping.flow(portrait, renderer.mapping(batch["windows"]))
    return {"flow": _mean(_flow_error(predicted, batch), portrait)}


def renderer_loss(renderer: Renderer, batch: dict[str, jax.Array], key: jax.Array | None = None) -> dict[str, Pair]:
    """Losses of the whole renderer: `flow`, `pixel` and `edge` train it, `plain` is reported.

    Args:
        batch: `portrait` and `frame` (N, H, W, 3) uint8, `windows` (N, 27, 73); the true `flow` (N, h, w, 2) and the share of it
            that expression makes, `moved` (N, h, w); `trust` (N,): 1 to edit the portrait as the network warps it, 0 as the
            true flow does.
        key: not used; nothing here is random.
    """
    portrait, frame = normalise_image(batch["portrait"]), normalise_image(batch["frame"])
    flow, moved, trust = batch["flow"], batch["moved"], batch["trust"]
    descriptor = renderer.mapping(batch["windows"])
    predicted = renderer.warping.flow(portrait, descriptor)
    true_warp = renderer_layers.warp(portrait, renderer_layers.flow_to_deformation(flow))
    used = jnp.where(trust[:, None, None, None] > 0, jax.lax.stop_gradient(predicted), flow)
    image = renderer.editing(
        portrait, renderer_layers.warp(portrait, renderer_layers.flow_to_deformation(used)), descriptor
    )
    weight = 1.0 + 5.0 * jnp.minimum(1.0, 3.0 * jnp.abs(frame - true_warp).mean(-1, keepdims=True))
    moving = jax.image.resize(jnp.minimum(1.0, moved), moved.shape[:1] + frame.shape[1:3], "linear")
    weight = weight + 2.0 * moving[..., None]
    error = image - frame
    edge = jnp.abs(error[:, 1:] - error[:, :-1]).mean() + jnp.abs(error[:, :, 1:] - error[:, :, :-1]).mean()
    parts = {
        "flow": _flow_error(predicted, batch),
        "pixel": (weight * jnp.abs(error)).mean(),
        "edge": edge,
        "plain": jnp.abs(error).mean(),
    }
    return {name: _mean(value, portrait) for name, value in parts.items()}


def _flow_error(predicted: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
    weight = 1.0 + 4.0 * jnp.minimum(1.0, batch["moved"])
    return (weight[..., None] * jnp.abs(predicted - batch["flow"])).mean()


def _mean(value: jax.Array, rows: jax.Array) -> Pair:
    """A mean over a batch as the trainer takes it: a sum over its rows, and their number."""
    count = jnp.asarray(float(len(rows)))
    return value * count, count


def train(config: DrawnFace, folder: Path, deadline: float | None = None) -> Renderer:
    """Trains both phases or to the deadline, in a run's folder of its own; returns the averaged network.

    Shards are drawn beside the training by a process of their own, into `<folder>/shards`; which of them a batch can be drawn
    from depends on how far that is.
    """
    model, shards = new_renderer(config.renderer, config.seed), folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    with _artist(config, shards):
        what = phases(config, shards, deadline)
        run_phases(what, model, folder, one_device(), config=named(config, "drawn-face-renderer"), log_every=50)
    return model


def phases(config: DrawnFace, shards: Path, deadline: float | None = None) -> list[Phase]:
    """Two phases: the mapping and warping networks on true flows alone, then everything on drawn frames."""
    values = config.renderer
    flow_size = values.image_size // 2 ** (values.warp_encoder_layers - values.warp_decoder_layers)
    examples = Examples(shards, flow_size, values.window_radius)

    def draw_flows(random: np.random.Generator) -> dict[str, np.ndarray]:
        return dict(zip(("portrait", "windows", "flow", "moved"), examples.flow_batch(random, config.flow_batch)))

    def draw_frames(random: np.random.Generator) -> dict[str, np.ndarray]:
        batch = examples.batch(random, config.renderer_batch)
        trust = (random.random(config.renderer_batch) < config.trust).astype(np.float32)
        return dict(zip(("portrait", "windows", "frame", "flow", "moved"), batch)) | {"trust": trust}

    def phase(name: str, trainable: tuple[str, ...], steps: int, peak: float, last: float, **fields) -> Phase:
        rate = optax.warmup_cosine_decay_schedule(0.0, peak, min(50, steps // 2), steps, last * peak)
        return Phase(
            name=name,
            trainable=trainable,
            steps=steps,
            # As one long vector: the optimizer is then a handful of operations.
            optimizer=optax.flatten(optax.adam(rate, b1=0.9, b2=0.99)),
            fingerprint=settings(
                config, "renderer", "flow", "trust", "shards", "people_per_shard", "frames_per_person"
            ),
            clip=1.0,
            ema=average(config.average),
            seed=config.seed,
            save_every=100,
            deadline=deadline,
            **fields,
        )

    moving, data = ("mapping.*", "warping.*"), RandomBatches([config.seed, 0], draw_flows)
    flow = phase("flow", moving, config.flow_steps, config.flow_rate, 0.05, loss=flow_loss, data=data)
    whole = phase(
        "renderer",
        ("*",),
        config.renderer_steps,
        config.renderer_rate,
        0.02,
        loss=renderer_loss,
        coefficients={"flow": 1.0, "pixel": 1.0, "edge": 1.0},
        data=RandomBatches([config.seed, 1], draw_frames),
    )
    return [flow, whole]


@contextlib.contextmanager
def _artist(config: DrawnFace, shards: Path) -> Iterator[None]:
    """Draws the shards that are missing, beside what is done meanwhile."""
    if all((shards / f"{number:05d}.npz").exists() for number in range(config.shards)):
        yield
        return
    artist = multiprocessing.get_context("spawn").Process(
        target=draw_shards,
        args=(str(shards), 0, config.shards, config.people_per_shard, config.frames_per_person),
        daemon=True,
    )
    artist.start()
    try:
        yield
    finally:
        artist.terminate()
        artist.join()


class Examples:
    """Frames of the shards that have been drawn so far, with their true flows (computed when first asked for)."""

    def __init__(self, shards: Path, flow_size: int, radius: int):
        self.shards, self.flow_size, self.radius = shards, flow_size, radius
        self.pool: list[tuple[int, dict[str, np.ndarray]]] = []
        self._flows: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._motions: list[np.ndarray] = []
        self._looked = -_LOOK_EVERY

    def wait(self) -> None:
        """Takes in shards that have appeared, every now and then; returns once there is one."""
        while not self.pool or time.monotonic() - self._looked > _LOOK_EVERY:
            self._looked = time.monotonic()
            self.look()
            if not self.pool:
                time.sleep(1.0)

    def look(self) -> None:
        """Takes in shards that have appeared."""
        known = {number for number, _ in self.pool}
        for path in sorted(self.shards.glob("[0-9]*[0-9].npz")):
            if int(path.stem) not in known:
                with np.load(path) as file:
                    self.pool.append((int(path.stem), {k: file[k] for k in file.files}))

    def batch(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, ...]:
        """Random examples: portraits, windows, frames, flows and how far expression moves each place."""
        self.wait()
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
        self.wait()
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
