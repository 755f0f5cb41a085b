"""The settings of the trainings of DreamTalk's networks: `configs/dreamtalk_*.py` and `configs/drawn_face.py`, typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.training import RendererWeights
from empatheia_jax.errors import UserError
from empatheia_jax.settings import Block, HasDict, MeshShape, finding
from empatheia_jax.settings.rules import (
    SEED,
    Count,
    Momentum,
    NotNegative,
    Number,
    Options,
    Positive,
    Share,
    Text,
    Whole,
)

Batch = Annotated[int, Whole(1, 65_536, why="examples of one step")]
Steps = Annotated[int, Whole(100, why="the first 50 are the warm-up")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Training(Block):
    """What both trainings have in common."""

    name: Annotated[str, Text(folder=True)]
    seed: Annotated[int, SEED]
    mesh: MeshShape
    data: Annotated[str, Text(path=True)]
    batch: Batch
    steps: Count
    learning_rate: Positive
    clip: NotNegative
    ema: Momentum
    log_every: Count
    save_every: Count
    eval_every: Annotated[int, Whole(0, why="0 = never")]
    valid_every: Annotated[int, Whole(0, why="0 = no clip is kept for validation")]
    valid_batches: Count
    keep_checkpoints: Count
    compiler_options: Annotated[Mapping[str, str | bool | int], Options()]


@dataclasses.dataclass(frozen=True)
class DenoiserLoss(Block):
    """Options of `dreamtalk.training.denoiser_loss`."""

    null_probability: Share
    velocity_weight: NotNegative


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoiserTraining(_Training):
    """`configs/dreamtalk_denoiser.py`."""

    trains: Literal["denoiser"]
    network: DenoiserConfig
    objective: DenoiserLoss
    speech: Annotated[str, Text(path=True)]
    frames: Annotated[int, Whole(1, 30_000)]
    warmup: Annotated[int, Whole(0, none="1,000 steps, but at most a tenth of all")]

    @classmethod
    def derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        few = max(1, min(1000, values["steps"] // 10))
        return values | {"warmup": few} if values["warmup"] is None else values

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.warmup > self.steps:
            yield "warmup", f"at most steps={self.steps}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RendererTraining(_Training):
    """`configs/dreamtalk_renderer.py`."""

    trains: Literal["renderer"]
    network: RendererConfig
    objective: RendererWeights
    features: Literal["vgg19", "edges"]
    warp_steps: Annotated[int, Whole(0, none="a third of the steps")]
    beta1: Momentum
    beta2: Momentum
    decay_every: Annotated[int, Whole(1, none="half of the steps")]
    decay: Annotated[float, Number(above=0, at_most=1)]

    @classmethod
    def derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        shares = {"warp_steps": values["steps"] // 3, "decay_every": max(1, values["steps"] // 2)}
        return values | {key: value for key, value in shares.items() if values[key] is None}

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.warp_steps >= self.steps:
            yield "warp_steps", f"fewer than steps={self.steps}"


TRAININGS: Mapping[str, type[DenoiserTraining] | type[RendererTraining]] = {
    "denoiser": DenoiserTraining,
    "renderer": RendererTraining,
}
"""By the value of `config.trains`."""


def training_class(config: Mapping[str, Any] | HasDict) -> type[DenoiserTraining] | type[RendererTraining]:
    """What a config with `trains` is read into. Raises `UserError` where it names no network."""
    values = config.to_dict() if isinstance(config, HasDict) else config
    if values["trains"] not in TRAININGS:
        raise UserError(finding("trains", values["trains"], " or ".join(TRAININGS)))
    return TRAININGS[values["trains"]]


@dataclasses.dataclass(frozen=True)
class DrawnFace(Block):
    """`configs/drawn_face.py`."""

    seed: Annotated[int, SEED]
    average: Momentum
    renderer: RendererConfig
    flow_steps: Steps
    flow_batch: Batch
    flow_rate: Positive
    renderer_steps: Steps
    trust: Share
    renderer_batch: Batch
    renderer_rate: Positive
    shards: Annotated[int, Whole(1, 1000)]
    people_per_shard: Annotated[int, Whole(1, 1000)]
    frames_per_person: Annotated[int, Whole(1, 1000)]
    denoiser: DenoiserConfig
    denoiser_steps: Steps
    denoiser_batch: Batch
    denoiser_frames: Annotated[int, Whole(1, 30_000)]
    denoiser_rate: Positive
    denoiser_clips: Annotated[int, Whole(1, 1_000_000)]
    null_style: Share
