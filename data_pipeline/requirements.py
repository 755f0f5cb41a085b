"""What the stages of a schedule need of the data set and of the feature cache, and the whole list of what a run lacks."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipeline import clip_requirements, features
from data_pipeline.cache import folder_of
from data_pipeline.fingerprints import fingerprints
from data_pipeline.layout import Tree
from data_pipeline.loader import DEBUG, cache_folder
from empatheia_jax import requirements
from empatheia_jax.errors import UserError
from empatheia_jax.settings import Experiment, substitute


def missing(config: Experiment) -> list[str]:
    """A line for each split, kind of recording or feature that a stage of the schedule reads and that is not there."""
    if config.data.cache and not Path(config.data.cache).is_dir():
        return [f"data.cache={config.data.cache}: no such folder; fill it with the same command and --mode=extract"]
    if config.data.path == DEBUG or not Path(config.data.path).is_dir():
        return []
    tree, lines = Tree(config.data.path), []
    wanted = {"train"} | ({"valid"} if any(config[stage].eval_every for stage in config.schedule) else set())
    if lacking := sorted(wanted - set(tree.splits())):
        lines.append(f"data.path={config.data.path}: no {' and no '.join(f'{split}.json' for split in lacking)}")
    if requirements.missing(config, data=False):
        return lines  # which features fit is known by the networks that make them
    return lines + _features(config, tree)


def _features(config: Experiment, tree: Tree) -> list[str]:
    readers: dict[str, list[str]] = {}
    for stage in config.schedule:
        for what in (*config.data.modalities, *features.targets(config, stage)):
            readers.setdefault(what, []).append(stage)
    try:
        marks = fingerprints(config) if readers else {}
        lacking = {what: folder_of(cache_folder(config), what, marks[what]) for what in readers}
    except UserError as error:
        return [f"data.cache={cache_folder(config)}: {error}"]
    lacking = {what: folder for what, folder in lacking.items() if not any(folder.glob("part-*.json"))}
    if not lacking:
        return []
    asked = ", ".join(f"{what} (stages {', '.join(readers[what])})" for what in lacking)
    lines = [
        f"data.cache={cache_folder(config)}: there are no features {asked} of these networks; fill it with the same command and "
        "--mode=extract"
    ]
    if "video_style" in lacking and "motion" not in {kind for kind, _ in tree.media_folders()}:
        lines.append(
            f"data.path={tree.root}: there is no folder motion… with face coefficients, which video_style is made of; add "
            "motion_v5_0/ for the replies (python -m data_pipeline.fit_motion), or leave that loss out: "
            "--config.objective.without=sac"
        )
    return lines


def findings(config: Experiment, workdir: Path, devices: int) -> list[str]:
    """Everything that would stop a stage of the schedule, a line each. Nothing is loaded for it."""
    place = requirements.unwritable(workdir, "--workdir") or requirements.disk(config, workdir)
    return place + requirements.missing(config) + missing(config) + requirements.batches(config, devices)


def remarks(config: Experiment, devices: int) -> list[str]:
    """What does not stop a training: devices that do the same work, and what a reply (the sample at the end) would lack."""
    return requirements.idle_devices(config, devices) + requirements.faces(config) + requirements.packages(config)


def check(
    values: Mapping[str, Any] | ConfigDict, workdir: str | None, lines: Sequence[str], stand_ins: Mapping[str, Any]
) -> str:
    """`--mode=check`: what to say where a run of this config lacks nothing, here and now.

    Args:
      values: the config, which may be wrong.
      workdir: the run's folder; None = the one of its name.
      lines: what is known to be wrong already.
      stand_ins: values to take for those that are wrong, so that all else is looked at too.

    Raises:
      UserError: with `lines`, and a line for everything that is wrong or would be lacking.
    """
    if "trains" in values:
        return clip_requirements.check(values, workdir, lines, stand_ins)
    config, wrong = substitute(Experiment, values, stand_ins)
    lines, devices = [*lines, *(each.line for each in wrong)], jax.device_count()
    if config is not None:
        lines += findings(config, Path(workdir or f"runs/{config.name}"), devices) + remarks(config, devices)
    if lines or config is None:
        raise UserError.of(lines)
    counts = ", ".join(map(str, requirements.device_counts(config)))
    return (
        f"nothing is missing for {', '.join(config.schedule)} on {devices} device{'s'[: devices > 1]}\n"
        f"its batches divide over {counts} devices"
    )


def require(config: Experiment, workdir: Path) -> None:
    """Before a training: what would stop any of its stages is an error, and what only a reply would lack is noted.

    Raises:
      UserError: with every line of `findings`.
    """
    if lines := findings(config, workdir, jax.device_count()):
        raise UserError.of(lines)
    if jax.process_index() == 0:
        for line in remarks(config, jax.device_count()):
            print(f"note: {line}", file=sys.stderr)
