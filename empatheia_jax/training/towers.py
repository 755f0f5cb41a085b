"""Trains the small encoders of the quickstart on a set with face coefficients: `python -m empatheia_jax.training.towers`.

No HuBERT or CLIP weights install by package name, so the demo has its own: the same networks at toy size. The speech tower learns
to fill in masked stretches of speech (masked acoustic reconstruction as in TERA: Liu et al., 2021): spans of its frames are
hidden, and it predicts their log-mel energies. The video tower learns to read the 64 expression coefficients of drawn faces.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tqdm import tqdm

from empatheia_jax import weights
from empatheia_jax.dreamtalk.features import log_mel
from empatheia_jax.encoders.clip_image import ClipPreprocessor
from empatheia_jax.encoders.clip_vision import ClipVision, ClipVisionConfig
from empatheia_jax.encoders.released import HUBERT_LARGE
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config, normalize
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.video import read_frames
from empatheia_jax.nn.linear import Linear

RATE, BANDS, SECONDS = 16_000, 40, 2
SPAN, MASKED = 8, 0.4  # frames of 20 ms hidden together, and the share of all frames that is
EXPRESSION = 64

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

    def loss(self, wave, rows, mask):
        """Mean absolute error at the masked frames; the sound itself is silenced there, before any convolution."""
        hidden = jnp.repeat(mask, 320, axis=1)
        hidden = jnp.pad(hidden, ((0, 0), (0, wave.shape[1] - hidden.shape[1])))
        values = normalize(jnp.where(hidden, 0.0, wave))
        predicted = self.head(self.tower(values).last)
        error = jnp.abs(predicted - rows).mean(-1)
        return (error * mask).sum() / mask.sum()


class Expressions(nnx.Module):
    """The video tower with a head that reads expression coefficients."""

    def __init__(self, config: ClipVisionConfig, *, rngs: nnx.Rngs):
        self.tower = ClipVision(config, rngs=rngs)
        self.head = Linear(config.width, EXPRESSION, axes=("embed", None), use_bias=True, rngs=rngs)

    def loss(self, pixels, coefficients):
        """Mean squared error of coefficients in units of their spread over the set."""
        features = self.tower.patch_features(pixels, layer=-2).mean(axis=1)
        return jnp.mean((self.head(features) - coefficients) ** 2)


def clips(data: Path, kind: str, suffix: str) -> list[Path]:
    """The recordings of a set. Raises `UserError` where there are none."""
    found = sorted(data.rglob(f"{kind}*/*{suffix}"))
    if not found:
        raise UserError(f"{data} has no {kind}…/*{suffix}; make it with `python -m data_pipeline.toy --output={data}`")
    return found


def speech_batches(data: Path, size: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """(wave (B, S), log-mel rows (B, T, 40), mask (B, T)), random stretches of two seconds."""
    rng = np.random.default_rng(seed)
    waves = [read_audio(path, RATE) for path in clips(data, "audio", ".wav")]
    length = SECONDS * RATE
    waves = [np.pad(wave, (0, max(0, length - len(wave)))) for wave in waves]
    while True:
        parts = []
        for index in rng.integers(0, len(waves), size):
            start = rng.integers(0, len(waves[index]) - length + 1)
            parts.append(waves[index][start : start + length] + 1e-4 * rng.standard_normal(length).astype(np.float32))
        rows = np.stack([log_mel(part, BANDS) for part in parts])
        mask = np.zeros(rows.shape[:2], bool)
        for row in mask:
            for start in rng.integers(0, len(row) - SPAN, int(MASKED * len(row) / SPAN)):
                row[start : start + SPAN] = True
        yield np.stack(parts).astype(np.float32), rows, mask


def video_batches(data: Path, size: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """(pixels (B, 64, 64, 3), standardised coefficients (B, 64)), random frames of all clips."""
    rng = np.random.default_rng(seed)
    preprocess = ClipPreprocessor.from_source(PREPROCESSOR)
    frames, targets = [], []
    for path in tqdm(clips(data, "video", ".mp4"), desc="read faces", unit="clip"):
        motion = np.load(next(data.rglob(f"motion*/{path.stem}.npy"), path.with_suffix(".npy")))
        pictures = read_frames(path, count=12, reduce=preprocess.crop_images)
        times = np.round(np.linspace(0, len(motion) - 1, 12)).astype(int)
        frames.append(pictures)
        targets.append(motion[times, :EXPRESSION])
    frames, targets = np.concatenate(frames), np.concatenate(targets).astype(np.float32)
    targets = (targets - targets.mean(0)) / np.maximum(targets.std(0), 1e-3)
    while True:
        chosen = rng.integers(0, len(frames), size)
        yield preprocess(frames[chosen]), targets[chosen]


def fit(model: nnx.Module, batches: Iterator, steps: int, rate: float, name: str) -> tuple[float, float]:
    """Trains a model on its own `loss`; returns the mean loss of the first and of the last tenth of the steps."""
    optimizer = nnx.Optimizer(model, optax.adamw(optax.cosine_decay_schedule(rate, steps)), wrt=nnx.Param)

    @nnx.jit(donate_argnums=(0, 1))
    def step(model, optimizer, *batch):
        loss, gradient = nnx.value_and_grad(lambda m: m.loss(*batch))(model)
        optimizer.update(model, gradient)
        return loss

    losses = []
    with tqdm(total=steps, desc=name, unit="step") as bar:
        for _ in range(steps):
            losses.append(float(step(model, optimizer, *next(batches))))
            bar.update()
            bar.set_postfix_str(f"loss {losses[-1]:.4f}")
    tenth = max(1, steps // 10)
    return float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))


def train(
    data: Path, output: Path, name: str, model: nnx.Module, batches: Iterator, steps: int, config, files: Callable
) -> None:
    """Trains one tower and writes its weights folder."""
    first, last = fit(model, batches, steps, 1e-3, name)
    provenance = {"source": "trained by empatheia_jax.training.towers", "steps": steps, "loss": [first, last]}
    kind = "clip-vision" if isinstance(config, ClipVisionConfig) else config.model_type
    weights.save(output / name, model.tower, config, kind, provenance, files(), overwrite=True)
    print(f"{name}: loss {first:.4f} → {last:.4f}; {output / name}")


@main_guard
def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m empatheia_jax.training.towers", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a set in the released layout with motion_v5_0/*.npy")
    parser.add_argument("--output", type=Path, default=weights.root(), help="folder of weights folders")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv[1:])
    preprocessor = json.dumps(PREPROCESSOR, indent=1).encode()
    jobs = (
        ("toy-hubert", Masked, TOY_HUBERT, speech_batches, options.batch, dict),
        (
            "toy-clip",
            Expressions,
            TOY_CLIP,
            video_batches,
            4 * options.batch,
            lambda: {"preprocessor_config.json": preprocessor},
        ),
    )
    for name, head, config, batches, size, files in jobs:
        model = nnx.jit(lambda head=head, config=config: head(config, rngs=nnx.Rngs(options.seed)))()
        stream = batches(options.data, size, options.seed)
        train(options.data, options.output, name, model, stream, options.steps, config, files)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
