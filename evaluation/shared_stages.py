"""Stages that several runs would train alike are trained once; the other runs take their checkpoints as hard links.

`coe` is trained once for all ablations that change only the bridge. Which settings a stage depends on is the trainer's own rule
(`runs.fit.fingerprint`). The trainer compares it again, with the weights' and features' hashes, when it opens the folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from empatheia_jax import settings
from empatheia_jax.runs import fit
from empatheia_jax.runs.checkpoint import belongs_to, completion
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import STAGES


def shareable(config: settings.Experiment, stage: str, donor: Run) -> bool:
    """Whether `donor` has trained `stage` as a run of `config` would.

    All settings that the stage depends on are equal, and so are the stages before it. Hashes of weights and features belong to
    the same base config; the trainer compares them.
    """
    folder = donor.stage_folder(stage)
    if completion(folder) is None:
        return False
    theirs = belongs_to(folder)["fingerprint"]
    ours = fit.fingerprint(config, stage, weights={}, features={}, after={})
    before = {f"after.{each}" for each in STAGES[: STAGES.index(stage)] if each in config.schedule}
    left = ("weights.", "features.", "after.")
    plain = {key: value for key, value in theirs.items() if not key.startswith(left)}
    return _same(plain, ours) and {key for key in theirs if key.startswith("after.")} == before


def _same(theirs: Mapping, ours: Mapping) -> bool:
    return json.loads(json.dumps(dict(theirs))) == json.loads(json.dumps(dict(ours)))


def share(config: settings.Experiment, run: Run, donors: Sequence[Run]) -> dict[str, Path]:
    """Links the first stages of the schedule that another run has trained alike into `run`; stage → the run it came from.

    It stops at the first stage that nobody has, since later ones depend on it.
    """
    taken: dict[str, Path] = {}
    for stage in (each for each in STAGES if each in config.schedule):
        folder = run.stage_folder(stage)
        if folder.exists():
            if completion(folder) is None:
                break
            continue
        # The stages before must be the donor's own, too: linked from it, or from the one that it was linked from.
        known = [each for each in donors if shareable(config, stage, each) and _agree(config, stage, run, each)]
        if not known:
            break
        hidden = folder.with_name(f".{stage}.linked")
        shutil.rmtree(hidden, ignore_errors=True)
        shutil.copytree(known[0].stage_folder(stage), hidden, copy_function=_link)
        hidden.rename(folder)
        taken[stage] = known[0].folder
    return taken


def _agree(config: settings.Experiment, stage: str, run: Run, donor: Run) -> bool:
    """Whether the stages before `stage` are the same in both runs."""
    for each in (e for e in STAGES[: STAGES.index(stage)] if e in config.schedule):
        folders = [r.stage_folder(each) for r in (run, donor)]
        if any(completion(folder) is None for folder in folders):
            return False
        first, second = (belongs_to(folder) for folder in folders)
        if first["fingerprint"] != second["fingerprint"]:
            return False
    return True


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
