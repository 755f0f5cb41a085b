"""Face coefficients from films, for those without Deep3DFaceRecon: `motion_v5_0/` of AvaMERG, or tracks beside your own clips.

    python -m data_pipeline.fit_motion learn CLIPS --output=weights/face-fitter.safetensors
    python -m data_pipeline.fit_motion fit data/avamerg --fitter=weights/face-fitter.safetensors

`learn` reads films that have a track beside them (`anna_happy.mp4`, `anna_happy.mat`), learns how the points of a face become its
coefficients, and says how well it does on films that it has not seen. DreamTalk's public repository comes with such clips, in
which eight emotions are shown by a few persons. `fit` writes a track for the film of every reply that has none, or for every film
of a folder that is no data set. It goes on where it was stopped. Several hosts may share the films (`--part=0/4`); a last call
without `--part` finishes the work.

Coefficients tell how a face differs from the person's own mean face, so `fit` must know who is in a film. In a data set that is
the number at the end of a name; in other folders it is the beginning of the path up to the first `_` or `/` (`--person`).
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_pipeline import talking_heads
from data_pipeline.examples import read_conversations
from data_pipeline.layout import Tree
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation.recordings import parse_name
from empatheia_jax.dreamtalk import fitter, motion
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import read_json_object, replacing, write_json
from empatheia_jax.media import face_landmarks
from empatheia_jax.media.video import read_frames

PERSON = r"[^_/]+"
"""What of a clip's path, from its beginning, names the person."""
FOLDER = "motion_v5_0"
NOTE = "fitted.json"
"""In the folder of tracks: the map that made them, and each person's mean."""
UNFINISHED = "unfinished-fit"
"""Beside the folder of tracks: films that are read, while others are not."""


@dataclasses.dataclass(frozen=True)
class Film:
    """A film and what is to be written for it. `person`: None where nobody says who it is."""

    name: str
    path: Path
    person: str | None
    track: Path


def points_of(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """A face's points in each frame at 25 frames per second, and the height and width of the film.

    Raises:
      UserError: the film cannot be read, or shows no face in too many frames.
    """
    tracker, sizes = face_landmarks.Tracker(), []

    def look(picture: np.ndarray) -> np.ndarray:
        sizes.append(picture.shape[:2])
        return tracker(picture)

    points = read_frames(path, fps=motion.FRAMES_PER_SECOND, max_seconds=talking_heads.LONGEST_FILM, reduce=look)
    return fitter.filled(points, str(path)), sizes[0]


def person_of(name: str, pattern: str) -> str:
    """Who is in a clip, by its path. Raises `UserError` where the pattern does not say."""
    found = re.match(pattern, name)
    if not found:
        raise UserError(f"--person={pattern} fits nothing at the beginning of {name}; expected what names the person")
    return found.group(1) if found.groups() else found.group()


def read_example(name: str, track: Path, film: Path, person: str) -> fitter.Example:
    """A film whose coefficients are known. Raises `UserError` where its two files do not fit."""
    expression, pose = motion.read_expression(track), motion.read_pose(track)
    points, size = points_of(film)
    if abs(len(points) - len(expression)) > talking_heads.APART:
        raise UserError(
            f"{film} has {len(points)} frames at {motion.FRAMES_PER_SECOND} per second and {track} has {len(expression)} rows; "
            f"expected as many, give or take {talking_heads.APART}"
        )
    frames = min(len(points), len(expression))
    return fitter.Example(name, person, points[:frames], size, expression[:frames], pose[:frames])


def learn(root: Path, output: Path, pattern: str = PERSON) -> fitter.Fitter:
    """Learns a map from the clips below a folder, writes it, and prints how well it finds what it has not seen."""
    face_landmarks.require()
    clips = talking_heads.find(root, talking_heads.FILMS)
    people = [person_of(name, pattern) for name, _, _ in clips]
    examples = [
        read_example(name, track, film, person)
        for (name, track, film), person in tqdm(list(zip(clips, people)), desc="films", unit="film", disable=None)
    ]
    made = fitter.learn(examples)
    made.save(output)
    persons = len(set(people))
    print(f"learned from {len(clips)} films of {persons} person{'s' if persons > 1 else ''}: {output}")
    weight = np.mean([each.expression.var(axis=0) for each in examples], axis=0)
    for what, (expression, pose) in fitter.correlations(examples).items():
        print(
            f"{what} that were left out: correlation of expression {np.average(expression, weights=weight):.2f} "
            f"(weighted by variance), median {np.median(expression):.2f}; of pose, median {np.median(pose):.2f}"
        )
        for label, values in (("expression", expression), ("pose", pose)):
            for start in range(0, len(values), 16):
                print(f"  {label:10s} {start:2d} " + " ".join(f"{value:5.2f}" for value in values[start : start + 16]))
    return made


def films_of(root: Path, output: Path | None, pattern: str | None) -> tuple[list[Film], Path]:
    """The films that want a track, and the folder of tracks. A data set's are those of its replies."""
    if not root.is_dir():
        raise UserError(f"{root} is no folder; expected a data set, or a folder of films")
    tree = Tree(root)
    if not tree.splits():
        folder = output or root
        found = sorted(each for each in root.rglob("*") if each.suffix.lower() in talking_heads.FILMS)
        films = []
        for path in found:
            name = path.relative_to(root).with_suffix("").as_posix()
            films.append(Film(name, path, person_of(name, pattern or PERSON), folder / f"{name}.mat"))
    else:
        folder, made = output or root / FOLDER, {}
        for split in tree.splits():
            for conversation in read_conversations(tree.split_file(split), Quarantine(1)):
                for clip in tree.clips(conversation):
                    if clip.role == "listener" and clip.video is not None:
                        known = clip.motion if clip.motion is not None and output is None else None
                        track = known or folder / f"{clip.video.stem}.mat"
                        numbers = parse_name(clip.video.name)
                        person = None if numbers is None or numbers[2] is None else str(numbers[2])
                        if pattern is not None:
                            person = person_of(clip.video.stem, pattern)
                        made[clip.video] = Film(clip.video.stem, clip.video, person, track)
        films = list(made.values())
    if not films:
        raise UserError(f"{root} holds no films of replies; expected video_v5_0 of AvaMERG, or films (.mp4 …)")
    return films, folder


def _read(job: tuple[Film, Path, fitter.Fitter]) -> str | None:
    """Reads a film and writes what is found; returns why it cannot be used."""
    film, path, fit = job
    try:
        points, size = points_of(film.path)
    except UserError as error:
        return str(error)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.concatenate([fit.relative(points), fit.pose_of(points, size)], axis=1))
    return None


def _done(jobs: Sequence[tuple[Film, Path, fitter.Fitter]], workers: int) -> Iterator[str | None]:
    if workers == 1:
        yield from map(_read, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_read, jobs, chunksize=1)


def _means(films: Iterable[Film], raw: dict[str, Path], known: dict[str, list[float]]) -> dict[str, list[float]]:
    """Mean expression of each person over their films, each film counting alike; a known one stays."""
    sums: dict[str, list[np.ndarray]] = {}
    for film in films:
        if film.person is not None and film.person not in known:
            sums.setdefault(film.person, []).append(
                np.load(raw[film.name])[:, : motion.EXPRESSION].mean(axis=0, dtype=np.float64)
            )
    return known | {person: np.mean(each, axis=0).tolist() for person, each in sorted(sums.items())}


def fit(
    root: Path,
    fit_by: fitter.Fitter,
    quarantine: Quarantine,
    *,
    output: Path | None = None,
    pattern: str | None = None,
    workers: int = 1,
    part: tuple[int, int] = (0, 1),
) -> int:
    """Writes a track for every film that has none; returns how many were written.

    Args:
        root: a data set, or a folder of films.
        fit_by: the map.
        quarantine: takes the films that cannot be used.
        output: folder of the tracks; by default `motion_v5_0` of a data set, or beside the films.
        pattern: who is in a film, by its path.
        workers: processes.
        part: (k, n) reads every n-th film only, and writes no track; (0, 1) reads what is left and finishes.

    Raises:
        UserError: no films, or tracks there that another map made.
    """
    face_landmarks.require()
    films, folder = films_of(root, output, pattern)
    wanted = [film for film in films if not film.track.exists()]
    note = folder / NOTE
    known: dict[str, list[float]] = {}
    if note.is_file():
        said = read_json_object(note, "the note of a fit")
        if said.get("fitter") != fit_by.fingerprint:
            raise UserError(
                f"{folder} holds tracks that another map made ({note}); remove them, or take another --output"
            )
        known = said["persons"]
    place = folder.parent / UNFINISHED / fit_by.fingerprint
    raw = {film.name: place / f"{film.name}.npy" for film in wanted}
    number, parts = part
    mine = [film for k, film in enumerate(wanted) if k % parts == number]
    quarantine.saw(len(mine))
    jobs = [(film, raw[film.name], fit_by) for film in mine if not raw[film.name].exists()]
    for film, _, _ in jobs:
        raw[film.name].parent.mkdir(parents=True, exist_ok=True)
    bar = tqdm(_done(jobs, workers), total=len(jobs), desc="films", unit="film", disable=None)
    for (film, _, _), reason in zip(jobs, bar):
        if reason is not None:
            quarantine.add(film.name, "unusable film", reason)
    if parts > 1:
        return 0
    read = [film for film in wanted if raw[film.name].exists()]
    persons = _means(read, raw, known)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(note, {"fitter": fit_by.fingerprint, "persons": persons})
    for film in read:
        found = np.load(raw[film.name])
        relative, pose = found[:, : motion.EXPRESSION], found[:, motion.EXPRESSION :]
        mean = relative.mean(axis=0) if film.person is None else np.asarray(persons[film.person])
        film.track.parent.mkdir(parents=True, exist_ok=True)
        motion.write_mat(film.track, fit_by.absolute(relative, mean), pose)
        raw[film.name].unlink()
    _remove_empty(place)
    if (alone := sum(film.person is None for film in read)) > 0:
        print(f"the names of {alone} films say no person; each was taken for a person of its own")
    return len(read)


def _remove_empty(folder: Path) -> None:
    """Removes a folder, and the one that it lies in, where nothing is left in them."""
    below = [each for each in folder.rglob("*") if each.is_dir()] if folder.is_dir() else []
    for each in (*sorted(below, reverse=True), folder, folder.parent):
        if each.is_dir() and not any(each.iterdir()):
            each.rmdir()


def _part(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not int(found.group(1)) < int(found.group(2)):
        raise UserError(f"--part={text}; expected a number and how many there are, for example 0/4, 1/4, 2/4, 3/4")
    return int(found.group(1)), int(found.group(2))


def _safetensors(path: Path, name: str) -> Path:
    if path.suffix != ".safetensors":
        raise UserError(f"{name}={path}; expected a file that ends in .safetensors")
    return path


@main_guard
def main(argv: list[str]) -> int:
    """See the module. Returns 1 where more films than the limit cannot be used."""
    options = argparse.ArgumentParser(
        prog="python -m data_pipeline.fit_motion", description=(__doc__ or "").splitlines()[0]
    )
    commands = options.add_subparsers(dest="command", required=True)
    learning = commands.add_parser("learn", help="learn the map from films with known coefficients")
    learning.add_argument("clips", type=Path, help="folder of films with tracks (.mat …) beside them")
    learning.add_argument("--output", type=Path, required=True, help="the map: FILE.safetensors")
    learning.add_argument("--person", default=PERSON, help="what of a clip's path names the person")
    fitting = commands.add_parser("fit", help="write a track for every film that has none")
    fitting.add_argument("path", type=Path, help="a data set in AvaMERG's layout, or a folder of films")
    fitting.add_argument("--fitter", type=Path, required=True, help="the map that `learn` wrote")
    fitting.add_argument("--output", type=Path, help=f"folder of the tracks (PATH/{FOLDER}, or beside the films)")
    fitting.add_argument(
        "--person", help="what of a film's path names the person, where its name does not end in a number"
    )
    fitting.add_argument("--workers", type=int, default=4, help="processes")
    fitting.add_argument("--part", default="0/1", help="read the k-th of n parts of the films: k/n")
    fitting.add_argument("--limit", type=float, default=0.01, help="tolerated fraction of films that cannot be used")
    given = options.parse_args(argv)
    if given.person is not None:
        try:
            re.compile(given.person)
        except re.error as error:
            raise UserError(f"--person={given.person} is no regular expression: {error}") from None
    if given.command == "learn":
        learn(given.clips, _safetensors(given.output, "--output"), given.person)
        return 0
    if given.workers < 1:
        raise UserError(f"--workers={given.workers}; expected at least 1")
    part, quarantine = _part(given.part), Quarantine(given.limit)
    written = fit(
        given.path,
        fitter.load(given.fitter),
        quarantine,
        output=given.output,
        pattern=given.person,
        workers=given.workers,
        part=part,
    )
    for entry in quarantine.entries[:20]:
        print(f"  {entry.id}: {entry.reason}")
    print(quarantine.summary())
    print(f"{written} tracks were written" if part[1] == 1 else f"part {given.part} is read; finish without --part")
    return 1 if quarantine.fraction > quarantine.limit else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
