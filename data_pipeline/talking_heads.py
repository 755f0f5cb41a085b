"""A folder of your own clips → batches for DreamTalk's two trainings (`configs/dreamtalk_*.py`).

    DATA/
      anna-happy/            one person in one manner of speaking; names are free
        01.wav  01.mat       speech, and its motion at 25 frames per second
        02.wav  02.npz
      ben-neutral/
        take3.mp4  take3.mat

Motion is a 3DMM track (`.mat`, see `dreamtalk.motion`) or a table (`.npz`, `.npy`, `.txt`) of expression and pose columns,
64 + 9 in DreamTalk's layout. Speech is any sound file, or the sound of the film. The renderer's training needs films
(`.mp4`, `.mov`, `.webm`, `.mkv`) instead: square, cut out around the face as DreamTalk cuts portraits, one row of motion
per frame, at most two minutes each.

A style clip is another clip of the same folder, where there is one. Speech features and decoded frames are computed once
for a file's content, into the run's folder; a second of film takes 5 MB there at 256 × 256 pixels. Every
`valid_every`-th clip is kept for validation.

A batch is a function of the seed and its number alone, so a run that was stopped goes on with the same batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Float, UInt8

from data_pipeline.cache import ContentHashes
from empatheia_jax.dreamtalk import features, motion, windows
from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.renderer import normalise_image
from empatheia_jax.dreamtalk.settings import DenoiserTraining, RendererTraining
from empatheia_jax.dreamtalk.speech import SpeechFeatures
from empatheia_jax.dreamtalk.training import FrameBatch, MotionBatch
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object, replacing, write_json
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.video import read_frames, video_info
from empatheia_jax.parallel.mesh import WHOLE, Part

MOTIONS = (".mat", ".npz", ".npy", ".txt")
FILMS = (".mp4", ".mov", ".webm", ".mkv")
SOUNDS = (".wav", ".flac", ".m4a", ".mp3", ".ogg", *FILMS)
C = TypeVar("C")
APART = 5  # frames by which the two files of a clip may differ in length
LONGEST_FILM = 120.0  # seconds


@dataclasses.dataclass(frozen=True)
class Clip:
    """One take: its motion, and the speech features or the frames beside it (memory-mapped)."""

    name: str  # folder/stem
    group: str
    motion: Float[np.ndarray, "frames C"]
    media: Float[np.ndarray, "rows A"] | UInt8[np.ndarray, "frames H W 3"]
    frames: int  # that both have


def find(root: Path, endings: Sequence[str]) -> list[tuple[str, Path, Path]]:
    """(name, motion file, media file) of every clip below `root`, sorted by name.

    Raises:
        UserError: no such folder, no clip in it, or a motion file without its media.
    """
    if not root.is_dir():
        raise UserError(
            f"{root} is no folder; expected clips in folders, for example {root}/anna-happy/01.wav and 01.mat"
        )
    found, alone = {}, []
    by_name: dict[str, dict[str, Path]] = {}  # name without ending → ending in small letters → file
    for path in sorted(each for each in root.rglob("*") if each.is_file()):
        by_name.setdefault(path.relative_to(root).with_suffix("").as_posix(), {})[path.suffix.lower()] = path
    motions = [(name, path) for name, files in by_name.items() for ending, path in files.items() if ending in MOTIONS]
    for name, path in motions:
        media = [by_name[name][ending] for ending in endings if ending in by_name[name]]
        if name in found:
            raise UserError(f"{root}/{name} has two motion files; expected one of {', '.join(MOTIONS)}")
        if media:
            found[name] = (name, path, media[0])
        else:
            alone.append(name)
    if alone:
        raise UserError(
            f"{root}: {len(alone)} clips without {' or '.join(endings)}, the first is {alone[0]}; add or remove it"
        )
    if not found:
        raise UserError(f"{root} holds no clips; expected motion ({', '.join(MOTIONS)}) beside {', '.join(endings)}")
    return [found[name] for name in sorted(found)]


def _cached(cache: Path, media: Path, hashes: ContentHashes, make: Callable[[Path], np.ndarray]) -> np.ndarray:
    """`make(media)`, memory-mapped from the cache; files there are named by the content of `media`, not by its name."""
    path = cache / f"{hashes(media)}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        array = make(media)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.save(file, array)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _same_source(folder: Path, source: dict[str, Any]) -> None:
    """Refuses a cache that was computed by something else."""
    note = folder / "source.json"
    if note.is_file() and (found := read_json_object(note, "what the features beside it were computed by")) != source:
        raise UserError(f"{folder} was computed by {found}; expected {source}; remove it or choose another --workdir")
    if not note.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(note, source, indent=None)


def common_frames(name: str, track: np.ndarray, frames: int) -> int:
    """How many frames both files of a clip have. Raises `UserError` where they do not belong together."""
    if not len(track) or not frames:
        raise UserError(f"clip {name} has no frames; remove it")
    if abs(len(track) - frames) > APART:
        raise UserError(
            f"clip {name}: {len(track)} rows of motion beside {frames} frames of sound or picture at 25 per second; "
            f"expected a difference of at most {APART}; cut both alike"
        )
    return min(len(track), frames)


def _clip(name: str, track: np.ndarray, media: np.ndarray, frames: int) -> Clip:
    common = common_frames(name, track, frames)
    return Clip(name, name.rpartition("/")[0], track.astype(np.float32), media, common)


def speaking_clips(
    root: Path, cache: Path, network: DenoiserConfig, speech: SpeechFeatures, source: dict[str, Any]
) -> list[Clip]:
    """Clips with speech features, for the denoiser. `source` says what computes them: another one is refused."""
    _same_source(cache, source)
    hashes = ContentHashes(cache / "hashes.json")

    def listen(path: Path) -> np.ndarray:
        return speech(read_audio(path, features.SAMPLE_RATE)).astype(np.float32)

    clips = []
    for name, track, sound in find(root, SOUNDS):
        rows = _cached(cache, sound, hashes, listen)
        expression = motion.read_expression(track, network.face3d_dim)
        clips.append(_clip(name, expression, rows, windows.video_frames(len(rows), network.audio_rows_per_frame)))
    hashes.save()
    return clips


def film_seconds(path: Path) -> float:
    """Length of a film, by its packets. Raises `UserError` where the renderer's training would refuse it."""
    film = video_info(path)
    if film.height != film.width:
        raise UserError(f"{path} is {film.width} × {film.height} pixels; expected a square, cut-out face")
    if film.seconds > LONGEST_FILM:
        raise UserError(f"{path} lasts {film.seconds:.0f} s; at most {LONGEST_FILM:.0f} s are accepted; cut the video")
    return film.seconds


def filmed_clips(root: Path, cache: Path, network: RendererConfig) -> list[Clip]:
    """Clips with frames, for the renderer."""
    size = network.image_size
    _same_source(cache, {"image_size": size})
    hashes = ContentHashes(cache / "hashes.json")

    def decode(path: Path) -> np.ndarray:
        film_seconds(path)
        return read_frames(path, fps=motion.FRAMES_PER_SECOND, size=(size, size), max_seconds=LONGEST_FILM)

    clips = []
    for name, track, film in find(root, FILMS):
        moves = read_moves(track, network.coefficient_dim)
        frames = _cached(cache, film, hashes, decode)
        clips.append(_clip(name, moves, frames, len(frames)))
    hashes.save()
    return clips


def read_moves(path: Path, width: int) -> Float[np.ndarray, "frames C"]:
    """Expression and pose of a clip. Raises `UserError` where the file has other columns than `width`."""
    if path.suffix.lower() == ".mat":
        coefficients, transform = motion.read_mat(path)
        moves = np.concatenate([motion.expression_of(coefficients), motion.pose_of(coefficients, transform)], axis=1)
    else:
        moves = motion.read_array(path)
    if moves.shape[1] != width:
        raise UserError(f"{path} has {moves.shape[1]} columns; the renderer reads {width} (expression and pose)")
    return moves


def split(clips: Sequence[C], valid_every: int) -> tuple[list[C], list[C]]:
    """(training, validation): every `valid_every`-th clip is kept back; 0 keeps none.

    Raises:
        UserError: nothing would be left to train on.
    """
    kept: list[C] = []
    rest: list[C] = []
    for number, clip in enumerate(clips, 1):
        (kept if valid_every and number % valid_every == 0 else rest).append(clip)
    if not rest:
        raise UserError(
            f"valid_every={valid_every} keeps all {len(clips)} clips for validation; expected 2 or more, or 0"
        )
    return rest, kept


@dataclasses.dataclass
class Draws:
    """Batches without end: row `row` of number `step` is drawn from (seed, step, row); a process takes the rows of its part."""

    draw: Any  # (rng) → one example, a dataclass of arrays
    size: int  # rows of the global batch
    seed: int
    part: Part = WHOLE
    step: int = 0

    def __iter__(self) -> Draws:
        return self

    def __next__(self) -> Any:
        rows = self.part.rows(self.size)
        examples = [self.draw(np.random.default_rng([self.seed, self.step, row])) for row in rows]
        self.step += 1
        return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)

    def get_state(self) -> int:
        return self.step

    def set_state(self, state: int) -> None:
        self.step = int(state)


def _weights(clips: Sequence[Clip]) -> np.ndarray:
    lengths = np.asarray([clip.frames for clip in clips], np.float64)
    return lengths / lengths.sum()


def motion_example(
    rng: np.random.Generator,
    clips: Sequence[Clip],
    chances: np.ndarray,
    partners: dict[str, list[Clip]],
    network: DenoiserConfig,
    frames: int,
) -> MotionBatch:
    """`frames` frames from a random place of a random clip (long ones more often), padded where the clip is shorter."""
    clip = clips[int(rng.choice(len(clips), p=chances))]
    count = min(frames, clip.frames)
    start = int(rng.integers(clip.frames - count + 1))
    track = np.zeros((frames, network.face3d_dim), np.float32)
    track[:count] = clip.motion[start : start + count]
    audio = windows.audio_windows(
        np.asarray(clip.media),
        frames,
        radius=network.window_radius,
        start=start,
        rows_per_frame=network.audio_rows_per_frame,
    )
    others = [other for other in partners[clip.group] if other is not clip] or [clip]
    style = others[int(rng.integers(len(others)))].motion
    first = int(rng.integers(max(1, len(style) - network.style_max_len + 1)))
    style_clip, padding, _ = motion.style_clip(style[first:], network.style_max_len)
    return MotionBatch(track, audio, (np.arange(frames) < count).astype(np.float32), style_clip, padding)


def frame_example(
    rng: np.random.Generator, clips: Sequence[Clip], chances: np.ndarray, network: RendererConfig
) -> FrameBatch:
    """Two random frames of a random clip: one is the portrait, the other what is to be made of it."""
    clip = clips[int(rng.choice(len(clips), p=chances))]
    portrait, target = (int(i) for i in rng.integers(clip.frames, size=2))
    window = windows.motion_windows(clip.motion, radius=network.window_radius, start=target, stop=target + 1)[0]
    pictures = [np.asarray(normalise_image(clip.media[i])) for i in (portrait, target)]
    return FrameBatch(pictures[0], window, pictures[1], np.ones((), np.float32))


@dataclasses.dataclass(frozen=True)
class Folder:
    """What a training takes: endless batches, and a fixed list of validation batches (made anew at each call)."""

    train: Draws
    validation: Any  # () → iterator of batches
    names: tuple[str, ...]  # of all clips: part of the run's identity


def open_folder(
    config: DenoiserTraining | RendererTraining,
    workdir: Path,
    network: DenoiserConfig | RendererConfig,
    speech=None,
    part: Part = WHOLE,
) -> Folder:
    """The batches of a run.

    Args:
        config: with `data`, `valid_every`, `valid_batches`, `seed`, `batch` and, for the denoiser, `frames`.
        workdir: the run's folder, where features or frames are kept.
        network: what is trained.
        speech: for the denoiser: (`SpeechFeatures`, JSON values that say which).
        part: which rows of a batch this process builds (`parallel.mesh.batch_part`).

    Raises:
        UserError: clips are missing or do not fit, in one line that names the first.
    """
    root = Path(config.data)
    if isinstance(network, DenoiserConfig):
        clips = speaking_clips(root, workdir / "features", network, *speech)
    else:
        clips = filmed_clips(root, workdir / "frames", network)
    training, kept = split(clips, config.valid_every)

    def draws(chosen: list[Clip], seed: int) -> Draws:
        draw: Callable[[np.random.Generator], MotionBatch | FrameBatch]
        if isinstance(network, RendererConfig):
            draw = partial(frame_example, clips=chosen, chances=_weights(chosen), network=network)
        elif isinstance(config, DenoiserTraining):
            partners: dict[str, list[Clip]] = {}
            for clip in chosen:
                partners.setdefault(clip.group, []).append(clip)
            draw = partial(
                motion_example,
                clips=chosen,
                chances=_weights(chosen),
                partners=partners,
                network=network,
                frames=config.frames,
            )
        else:
            raise ValueError("a denoiser is trained by the settings of a denoiser's training")
        return Draws(draw, config.batch, seed, part)

    def validation() -> Iterator[Any]:
        if kept:
            batches = draws(kept, config.seed + 1)
            for _ in range(config.valid_batches):
                yield next(batches)

    return Folder(draws(training, config.seed), validation, tuple(clip.name for clip in clips))
