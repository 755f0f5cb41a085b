"""What the stages of a schedule need of the data set and of the feature cache, and the whole list of what a run lacks."""

from __future__ import annotations

import collections
import copy
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipeline import clip_requirements, features
from data_pipeline.batches import require_features
from data_pipeline.cache import folder_of, state_of
from data_pipeline.examples import Example
from data_pipeline.fingerprints import STORE, fingerprints
from data_pipeline.layout import Tree
from data_pipeline.loader import DEBUG, cache_folder, load_examples, require_some, settings_of
from data_pipeline.quarantine import Quarantine
from empatheia_jax import requirements
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.settings import Experiment, substitute
from empatheia_jax.tokens import SLOTS
from empatheia_jax.training import preflight, schedule

FRAMES, PHONEMES = 142, 60
"""Frames and phonemes of a mean utterance of AvaMERG, which lasts 5.7 seconds."""


def missing(config: Experiment) -> list[str]:
    """A line for each split, kind of recording or feature that a stage of the schedule reads and that is not there."""
    if config.data.cache and not Path(config.data.cache).is_dir():
        line = f"data.cache={config.data.cache}: no such folder; fill it with the same command and --mode=extract"
        return [line, *no_room(config)]
    if not _has_data(config):
        return []
    tree, lines = Tree(config.data.path), []
    wanted = {"train"} | ({"valid"} if any(config[stage].eval_every for stage in config.schedule) else set())
    if lacking := sorted(wanted - set(tree.splits())):
        lines.append(f"data.path={config.data.path}: no {' and no '.join(f'{split}.json' for split in lacking)}")
    if requirements.missing(config, data=False):
        return lines  # which features fit is known by the networks that make them
    return lines + _features(config, tree) + no_room(config)


def _has_data(config: Experiment) -> bool:
    return config.data.path != DEBUG and Path(config.data.path).is_dir()


def _states(config: Experiment) -> dict[str, str]:
    """Feature or target of the schedule → `cache.state_of` its records. Raises `UserError` where a phonemizer must be named."""
    wanted = features.needed(config)
    marks = fingerprints(config) if wanted else {}
    return {what: state_of(folder_of(cache_folder(config), what, marks[what])) for what in wanted}


def _features(config: Experiment, tree: Tree) -> list[str]:
    readers: dict[str, list[str]] = {}
    for stage in config.schedule:
        for what in (*config.data.modalities, *features.targets(config, stage)):
            readers.setdefault(what, []).append(stage)
    key = f"data.cache={cache_folder(config)}"
    try:
        states = _states(config)
    except UserError as error:
        return [f"{key}: {error}"]

    def told(state: str) -> str:
        return ", ".join(f"{what} (stages {', '.join(readers[what])})" for what in readers if states[what] == state)

    lines = []
    if empty := told("empty"):
        lines.append(
            f"{key}: there are no features {empty} of these networks; fill it with the same command and --mode=extract"
        )
    if unfinished := told("unfinished"):
        lines.append(
            f"{key}: the extraction of {unfinished} goes on, or was stopped before its end; the same command and --mode=extract "
            "goes on with it"
        )
    motion = "motion" in {kind for kind, _ in tree.media_folders()}
    if states.get("video_style", "filled") != "filled" and not motion:
        lines.append(
            f"data.path={tree.root}: there is no folder motion… with face coefficients, which video_style is made of; add "
            "motion_v5_0/ for the replies (python -m data_pipeline.fit_motion), or leave that loss out: "
            "--config.objective.without=sac"
        )
    return lines


def unusable(config: Experiment) -> list[str]:
    """A line for each stage and split where more examples lack features than `data.quarantine_limit` allows, or where there is
    no example at all.

    The data set is read for it, and no recording: which features there are says the cache. Call it where `missing` finds nothing.
    """
    wanted = features.needed(config)
    if not _has_data(config):
        return []
    lines: list[str] = []
    try:
        marks = fingerprints(config) if wanted else {}
        store = features.CachedFeatures(cache_folder(config), {what: marks[what] for what in wanted})
        for split in ("train", "valid"):
            stages = [stage for stage in config.schedule if split == "train" or config[stage].eval_every]
            if not stages:
                continue
            dialogues = Quarantine(config.data.quarantine_limit)
            examples, tree = load_examples(config, split, dialogues)
            if not examples:
                dialogues.enforce()
                require_some(examples, tree, split)
            lines += [
                line for stage in stages for line in _unusable(config, stage, split, examples, tree, store, dialogues)
            ]
    except UserError as error:
        return [f"data.path={config.data.path}: {error}"]
    return lines


def _unusable(
    config: Experiment,
    stage: str,
    split: str,
    examples: Sequence[Example],
    tree: Tree | None,
    store: features.Features,
    dialogues: Quarantine,
) -> list[str]:
    settings = settings_of(config, stage, split == "train")
    found = copy.deepcopy(dialogues)  # a stage counts what cannot be read with what lacks features
    for example in examples:
        found.saw()
        try:
            require_features(example, tree, store, settings.policy, settings.targets)
        except UserError as error:
            found.add(example.id, "unusable", error)
    try:
        found.enforce()
    except UserError as error:
        return [
            f"data.cache={cache_folder(config)}: stage {stage} cannot use the split {split}: {error}; the same command and "
            "--mode=extract fills it"
        ]
    return []


def no_room(config: Experiment) -> list[str]:
    """A line where the features of the schedule that are not there yet will not fit on the disk of the cache, by an estimate."""
    if not _has_data(config) or requirements.missing(config, data=False):
        return []
    try:
        wanted = [what for what, state in _states(config).items() if state == "empty"]
    except UserError:
        return []
    key = f"data.cache={cache_folder(config)}: the features"
    need = feature_bytes(config, wanted, Tree(config.data.path))
    return requirements.room(need, cache_folder(config), key, "or choose another --config.data.cache")


def feature_bytes(config: Experiment, wanted: Sequence[str], tree: Tree) -> int:
    """About how large these features of a data set are: its files are counted, and taken to be as long as AvaMERG's are."""
    from empatheia_jax import assemble

    widths = assemble.widths(config)
    numbers = {
        "speech": SLOTS * widths.speech,
        "video": SLOTS * widths.video,
        "speech_content": PHONEMES * widths.speech_content,
        "video_content": FRAMES * widths.video_window * widths.video_content,
        "speech_style": widths.speech_style,
        "video_style": widths.video_style,
    }
    files = collections.Counter[str]()
    for kind, folder in tree.media_folders():
        files[kind] += sum(1 for _ in os.scandir(folder))
    replies = max(files.values(), default=0) // 2  # speaker and listener take turns
    clips = {
        what: 2 * replies if what in features.ENCODED and config.data.listener_media else replies for what in wanted
    }
    return sum(clips[what] * numbers[what] * np.dtype(STORE.get(what, "float32")).itemsize for what in wanted)


def findings(config: Experiment, workdir: Path, devices: int) -> list[str]:
    """Everything that would stop a stage of the schedule, a line each. Nothing is loaded for it."""
    place = requirements.unwritable(workdir, "--workdir") or requirements.disk(config, workdir)
    return place + requirements.missing(config) + missing(config) + requirements.batches(config, devices)


def unbuildable(config: Experiment) -> list[str]:
    """A line for each stage of the schedule whose network or step cannot be built; no weight is loaded. Call it where `findings`
    finds nothing.
    """
    try:
        model, widths = preflight.abstract_model(config)
        phases = [schedule.phase(config, stage) for stage in config.schedule]
        schedule.rehearse(config, phases, model, widths, make_mesh(*config.mesh.sizes))
    except UserError as error:
        return [line.strip() for line in str(error).splitlines()]
    return []


def remarks(config: Experiment, devices: int) -> list[str]:
    """What does not stop a training: devices that do the same work, and what a reply (the sample at the end) would lack."""
    looks = requirements.faces(config) + requirements.style_clip(config) + requirements.voices(config)
    return requirements.idle_devices(config, devices) + looks + requirements.packages(config)


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
        lines = lines or unusable(config) or unbuildable(config)
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
    if jax.process_index() == 0:  # the others wait for it
        if lines := unusable(config):
            raise UserError.of(lines)
        for line in remarks(config, jax.device_count()):
            print(f"note: {line}", file=sys.stderr)
