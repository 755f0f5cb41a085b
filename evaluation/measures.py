"""What is measured on the files of one reply, one measure at a time, each kept by the content of its files.

A measure gets a `Clip` (the reply's sound and film in their one form) and the clip of the recording, where there is one. It
returns numbers by column. Nothing here depends on what else is measured with it: neither batch nor device count changes a
value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import read_audio, to_pcm16
from empatheia_jax.media.video import video_info
from evaluation import films, landmarks, lip_loudness, sharpness, similarity, syncnet, voice
from evaluation.frames import nearest_in_time, to_gray
from evaluation.judges import Judges
from evaluation.speech_judges import RATE, word_errors, words
from evaluation.store import Store, content_hash, key_of
from evaluation.systems import Reply

Values = dict[str, Any]
PATHS = ("lips", "brows", "head")


class Clip:
    """The files of a reply, read when asked for."""

    def __init__(self, reply: Reply):
        self.reply = reply

    @cached_property
    def sound(self) -> Float[np.ndarray, " N"]:
        """The speech at 16 kHz. Raises `UserError` where it cannot be decoded."""
        return read_audio(_there(self.reply.speech), RATE)

    @cached_property
    def frames(self) -> UInt8[np.ndarray, "N 256 256 3"]:
        """The film in its one form (`films`). Raises `UserError` where it cannot be decoded."""
        return films.standard(_there(self.reply.film))

    @cached_property
    def film_sound(self) -> Float[np.ndarray, " N"]:
        """The sound that the film's lips shall fit (`films.sound`)."""
        return films.sound(_there(self.reply.film), _there(self.reply.speech), RATE)

    def points(self, judge: Callable[[np.ndarray], landmarks.Points]) -> landmarks.Points | None:
        """The points of the film's face in every frame, or None where no face is seen in it."""
        if not hasattr(self, "_points"):
            frames = self.frames
            try:
                self._points: landmarks.Points | None = judge(frames)
            except UserError:
                self._points = None
        return self._points


def _there(path: Path | None) -> Path:
    if path is None:
        raise ValueError("the reply has no such file")
    return path


@dataclass(frozen=True)
class Measure:
    """One measure.

    columns: the numbers it gives. needs: "speech", "film", and the same of the recording with "reference" before it. version:
    to be raised when its values change. judge: name of a judge in `Judges` that it asks.
    """

    name: str
    columns: tuple[str, ...]
    needs: tuple[str, ...]
    function: Callable[[Clip, Clip | None, Any], Values]
    version: int = 1
    judge: str | None = None
    reads_text: bool = False


# ---------------------------------------------------------------- the measures


def _sharpness(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    return {"cpbd": sharpness.cpbd_of_film(clip.frames)}


def _similarity(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    assert reference is not None
    theirs = reference.frames
    ours = nearest_in_time(clip.frames, len(theirs))
    return {
        "ssim": float(similarity.ssim(ours, theirs, "gauss11").mean()),
        "ssim_uniform7": float(similarity.ssim(ours, theirs, "uniform7").mean()),
    }


def _lips(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    found = judge(clip.frames, clip.film_sound)
    return {"lips_score": found.score, "lips_offset": found.offset}


def _loudness(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    loud = lip_loudness.loudness(clip.film_sound, RATE, len(clip.frames))
    found = lip_loudness.score(lip_loudness.mouth(clip.frames), loud)
    return {"loudness_confidence": found.confidence, "loudness_offset": found.offset}


def _syncnet(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    pictures = np.stack([films.centre_square(each, syncnet.SIZE) for each in clip.frames])[..., ::-1]
    found = judge(np.ascontiguousarray(pictures), to_pcm16(clip.film_sound))
    return {"sync_confidence": found.confidence, "sync_offset": found.offset, "sync_distance": found.distance}


def _voice(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    found = voice.describe(clip.sound, RATE)
    values: Values = {each.name: getattr(found, each.name) for each in dataclasses.fields(found)}
    values["words_per_second"] = len(clip.reply.response.split()) / found.seconds
    return {name: None if value != value else value for name, value in values.items()}


def _appearance(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    """What the probes of `consistency` see of a face: a mean picture of 12 × 12, and how much each sixth of it moves."""
    gray = to_gray(clip.frames).astype(np.float32)
    edge = films.SIZE // 12
    small = gray[:, : 12 * edge, : 12 * edge].reshape(len(gray), 12, edge, 12, edge).mean((2, 4))
    moves = small.std(0).reshape(6, 2, 6, 2).mean((1, 3))
    return {"appearance": [round(float(each), 3) for each in np.concatenate([small.mean(0).ravel(), moves.ravel()])]}


def _length(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    frames, seconds = video_info(_there(clip.reply.film)).seconds, len(clip.sound) / RATE
    return {"film_minus_speech": frames - seconds}


def _opinion(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    return {"dnsmos": judge(clip.sound)}


def _distilled(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    return {"distillmos": judge(clip.sound)}


def _words(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    said, heard = words(clip.reply.response), words(judge(clip.sound))
    return {"word_errors": word_errors(heard, said), "words_said": len(said), "heard": " ".join(heard)}


def _voice_print(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    assert reference is not None
    return {"voice_similarity": float(judge(clip.sound) @ judge(reference.sound))}


def _movement(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    points = clip.points(judge)
    if points is None:
        return {"face_seen": False}
    found = dataclasses.asdict(landmarks.movement(points, clip.film_sound, RATE))
    return {"face_seen": True, **{f"{name}_path" if name in PATHS else name: each for name, each in found.items()}}


def _distances(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    assert reference is not None
    ours, theirs = clip.points(judge), reference.points(judge)
    if ours is None or theirs is None:
        return {}
    return dict(zip(("flmd", "mlmd"), landmarks.distances(ours, theirs)))


def _person(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    found = judge(clip.frames)
    if found is None:
        return {}
    numbers = [round(float(each), 5) for each in found.descriptor]
    return {"face_age": found.age, "face_gender": found.gender, "face_descriptor": numbers}


def _face(clip: Clip, reference: Clip | None, judge: Any) -> Values:
    return {"face_emotion": judge(clip.frames)}


MEASURES = (
    Measure("sharpness", ("cpbd",), ("film",), _sharpness),
    Measure("similarity", ("ssim", "ssim_uniform7"), ("film", "reference film"), _similarity),
    Measure("lips", ("lips_score", "lips_offset"), ("film", "speech"), _lips, version=2, judge="lips"),
    Measure("lips with loudness", ("loudness_confidence", "loudness_offset"), ("film", "speech"), _loudness),
    Measure("appearance", ("appearance",), ("film",), _appearance),
    Measure("lengths", ("film_minus_speech",), ("film", "speech"), _length),
    Measure(
        "voice",
        ("f0", "f0_range", "level", "level_range", "voiced", "seconds", "words_per_second"),
        ("speech",),
        _voice,
        reads_text=True,
    ),
    Measure(
        "syncnet", ("sync_confidence", "sync_offset", "sync_distance"), ("film", "speech"), _syncnet, judge="syncnet"
    ),
    Measure("opinion", ("dnsmos",), ("speech",), _opinion, judge="dnsmos"),
    Measure("distilled opinion", ("distillmos",), ("speech",), _distilled, judge="distillmos"),
    Measure("words", ("word_errors", "words_said", "heard"), ("speech",), _words, judge="whisper", reads_text=True),
    Measure("voice print", ("voice_similarity",), ("speech", "reference speech"), _voice_print, judge="voice print"),
    Measure("face", ("face_emotion",), ("film",), _face, judge="face"),
    Measure(
        "movement",
        ("face_seen", "lips_path", "brows_path", "head_path", "silent_lips", "opening_confidence"),
        ("film", "speech"),
        _movement,
        judge="landmarks",
    ),
    Measure("landmark distances", ("flmd", "mlmd"), ("film", "reference film"), _distances, judge="landmarks"),
    Measure("person", ("face_age", "face_gender", "face_descriptor"), ("film",), _person, judge="person"),
)


# ---------------------------------------------------------------- all of them on one reply


def measurable(measure: Measure, reply: Reply, reference: Reply | None) -> bool:
    """Whether the files that a measure needs are there."""
    have = {"speech": reply.speech, "film": reply.film}
    if reference is not None:
        have |= {"reference speech": reference.speech, "reference film": reference.film}
    return all(have.get(each) for each in measure.needs)


def key(measure: Measure, reply: Reply, reference: Reply | None, judge: Any) -> str:
    """What a value depends on: the measure, its judge, the one form of films, and the content of every file that it reads."""
    files = {"speech": reply.speech, "film": reply.film}
    if reference is not None:
        files |= {"reference speech": reference.speech, "reference film": reference.film}
    return key_of(
        measure=measure.name,
        version=measure.version,
        judge=getattr(judge, "identity", None),
        form=films.WORDS if any("film" in each for each in measure.needs) else None,
        files={name: content_hash(_there(files[name])) for name in measure.needs},
        text=reply.response if measure.reads_text else None,
    )


def measure_reply(reply: Reply, theirs: Clip | None, judges: Judges, store: Store) -> Values:
    """All numbers of one reply, measured or found in the store; `theirs` is the recording of the same turn.

    Raises:
      UserError: a file of the reply, or of its reference, cannot be decoded.
    """
    ours = Clip(reply) if theirs is None or theirs.reply is not reply else theirs
    reference = None if theirs is None else theirs.reply
    found: Values = {}
    for each in MEASURES:
        if not measurable(each, reply, reference):
            continue
        judge = None if each.judge is None else judges.get(each.judge)
        if each.judge is not None and judge is None:
            continue
        name = key(each, reply, reference, judge)
        values = store.get(name)
        if values is None:
            try:
                values = each.function(ours, theirs, judge)
            except UserError as error:
                raise UserError(f"{reply.id}: {each.name} cannot be measured: {error}") from None
            store.put(name, values)
        found |= values
    return found


def lips_with(film: Reply, speech: Reply, judges: Judges, store: Store) -> float | None:
    """The lips' score of one reply's film with the speech of another: how shuffled pairs are scored. None: too short, or
    nothing that scores lips is there.
    """
    judge = judges.get("lips")
    if judge is None:
        return None
    name = key_of(
        measure="lips with another speech",
        version=2,
        judge=judge.identity,
        form=films.WORDS,
        film=content_hash(_there(film.film)),
        speech=content_hash(_there(speech.speech)),
    )
    values = store.get(name)
    if values is None:
        try:
            values = {"score": judge(Clip(film).frames, Clip(speech).sound).score}
        except UserError:
            values = {"score": None}
        store.put(name, values)
    return values["score"]


def collect(values: Mapping[str, Values], column: str) -> dict[str, float]:
    """One column by id, without the replies that lack it."""
    return {name: each[column] for name, each in values.items() if each.get(column) is not None}
