"""Chooses among several samples of each reply the one whose text, voice and face agree best (`evaluation.consistency`)."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from empatheia_jax.conversation.reply_folder import Manifest
from empatheia_jax.errors import UserError
from evaluation.consistency import PROXIES
from evaluation.consistency_scores import consistency_scores
from evaluation.run import Evaluation


def best(scores: Mapping[str, Mapping[str, float]]) -> str:
    """The candidate with the best mean rank over the proxies that all candidates have; the first of equals.

    Args:
      scores: candidate → proxy → score.
    """
    names = list(scores)
    shared = [each for each in PROXIES if all(each in scores[name] for name in names)]
    ranks = np.zeros(len(names))
    for proxy in shared:
        values = np.array([scores[name][proxy] for name in names])
        ranks += np.array([np.sum(values > value) + (np.sum(values == value) - 1) / 2 for value in values])
    return names[int(ranks.argmin())]


def write(evaluation: Evaluation, candidates: Sequence[str], output: Path) -> dict[str, str]:
    """Copies the best candidate of each turn into `output`; turn → the row it came from.

    Raises:
      UserError: there are no scores (no recordings), or the folder is not empty.
    """
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty; choose another folder")
    scores, _ = consistency_scores(evaluation)
    if not scores:
        raise UserError("nothing can be re-ranked: the recordings (ground-truth) must have speech and film")
    chosen: dict[str, str] = {}
    for name in evaluation.questions:
        chosen[name] = best({row: scores[row][name] for row in candidates})
        system = evaluation.system(chosen[name])
        assert system is not None
        reply = system.replies[name]
        (output / name).mkdir(parents=True)
        for path, file in ((reply.speech, "reply.wav"), (reply.film, "reply.mp4"), (reply.features, "reply.npz")):
            if path is not None:
                shutil.copyfile(path, output / name / file)
        from empatheia_jax.files import write_json

        write_json(output / name / "reply.json", {**reply.values, "chosen_of": len(candidates)})
    first = evaluation.system(candidates[0])
    assert first is not None
    manifest: Manifest = dataclasses.replace(
        first.manifest,
        system=f"{first.name}, best of {len(candidates)}",
        ids=tuple(chosen),
        row=f"{first.row}-reranked",
        extra={
            **first.manifest.extra,
            "chosen_from": [str(s.folder) for s in evaluation.systems if s.row in candidates],
        },
    )
    manifest.write(output)
    return chosen
