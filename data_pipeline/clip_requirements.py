"""What a training of DreamTalk's networks needs: its clips, frozen weights, devices and disk; everything that is amiss, at once.

Headers and tracks are read; no recording is decoded and no network loaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipeline import talking_heads
from empatheia_jax import requirements
from empatheia_jax.dreamtalk import motion
from empatheia_jax.dreamtalk.settings import DenoiserTraining, RendererTraining, training_class
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import audio_info
from empatheia_jax.media.video import frames_for
from empatheia_jax.parallel.mesh import mesh_shape
from empatheia_jax.settings import substitute
from empatheia_jax.training import talking_head

Training = DenoiserTraining | RendererTraining
MOST = 20
"""Clips that are named; of more, the number is said."""
ROWS_PER_SECOND = 50
"""Rows of speech features in a second."""


def findings(config: Training, workdir: Path, devices: int) -> list[str]:
    """Everything that would stop the training, a line each."""
    place = requirements.unwritable(workdir, "--workdir")
    return place + talking_head.missing(config) + _clips(config, workdir) + _batch(config, devices)


def _batch(config: Training, devices: int) -> list[str]:
    try:
        data, fsdp, _ = mesh_shape(*config.mesh.sizes, devices)
    except UserError as error:
        return [f"mesh: {error}"]
    shards = data * fsdp
    if config.batch % shards:
        return [
            f"batch={config.batch}: does not divide over data×fsdp = {data}×{fsdp} devices; set "
            f"--config.batch={-(-config.batch // shards) * shards}"
        ]
    return []


def _clips(config: Training, workdir: Path) -> list[str]:
    films = isinstance(config, RendererTraining)
    try:
        found = talking_heads.find(Path(config.data), talking_heads.FILMS if films else talking_heads.SOUNDS)
        talking_heads.split(found, config.valid_every)
    except UserError as error:
        return [f"data={config.data}: {error}"]
    lines, frames = [], 0
    for name, track, media in found:
        try:
            frames += _frames(config, name, track, media)
        except UserError as error:
            lines.append(f"data={config.data}: {error}")
    if len(lines) > MOST:
        lines = [*lines[:MOST], f"data={config.data}: {len(lines) - MOST} more of {len(found)} clips cannot be used"]
    return lines + _disk(config, workdir, frames)


def _frames(config: Training, name: str, track: Path, media: Path) -> int:
    """Length of a clip. Raises `UserError` where the training would refuse it, as far as headers tell."""
    if isinstance(config, RendererTraining):
        moves = talking_heads.read_moves(track, config.network.coefficient_dim)
        seconds = talking_heads.film_seconds(media)
    else:
        moves = motion.read_expression(track, config.network.face3d_dim)
        known = audio_info(media).seconds
        seconds = len(moves) / motion.FRAMES_PER_SECOND if known is None else known
    return talking_heads.common_frames(name, moves, frames_for(seconds, motion.FRAMES_PER_SECOND))


def _disk(config: Training, workdir: Path, frames: int) -> list[str]:
    """What is kept of the clips in the run's folder: decoded frames, or speech features."""
    if isinstance(config, RendererTraining):
        size = frames * 3 * config.network.image_size**2
    else:
        rows = frames * ROWS_PER_SECOND // motion.FRAMES_PER_SECOND
        size = rows * config.network.audio_feature_dim * np.dtype(np.float32).itemsize
    existing = next((path for path in (workdir.absolute(), *workdir.absolute().parents) if path.is_dir()), None)
    free = shutil.disk_usage(existing).free if existing else size
    if size > free:
        return [
            f"--workdir={workdir}: the clips take {size / 1e9:.1f} GB there and {free / 1e9:.1f} GB are free; "
            "choose another folder"
        ]
    return []


def check(
    values: Mapping[str, Any] | ConfigDict, workdir: str | None, lines: Sequence[str], stand_ins: Mapping[str, Any]
) -> str:
    """What `data_pipeline.requirements.check` does, for these trainings.

    Raises:
      UserError: with `lines`, and a line for everything that is wrong or would be lacking.
    """
    config, wrong = substitute(training_class(values), values, stand_ins)
    lines, devices = [*lines, *(each.line for each in wrong)], jax.device_count()
    if config is not None:
        lines += findings(config, Path(workdir or f"runs/{config.name}"), devices)
    if lines or config is None:
        raise UserError.of(lines)
    return f"nothing is missing for {config.name} on {devices} device{'s'[: devices > 1]}"
