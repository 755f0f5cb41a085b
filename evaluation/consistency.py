"""Do text, voice and face of a reply agree? Automatic stand-ins for the scales SCA … MSC of Table 5.

Probes read the shown expression, the gender and the age from the voice (pitch, its range, loudness, pace) and from the face (a
small mean picture and how it moves). They are logistic regressions that learn from the recordings of other dialogues than the
one they read (folds by dialogue). Then, for one reply:

    SCA*  1 − word errors (at least 0): the speech says the words
    VCA*  the lips' score (`learned_lips`): the lips move with the speech as those of recordings do
    SSA*  mean over the three tasks of the probability that the voice's probe gives to what the reply asks for
    VSA*  the same of the face
    MCC*  SCA* · VCA* / 100: speech and lips both say the words
    MSC*  mean over the three tasks of the Bhattacharyya coefficient of the voice's and the face's distributions: one person,
    one emotion

A proxy is worth what it sees. So each is validated on the recordings: how often a true pair scores higher than a pair whose
other half comes from another dialogue. One half means that it sees nothing; the table says so beside the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TASKS = ("expression", "gender", "age")
VOICE = ("f0", "f0_range", "level", "level_range", "voiced", "words_per_second")
PROXIES = ("SCA", "VCA", "SSA", "VSA", "MCC", "MSC")
FOLDS = 5

Distributions = Mapping[str, Mapping[str, float]]
"""Task → label → probability."""


@dataclass(frozen=True)
class Observed:
    """What is measured on one reply: features of voice and face, or None where it lacks them."""

    voice: Sequence[float] | None
    face: Sequence[float] | None


def voice_features(values: Mapping[str, object]) -> list[float] | None:
    """The probe's view of a voice out of a reply's numbers; None where it was not measured. A voiceless reply has a pitch of
    0.
    """
    if values.get("seconds") is None:
        return None
    return [float(found) if isinstance(found := values.get(name), int | float) else 0.0 for name in VOICE]


class Probe:
    """One task read from one modality."""

    def __init__(self, features: np.ndarray, labels: Sequence[str]):
        self._only = labels[0] if len(set(labels)) == 1 else None
        if self._only is None:
            self._model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500))
            self._model.fit(features, list(labels))

    def __call__(self, features: Sequence[float]) -> dict[str, float]:
        if self._only is not None:
            return {self._only: 1.0}
        found = self._model.predict_proba(np.asarray([features], float))[0]
        return dict(zip(self._model[-1].classes_.tolist(), found.tolist()))


class Probes:
    """All probes of one fold."""

    def __init__(self, observed: Mapping[str, Observed], labels: Mapping[str, Mapping[str, str]]):
        self._probes: dict[tuple[str, str], Probe] = {}
        for modality in ("voice", "face"):
            for task in TASKS:
                names = [
                    n for n in observed if getattr(observed[n], modality) is not None and task in labels.get(n, {})
                ]
                if names:
                    features = np.asarray([getattr(observed[n], modality) for n in names], float)
                    self._probes[modality, task] = Probe(features, [labels[n][task] for n in names])

    def read(self, modality: str, features: Sequence[float] | None) -> Distributions:
        """Task → distribution, of the tasks that this modality has a probe for."""
        if features is None:
            return {}
        return {task: self._probes[modality, task](features) for task in TASKS if (modality, task) in self._probes}


def folds(dialogues: Sequence[str], count: int = FOLDS) -> dict[str, int]:
    """Dialogue → fold, the same whatever else is evaluated: by its place in the sorted list."""
    return {name: place % count for place, name in enumerate(sorted(set(dialogues)))}


def bhattacharyya(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Σ √(p q): 1 for equal distributions, 0 for those that share no label."""
    return float(sum(np.sqrt(p * second.get(label, 0.0)) for label, p in first.items()))


def style(found: Distributions, wanted: Mapping[str, str]) -> float | None:
    """Mean probability of what is wanted, over the tasks that are both read and wanted."""
    scores = [found[task].get(wanted[task], 0.0) for task in found if task in wanted]
    return float(np.mean(scores)) if scores else None


def agreement(voice: Distributions, face: Distributions) -> float | None:
    """Mean Bhattacharyya coefficient over the tasks that both read."""
    scores = [bhattacharyya(voice[task], face[task]) for task in voice if task in face]
    return float(np.mean(scores)) if scores else None


def proxies(
    probes: Probes,
    voice: Sequence[float] | None,
    face: Sequence[float] | None,
    wanted: Mapping[str, str],
    word_error_rate: float | None,
    lips: float | None,
) -> dict[str, float]:
    """The proxies of one reply that its measurements allow."""
    read = probes.read("voice", voice), probes.read("face", face)
    said = None if word_error_rate is None else max(0.0, 1.0 - word_error_rate)
    found = {
        "SCA": said,
        "VCA": lips,
        "SSA": style(read[0], wanted),
        "VSA": style(read[1], wanted),
        "MCC": None if said is None or lips is None else said * lips / 100,
        "MSC": agreement(*read),
    }
    return {name: value for name, value in found.items() if value is not None}


def partner(names: Sequence[str], dialogues: Mapping[str, str]) -> dict[str, str]:
    """For each reply one of another dialogue: the first such behind it, around the circle."""
    found: dict[str, str] = {}
    for place, name in enumerate(names):
        others = (names[(place + step) % len(names)] for step in range(1, len(names)))
        other = next((each for each in others if dialogues[each] != dialogues[name]), None)
        if other is not None:
            found[name] = other
    return found
