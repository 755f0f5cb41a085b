"""Trains one of DreamTalk's networks on a user's clips, on the loop, step and checkpoints of every other training.

`python launch.py --config=configs/dreamtalk_denoiser.py --config.data=FOLDER` (or `dreamtalk_renderer.py`). The run's folder then
holds checkpoints, metrics, a report and, at the end, a weights folder of the network (the moving average of its weights), which
`python -m empatheia_jax.dreamtalk.join` puts together with the other one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from empatheia_jax import settings, weights
from empatheia_jax.dreamtalk import perceptual, training
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.renderer import Renderer
from empatheia_jax.dreamtalk.settings import DenoiserTraining, RendererTraining
from empatheia_jax.dreamtalk.speech import LOG_MEL, SpeechFeatures
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_json
from empatheia_jax.parallel.mesh import batch_part, make_mesh
from empatheia_jax.training import loop, optimizers, partition, report
from empatheia_jax.training import step as steps
from empatheia_jax.training.checkpoints import Checkpoints
from empatheia_jax.training.metrics import Metrics
from empatheia_jax.training.tables import format_table, parameter_table

EDGES, VGG = "edges", "vgg19"  # what the renderer's pictures are compared by
NETWORKS = {"denoiser": Denoiser, "renderer": Renderer}
Training = DenoiserTraining | RendererTraining


class Pupil(nnx.Module):
    """The network that learns, and a frozen one that its loss may need."""

    def __init__(self, network: nnx.Module, critic: nnx.Module | None = None):
        self.network = network
        self.critic = critic


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a training, with checkpoints and an optimizer of its own."""

    name: str
    trainable: tuple[str, ...]
    steps: int
    loss: Callable
    optimizer: optax.GradientTransformation


def speech_features(config: DenoiserTraining) -> tuple[SpeechFeatures, dict[str, Any]]:
    """The features that `config.speech` names, and what identifies them.

    Raises:
        UserError: there is no such weights folder, or its rows do not fit the network.
    """
    width = config.network.audio_feature_dim
    if config.speech == LOG_MEL:
        return SpeechFeatures(None, width), {"speech": LOG_MEL, "bands": width}
    folder = weights.find(config.speech)
    description = weights.describe(folder)
    values = weights.config_from_dict(Wav2Vec2Config, description["config"])
    if values.width != width:
        raise UserError(
            f"{folder} gives features of width {values.width}, the denoiser reads {width}; "
            f"set --config.network.audio_feature_dim={values.width} or choose another --config.speech"
        )
    network = weights.restore(folder, Wav2Vec2, Wav2Vec2Config)
    return SpeechFeatures(network, width), {"speech": description["kind"], "sha256": description["sha256"]}


def denoiser_phases(config: DenoiserTraining) -> list[Phase]:
    """One phase: everything, x0 loss."""
    optimizer = optimizers.OptimizerConfig(
        learning_rate=config.learning_rate,
        steps=config.steps,
        warmup_steps=config.warmup,
        decay="constant",
        b2=0.999,
    )
    objective = training.denoiser_objective(**dataclasses.asdict(config.objective))
    return [
        Phase(
            "denoiser",
            ("network.*",),
            config.steps,
            lambda pupil, batch, rng: objective(pupil.network, batch, rng),
            optimizers.build(optimizer),
        )
    ]


def renderer_phases(config: RendererTraining) -> list[Phase]:
    """Two phases: mapping and warping alone for `warp_steps`, then everything for the rest of `steps`.

    Adam's moments start anew in the second; its learning rate goes on where the first one's stopped.
    """

    def phase(name: str, trainable: tuple[str, ...], first: int, count: int, warp_only: bool) -> Phase:
        decay = optax.exponential_decay(config.learning_rate, config.decay_every, config.decay, staircase=True)
        optimizer = optax.adam(lambda done: decay(done + first), config.beta1, config.beta2)

        def loss(pupil: Pupil, batch, rng):
            features = perceptual.edge_features if pupil.critic is None else pupil.critic
            return training.renderer_loss(pupil.network, batch, features, config.objective, warp_only=warp_only)

        return Phase(name, trainable, count, loss, optimizer)

    moving = ("network.mapping.*", "network.warping.*")
    rest = config.steps - config.warp_steps
    both = [
        phase("warping", moving, 0, config.warp_steps, True),
        phase("renderer", ("network.*",), config.warp_steps, rest, False),
    ]
    return both if config.warp_steps else both[1:]


def _critic(config: Training) -> perceptual.Vgg19 | None:
    if config.trains == "denoiser" or config.features == EDGES:
        return None
    return weights.restore(weights.find(VGG), perceptual.Vgg19, perceptual.Vgg19Config, kind=perceptual.KIND)


def run(config: Training, workdir: Path, open_folder: Callable) -> int:
    """Trains what `config.trains` names, from the newest checkpoint of the run's folder if there is one.

    Args:
        config: the resolved config of `configs/dreamtalk_denoiser.py` or `configs/dreamtalk_renderer.py`.
        workdir: the run's folder.
        open_folder: `(config, workdir, network config, speech, part) → Folder` of `data_pipeline.talking_heads`.

    Raises:
        UserError: clips or weights are missing or do not fit; the folder belongs to another run; the loss is not finite.
    """
    values, constructor = config.network, NETWORKS[config.trains]
    phases = (denoiser_phases if config.trains == "denoiser" else renderer_phases)(config)
    critic = _critic(config)
    speech = speech_features(config) if config.trains == "denoiser" else None
    mesh = make_mesh(*config.mesh.sizes)
    data = open_folder(config, workdir, values, speech, batch_part(mesh))
    plain = settings.plain(config)
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(workdir / "config.json", plain)
    jax.config.update("jax_compilation_cache_dir", str((workdir / "compilation_cache").absolute()))

    unlike = {"data", "mesh", "name", "log_every", "save_every", "eval_every", "keep_checkpoints", "valid_batches"}
    unlike |= {"compiler_options"}
    identity = {key: value for key, value in plain.items() if key not in unlike}
    identity |= {"clips": list(data.names), **({} if speech is None else {"speech": speech[1]})}
    pupil = Pupil(constructor(values, rngs=nnx.Rngs(config.seed)), critic)
    metrics, rows, average = Metrics(workdir / "metrics"), [], {}
    for number, phase in enumerate(phases):
        began = time.time()
        result, average = _phase(config, phase, number, pupil, mesh, data, workdir, metrics, identity)
        rows.append(
            {
                "stage": phase.name,
                "steps": result.steps,
                "first_loss": result.first_loss,
                "last_loss": result.last_loss,
                "seconds": time.time() - began,
            }
        )
    metrics.close()
    if jax.process_index() != 0:
        return 0
    report.write(workdir / "report.html", name=config.name, config=plain, stages=rows, entries=metrics.read())
    nnx.update(pupil.network, weights.unflatten(weights.flatten(pupil.network) | average, nnx.state(pupil.network)))
    weights.save(
        workdir / config.trains,
        pupil.network,
        values,
        f"dreamtalk-{config.trains}",
        {"trained_by": config.name, "steps": config.steps, "clips": len(data.names)},
        overwrite=True,
    )
    table = [[r["stage"], str(r["steps"]), f"{r['first_loss']:.4f}", f"{r['last_loss']:.4f}"] for r in rows]
    print("\n" + format_table(("phase", "steps", "loss from", "to"), table, right=(1, 2, 3)))
    print(f"\nweights: {workdir / config.trains}\nreport: {workdir / 'report.html'}")
    return 0


def _phase(
    config: Training, phase: Phase, number: int, pupil: Pupil, mesh, data, workdir: Path, metrics: Metrics, identity
):
    """Trains a phase and leaves its weights in the pupil; returns the result and the moving average of the network."""
    cut = partition.split(pupil, phase.trainable)
    step = steps.build(
        cut,
        phase.loss,
        phase.optimizer,
        mesh,
        coefficients={"loss": 1.0},
        clip=config.clip or None,
        ema=config.ema,
        compiler_options=steps.accepted_options(config.compiler_options),
    )
    folder = workdir / "checkpoints" / phase.name
    with Checkpoints(folder, fingerprint=identity, keep=config.keep_checkpoints) as checkpoints:
        if checkpoints.complete is None:
            print(f"\n{phase.name}\n{parameter_table(cut, mesh=mesh)}")
        frozen = step.place_frozen(cut.frozen)

        def evaluate(state) -> dict[str, float]:
            totals: dict[str, np.ndarray] = {}
            for batch in data.validation():
                pairs = jax.device_get(step.evaluate(state, frozen, step.place_batch(batch)))
                for name, (total, weight) in pairs.items():
                    totals[name] = totals.get(name, np.zeros(2)) + [total, weight]
            return {name: float(total / max(weight, 1e-12)) for name, (total, weight) in totals.items()}

        result = loop.run(
            phase.name,
            step,
            step.init(cut.trainable, config.seed + number),
            frozen,
            data.train if checkpoints.complete is None else _nothing(),
            checkpoints,
            metrics,
            phase.steps,
            log_every=config.log_every,
            save_every=config.save_every,
            eval_fn=evaluate if config.valid_every and config.eval_every else None,
            eval_every=config.eval_every,
        )
    average = result.state.ema or result.state.trainable
    state = weights.flatten(pupil) | dict(result.state.trainable)
    nnx.update(pupil, weights.unflatten(state, nnx.state(pupil)))
    return result, {path.removeprefix("network."): value for path, value in average.items()}


def _nothing() -> Iterator[Any]:
    return iter(())
