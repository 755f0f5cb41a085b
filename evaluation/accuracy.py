"""Accuracy and macro-F1 of labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from empatheia_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """accuracy over samples, macro_f1 over the classes that occur, and how many samples there were."""

    accuracy: float
    macro_f1: float
    count: int


def _same_length(labels: np.ndarray, predictions: np.ndarray) -> None:
    if labels.shape != predictions.shape or labels.ndim != 1 or not labels.size:
        raise UserError(
            f"labels have the shape {labels.shape} and predictions {predictions.shape}; expected one prediction per label"
        )


def emotion_accuracy(labels: Sequence[int], predictions: Sequence[int]) -> Accuracy:
    """Accuracy over samples and macro-F1. A prediction of -1 (no label was written) is always wrong.

    Raises:
        UserError: the two lists have different lengths, or are empty.
    """
    truth, found = np.asarray(labels), np.asarray(predictions)
    _same_length(truth, found)
    scores = []
    for each in sorted({*truth.tolist(), *found.tolist()} - {-1}):
        hit = np.sum((truth == each) & (found == each))
        scores.append(2 * hit / max(1, np.sum(truth == each) + np.sum(found == each)))
    return Accuracy(float(np.mean(truth == found)), float(np.mean(scores)), len(truth))


def accuracy_of_batches(labels: Sequence[int], predictions: Sequence[int], batch: int) -> float:
    """Mean of per-batch accuracies, with a short last batch: what the text baselines print while they validate.

    It differs from the accuracy over samples wherever the last batch is shorter.
    """
    truth, found = np.asarray(labels), np.asarray(predictions)
    _same_length(truth, found)
    hits = truth == found
    return float(np.mean([hits[i : i + batch].mean() for i in range(0, len(hits), batch)]))
