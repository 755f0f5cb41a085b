"""The networks that measures ask, opened when one is asked for first; one that is not there is named with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.media import face_landmarks, tflite
from evaluation import distill_mos, films, landmarks, learned_lips, lip_sync, syncnet
from evaluation.face_judges import PersonReader
from evaluation.frames import nearest_in_time
from evaluation.speech_judges import Absent, Opinion, VoicePrint, Whisper


class _SyncNet:
    def __init__(self) -> None:
        try:
            folder = weights.find("syncnet")
        except UserError as error:
            raise Absent(f"SyncNet's weights are missing ({error})") from None
        self.identity = "syncnet " + str(weights.describe(folder)["sha256"])[:16]
        network = weights.restore(folder, syncnet.SyncNet, syncnet.SyncNetConfig, kind=syncnet.KIND)
        self._judge = lip_sync.Judge(network)

    def __call__(self, frames: np.ndarray, samples: np.ndarray) -> lip_sync.Sync:
        return self._judge(frames, samples)


class _DistillMos:
    def __init__(self) -> None:
        try:
            folder = weights.find(distill_mos.KIND)
        except UserError:
            raise Absent(
                "Distill-MOS's weights are missing; run: pip install --no-deps distillmos && "
                "python -m converters.convert --source=distillmos --output=weights/distillmos"
            ) from None
        self.identity = "Distill-MOS " + str(weights.describe(folder)["sha256"])[:16]
        self._judge = distill_mos.Judge(
            weights.restore(folder, distill_mos.DistillMos, distill_mos.DistillMosConfig, kind=distill_mos.KIND)
        )

    def __call__(self, wave: np.ndarray) -> float:
        return self._judge(wave)


class _Face:
    """Reads the emotion of a drawn face: the judge that has seen true drawings only."""

    def __init__(self, folder: Path | None):
        from empatheia_jax.runs.run import Run

        if folder is None or Run(folder).completion("judge") is None:
            raise Absent(
                "no judge of drawn faces; train one with `python -m benchmarks.listener_expression --folder=FOLDER` and give it "
                "with --face-judge=FOLDER (it reads the faces that we draw, no photographs)"
            )
        from empatheia_jax.training.drawn_face import judge as judges

        config = Run(folder).config()
        self._reader = judges.Reader(judges.train(folder, config["steps"], config["people"], config["seed"]))
        self.identity = f"drawn-face judge, {config['steps']} steps, {config['people']} people"

    def __call__(self, frames: np.ndarray) -> str:
        small = np.stack([films.centre_square(each, 128) for each in frames])
        if len(small) < 8:
            small = nearest_in_time(small, 8)
        return self._reader.read(small)


class _Landmarks:
    """Finds the points of the face in every frame."""

    identity = "MediaPipe's face mesh, 468 points, as of mediapipe 0.10"

    def __init__(self) -> None:
        if not face_landmarks.is_installed():
            raise Absent(f"nothing that finds a face's points is installed; run: {tflite.INSTALL}")

    def __call__(self, frames: np.ndarray) -> landmarks.Points:
        return landmarks.track(frames)


@dataclass
class Judges:
    """Judges by name, opened when asked for first.

    face_folder: of the judge of drawn faces. chosen: which to ask, all by default. recordings: the data set whose training split
    shows how lips move. cache: where what was learned is kept. absent: name → why it is not there.
    """

    face_folder: Path | None = None
    chosen: Sequence[str] | None = None
    recordings: Path | None = None
    cache: Path | None = None
    opened: dict[str, Any] = dataclasses.field(default_factory=dict)
    absent: dict[str, str] = dataclasses.field(default_factory=dict)

    def get(self, name: str) -> Any | None:
        """The judge, or None where it is not there."""
        if name in self.absent:
            return None
        if self.chosen is not None and name not in self.chosen:
            self.absent[name] = "not asked for (--judges)"
            return None
        if name not in self.opened:
            makers: dict[str, Callable[[], Any]] = {
                "lips": lambda: learned_lips.of_recordings(self.recordings, self.cache),
                "syncnet": _SyncNet,
                "dnsmos": Opinion,
                "distillmos": _DistillMos,
                "whisper": Whisper,
                "voice print": VoicePrint,
                "face": lambda: _Face(self.face_folder),
                "landmarks": _Landmarks,
                "person": PersonReader,
            }
            try:
                self.opened[name] = makers[name]()
            except Absent as error:
                self.absent[name] = str(error)
                return None
        return self.opened[name]
