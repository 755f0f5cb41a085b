"""Trains one of DreamTalk's networks on a user's clips, on the loop, step and checkpoints of every other training.

`python launch.py --config=configs/dreamtalk_denoiser.py --config.data=FOLDER` (or `dreamtalk_renderer.py`). The run's folder then
holds checkpoints, metrics, a report and, at the end, a weights folder of the network (the moving average of its weights), which
`python -m empatheia_jax.dreamtalk.join` puts together with the other one.
"""

from __future__ import annotations

import dataclasses
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
from empatheia_jax.parallel import rules
from empatheia_jax.parallel.mesh import batch_part, make_mesh, replicated
from empatheia_jax.requirements import writable
from empatheia_jax.training import loop, optimizers
from empatheia_jax.training import step as steps
from empatheia_jax.training.trainer import Phase, run_phases

EDGES, VGG = "edges", "vgg19"  # what the renderer's pictures are compared by
NETWORKS = {"denoiser": Denoiser, "renderer": Renderer}
Training = DenoiserTraining | RendererTraining


class Pupil(nnx.Module):
    """The network that learns, and a frozen one that its loss may need."""

    def __init__(self, network: Any, critic: nnx.Module | None = None):
        self.network = network
        self.critic = critic


def speech_features(config: DenoiserTraining) -> tuple[SpeechFeatures, dict[str, Any]]:
    """The features that `config.speech` names, and what identifies them.

    Raises:
        UserError: there is no such weights folder, or its rows do not fit the network.
    """
    width = config.network.audio_feature_dim
    if config.speech == LOG_MEL:
        return SpeechFeatures(None, width), {"speech": LOG_MEL, "bands": width}
    folder, description = _speech_folder(config)
    network = weights.restore(folder, Wav2Vec2, Wav2Vec2Config)
    return SpeechFeatures(network, width), {"speech": description["kind"], "sha256": description["sha256"]}


def _speech_folder(config: DenoiserTraining) -> tuple[Path, dict[str, Any]]:
    """The weights folder of `config.speech` and what it says of itself. Raises `UserError` where it does not fit."""
    width, folder = config.network.audio_feature_dim, weights.find(config.speech)
    description = weights.describe(folder)
    values = weights.config_from_dict(Wav2Vec2Config, description["config"])
    if values.width != width:
        raise UserError(
            f"{folder} gives features of width {values.width}, the denoiser reads {width}; "
            f"set --config.network.audio_feature_dim={values.width} or choose another --config.speech"
        )
    return folder, description


def missing(config: Training) -> list[str]:
    """A line for the frozen network of a training where its weights folder is not there or does not fit; nothing is loaded."""
    try:
        if config.trains == "denoiser":
            if config.speech != LOG_MEL:
                _speech_folder(config)
        elif config.features != EDGES:
            weights.describe(weights.find(VGG))
    except UserError as error:
        return [f"speech={config.speech}: {error}" if config.trains == "denoiser" else f"features={VGG}: {error}"]
    return []


class FolderData:
    """The batches of a folder of clips (`data_pipeline.talking_heads.Folder`)."""

    def __init__(self, folder: Any):
        self._folder = folder

    def train(self) -> loop.Batches:
        """Endless batches of the clips to train on."""
        return self._folder.train

    def validation(self) -> Iterator[Any]:
        """The batches of the clips kept for validation."""
        return self._folder.validation()


def denoiser_phases(config: DenoiserTraining, **common: Any) -> list[Phase]:
    """One phase: everything, x0 loss. `common`: the fields that all phases of a run share."""
    optimizer = optimizers.OptimizerConfig(
        learning_rate=config.learning_rate,
        steps=config.steps,
        warmup_steps=config.warmup,
        decay="constant",
        b2=0.999,
    )
    objective = training.denoiser_objective(**dataclasses.asdict(config.objective))

    def loss(pupil: Pupil, batch, rng):
        return objective(pupil.network, batch, rng)

    moves = optimizers.build(optimizer)
    return [Phase("denoiser", ("network.*",), loss, moves, config.steps, seed=config.seed, **common)]


def renderer_phases(config: RendererTraining, **common: Any) -> list[Phase]:
    """Two phases: mapping and warping alone for `warp_steps`, then everything for the rest of `steps`.

    Adam's moments start anew in the second; its learning rate goes on where the first one's stopped. `common`: the fields that
    all phases of a run share.
    """

    def phase(name: str, trainable: tuple[str, ...], first: int, count: int, warp_only: bool, seed: int) -> Phase:
        decay = optax.exponential_decay(config.learning_rate, config.decay_every, config.decay, staircase=True)
        optimizer = optax.adam(lambda done: decay(done + first), config.beta1, config.beta2)

        def loss(pupil: Pupil, batch, rng):
            features = perceptual.edge_features if pupil.critic is None else pupil.critic
            return training.renderer_loss(pupil.network, batch, features, config.objective, warp_only=warp_only)

        return Phase(name, trainable, loss, optimizer, count, seed=seed, **common)

    moving, everything = ("network.mapping.*", "network.warping.*"), ("network.*",)
    rest = config.steps - config.warp_steps
    if not config.warp_steps:
        return [phase("renderer", everything, 0, rest, False, config.seed)]
    return [
        phase("warping", moving, 0, config.warp_steps, True, config.seed),
        phase("renderer", everything, config.warp_steps, rest, False, config.seed + 1),
    ]


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
    writable(workdir, "--workdir")
    values, constructor = config.network, NETWORKS[config.trains]
    critic = _critic(config)
    speech = speech_features(config) if config.trains == "denoiser" else None
    mesh = make_mesh(*config.mesh.sizes)
    data = open_folder(config, workdir, values, speech, batch_part(mesh))
    plain = settings.plain(config)
    unlike = {"data", "mesh", "name", "log_every", "save_every", "eval_every", "keep_checkpoints", "valid_batches"}
    unlike |= {"compiler_options"}
    identity = {key: value for key, value in plain.items() if key not in unlike}
    identity |= {"clips": list(data.names), **({} if speech is None else {"speech": speech[1]})}
    pupil = Pupil(constructor(values, rngs=nnx.Rngs(config.seed)), critic)
    common = {
        "data": FolderData(data),
        "fingerprint": identity,
        "coefficients": {"loss": 1.0},
        "clip": config.clip or None,
        "ema": config.ema,
        "save_every": config.save_every,
        "eval_every": config.eval_every if config.valid_every else 0,
    }
    if config.trains == "denoiser":
        phases = denoiser_phases(config, **common)
    else:
        phases = renderer_phases(config, **common)
    run_phases(
        phases,
        pupil,
        workdir,
        mesh,
        config=plain,
        log_every=config.log_every,
        keep_checkpoints=config.keep_checkpoints,
        compiler_options=steps.accepted_options(config.compiler_options),
    )
    # What is spread over processes comes together here: the first of them writes it.
    leaves = weights.flatten(pupil.network)
    trained = {path: np.asarray(rules.place(value, replicated(mesh))) for path, value in leaves.items()}
    if jax.process_index() != 0:
        return 0
    weights.save(
        workdir / config.trains,
        trained,
        values,
        f"dreamtalk-{config.trains}",
        {"trained_by": config.name, "steps": config.steps, "clips": len(data.names)},
        overwrite=True,
    )
    print(f"weights: {workdir / config.trains}")
    return 0
