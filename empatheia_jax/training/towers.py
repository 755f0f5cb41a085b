"""Trains the small encoders of the quickstart on a set with face coefficients: `python -m empatheia_jax.training.towers`.

No HuBERT or CLIP weights install by package name, so the demo has its own: the same networks at toy size. The speech tower learns
to fill in masked stretches of speech (masked acoustic reconstruction as in TERA: Liu et al., 2021): spans of its frames are
hidden, and it predicts their log-mel energies. The video tower learns to read the 64 expression coefficients of drawn faces: of
those in the set, or with `--people=N` of N people who are drawn for it. A set has at most 24 people, and a tower that has seen
few reads who somebody is rather than what the face shows.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float
from tqdm import tqdm

from empatheia_jax import weights
from empatheia_jax.dreamtalk.drawn_face import EMOTIONS, sample_identity
from empatheia_jax.dreamtalk.drawn_face.drawing import draw_many
from empatheia_jax.dreamtalk.features import log_mel
from empatheia_jax.encoders.clip_image import ClipPreprocessor
from empatheia_jax.encoders.clip_vision import ClipVision, ClipVisionConfig
from empatheia_jax.encoders.released import HUBERT_LARGE
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config, normalize
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.video import read_frames
from empatheia_jax.nn.linear import Linear
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training.drawn_face.performances import performance
from empatheia_jax.training.losses import Pair
from empatheia_jax.training.random_batches import RandomBatches
from empatheia_jax.training.trainer import Phase, run_phases

RATE, BANDS, SECONDS = 16_000, 40, 2
SPAN, MASKED = 8, 0.4  # frames of 20 ms hidden together, and the share of all frames that is
EXPRESSION = 64
MOMENTS, GRAIN = 4, 3
"""Frames of a drawn person in an expression; the grain of `face_batches`."""

TOY_HUBERT = dataclasses.replace(
    HUBERT_LARGE,
    width=128,
    layers=3,
    heads=4,
    mlp=256,
    conv_channels=(48,) * 7,
    position_width=16,
    position_groups=4,
)
TOY_CLIP = ClipVisionConfig(
    image=64, patch=8, channels=3, width=128, layers=3, heads=4, mlp=256, activation="quick_gelu", eps=1e-5
)
PREPROCESSOR = {
    "crop_size": 64,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
    "resample": 3,
    "size": 64,
}


class Masked(nnx.Module):
    """The speech tower with a head that predicts log-mel rows; the head is thrown away afterwards."""

    def __init__(self, config: Wav2Vec2Config, *, rngs: nnx.Rngs):
        self.tower = Wav2Vec2(config, rngs=rngs)
        self.head = Linear(config.width, BANDS, axes=("embed", None), use_bias=True, rngs=rngs)

    def loss(self, wave: Float[Array, "B S"], rows: Float[Array, "B T M"], mask: Bool[Array, "B T"]) -> Pair:
        """Absolute error at the masked frames; the sound itself is silenced there, before any convolution."""
        hidden = jnp.repeat(mask, 320, axis=1)
        hidden = jnp.pad(hidden, ((0, 0), (0, wave.shape[1] - hidden.shape[1])))
        values = normalize(jnp.where(hidden, 0.0, wave))
        predicted = self.head(self.tower(values).last)
        error = jnp.abs(predicted - rows).mean(-1)
        return (error * mask).sum(), mask.sum().astype(error.dtype)


class Expressions(nnx.Module):
    """The video tower with a head that reads expression coefficients."""

    def __init__(self, config: ClipVisionConfig, *, rngs: nnx.Rngs):
        self.tower = ClipVision(config, rngs=rngs)
        self.head = Linear(config.width, EXPRESSION, axes=("embed", None), use_bias=True, rngs=rngs)

    def loss(self, pixels: Float[Array, "B H W 3"], coefficients: Float[Array, "B E"]) -> Pair:
        """Squared error of coefficients in units of their spread over the set."""
        features = self.tower.patch_features(pixels, layer=-2).mean(axis=1)
        error = (self.head(features) - coefficients) ** 2
        return error.sum(), jnp.asarray(float(error.size))


def clips(data: Path, kind: str, suffix: str) -> list[Path]:
    """The recordings of a set. Raises `UserError` where there are none."""
    found = sorted(data.rglob(f"{kind}*/*{suffix}"))
    if not found:
        raise UserError(f"{data} has no {kind}…/*{suffix}; make it with `python -m data_pipeline.toy --output={data}`")
    return found


def speech_batches(data: Path, size: int, seed: int) -> RandomBatches:
    """Random stretches of two seconds: `wave` (B, S), log-mel `rows` (B, T, 40), `mask` (B, T)."""
    length = SECONDS * RATE
    waves: list[np.ndarray] = []

    def draw(random: np.random.Generator) -> dict[str, np.ndarray]:
        if not waves:
            read = [read_audio(path, RATE) for path in clips(data, "audio", ".wav")]
            waves.extend(np.pad(wave, (0, max(0, length - len(wave)))) for wave in read)
        parts = []
        for index in random.integers(0, len(waves), size):
            start = random.integers(0, len(waves[index]) - length + 1)
            noise = 1e-4 * random.standard_normal(length).astype(np.float32)
            parts.append(waves[index][start : start + length] + noise)
        rows = np.stack([log_mel(part, BANDS) for part in parts])
        mask = np.zeros(rows.shape[:2], bool)
        for row in mask:
            for start in random.integers(0, len(row) - SPAN, int(MASKED * len(row) / SPAN)):
                row[start : start + SPAN] = True
        return {"wave": np.stack(parts).astype(np.float32), "rows": rows, "mask": mask}

    return RandomBatches(seed, draw)


def video_batches(data: Path, size: int, seed: int) -> RandomBatches:
    """Random frames of all clips, see `face_batches`."""
    preprocess = ClipPreprocessor.from_source(PREPROCESSOR)
    return face_batches(lambda: faces(data, preprocess), preprocess, size, seed)


def drawn_batches(people: int, size: int, seed: int) -> RandomBatches:
    """The same of people who are drawn for it. Pixels of a film are never those that were drawn, so these get a grain."""
    preprocess = ClipPreprocessor.from_source(PREPROCESSOR)
    return face_batches(lambda: drawn_people(people, seed), preprocess, size, seed, GRAIN)


def face_batches(
    read: Callable[[], tuple[np.ndarray, np.ndarray]],
    preprocess: ClipPreprocessor,
    size: int,
    seed: int,
    grain: int = 0,
) -> RandomBatches:
    """Random frames: `pixels` (B, 64, 64, 3), standardised `coefficients` (B, 64).

    Args:
      read: gives all frames and their coefficients; called when the first batch is asked for.
      grain: largest change of a pixel, and of all pixels of a frame, of 255. A batch has one pattern of pixels.
    """
    cached = functools.cache(read)

    def draw(random: np.random.Generator) -> dict[str, np.ndarray]:
        frames, targets = cached()
        chosen = random.integers(0, len(frames), size)
        pictures = frames[chosen]
        if grain:
            tint = random.integers(-grain, grain + 1, (size, 1, 1, 3))
            pattern = random.integers(-grain, grain + 1, frames.shape[1:])
            pictures = np.clip(pictures.astype(np.int16) + (tint + pattern), 0, 255).astype(np.uint8)
        return {"pixels": preprocess(pictures), "coefficients": targets[chosen]}

    return RandomBatches(seed, draw)


def drawn_people(people: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`MOMENTS` moments of each of so many speaking people in each of the expressions, and their standardised coefficients."""
    frames, targets = [], []
    for person in tqdm(range(people), desc="draw people", unit="person"):
        rng = np.random.default_rng([seed, person, 11])
        for emotion in EMOTIONS:
            _, motion, _ = performance(int(rng.integers(2**31)), 1.0, emotion=emotion, intensity=rng.uniform(0.3, 1.1))
            targets.append(motion[rng.choice(len(motion), MOMENTS, replace=False)])
        identity = sample_identity(int(rng.integers(2**31)))
        motions = np.concatenate(targets[-len(EMOTIONS) :])
        frames.append(draw_many([identity] * len(motions), motions, TOY_CLIP.image))
    return np.concatenate(frames), _standardised(np.concatenate(targets)[:, :EXPRESSION])


def _standardised(coefficients: np.ndarray) -> np.ndarray:
    """In units of their spread."""
    spread = np.maximum(coefficients.std(0), 1e-3)
    return ((coefficients - coefficients.mean(0)) / spread).astype(np.float32)


def faces(data: Path, preprocess: ClipPreprocessor) -> tuple[np.ndarray, np.ndarray]:
    """Twelve frames of every film of a set, cropped, and their coefficients in units of their spread."""
    frames, targets = [], []
    for path in tqdm(clips(data, "video", ".mp4"), desc="read faces", unit="clip"):
        motion = np.load(next(data.rglob(f"motion*/{path.stem}.npy"), path.with_suffix(".npy")))
        pictures = read_frames(path, count=12, reduce=preprocess.crop_images)
        times = np.round(np.linspace(0, len(motion) - 1, 12)).astype(int)
        frames.append(pictures)
        targets.append(motion[times, :EXPRESSION])
    return np.concatenate(frames), _standardised(np.concatenate(targets))


@dataclasses.dataclass(frozen=True)
class Job:
    """One tower: the folder that it becomes, its network with a head, its kind, the recordings (folder, ending) that it learns
    from, its batches, and files beside its weights.
    """

    name: str
    network: Callable[..., Any]  # (config, rngs) → a module whose `tower` is what becomes the weights folder
    config: Wav2Vec2Config | ClipVisionConfig
    kind: str
    recordings: tuple[str, str]
    batches: Callable[[Path, int, int], RandomBatches]
    rows: int  # per example of `--batch`
    files: dict[str, bytes]


SPEECH = Job("toy-hubert", Masked, TOY_HUBERT, TOY_HUBERT.model_type, ("audio", ".wav"), speech_batches, 1, {})
VIDEO = Job(
    "toy-clip",
    Expressions,
    TOY_CLIP,
    "clip-vision",
    ("video", ".mp4"),
    video_batches,
    4,
    {"preprocessor_config.json": json.dumps(PREPROCESSOR, indent=1).encode()},
)
JOBS = (SPEECH, VIDEO)


def train(
    job: Job, data: Path, output: Path, workdir: Path, steps: int, batch: int, seed: int, people: int = 0
) -> None:
    """Trains one tower in a run's folder and writes its weights folder, in bfloat16.

    With `people`, from so many people who are drawn for it and not from the recordings of the set.
    """
    model = nnx.jit(lambda: job.network(job.config, rngs=nnx.Rngs(seed)))()
    settings: dict[str, Any] = {"steps": steps, "batch": batch, "seed": seed}
    learned: dict[str, Any]
    if people:
        batches, learned = drawn_batches(people, job.rows * batch, seed), {"people": people}
    else:
        batches = job.batches(data, job.rows * batch, seed)
        learned = {"clips": [path.name for path in clips(data, *job.recordings)]}
    phase = Phase(
        name=job.name,
        trainable=("*",),
        loss=lambda model, batch, key: {"error": model.loss(**batch)},
        optimizer=optax.adamw(optax.cosine_decay_schedule(1e-3, steps)),
        steps=steps,
        data=batches,
        fingerprint={**settings, **learned},
        seed=seed,
        save_every=max(1, steps // 4),
    )
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    config = {"name": job.name, "data": str(data), **settings}
    (result,) = run_phases([phase], model, workdir, mesh, config=config, log_every=max(1, steps // 10))
    first, last = result.first_loss, result.last_loss
    provenance = {
        "source": "trained by empatheia_jax.training.towers",
        "steps": steps,
        "loss": [first, last],
        "rounded": "bfloat16",
        **({"people": people} if people else {}),
    }
    # They ship in the package, and their rounding is far below what they are wrong by.
    rounded = {path: np.asarray(jnp.asarray(each, jnp.bfloat16)) for path, each in weights.flatten(model.tower).items()}
    weights.save(output / job.name, rounded, job.config, job.kind, provenance, job.files, overwrite=True)
    print(f"{job.name}: loss {first:.4f} → {last:.4f}; {output / job.name}")


@main_guard
def main(argv: list[str]) -> int:
    """Does what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m empatheia_jax.training.towers", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=Path("data/toy"), help="a set in the released layout with motion_v5_0/*.npy"
    )
    parser.add_argument("--output", type=Path, default=weights.root(), help="folder of weights folders")
    parser.add_argument("--workdir", type=Path, default=Path("runs/towers"), help="holds a run's folder for each tower")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--people", type=int, default=0, help="draw so many people for the video tower, and train it alone"
    )
    options = parser.parse_args(argv[1:])
    for job in JOBS if not options.people else (VIDEO,):
        workdir = options.workdir / job.name
        train(job, options.data, options.output, workdir, options.steps, options.batch, options.seed, options.people)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
