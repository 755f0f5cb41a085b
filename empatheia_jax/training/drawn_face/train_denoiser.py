"""Trains the drawn face's denoiser: log-mel features and a style clip → expression coefficients.

Speech is babble, which gives the mouth its ground truth; the style clip is another performance of the same emotion and
intensity. Blinks and glances are left out of the targets, since nothing in speech or style tells of them and frames are
denoised apart from one another; `expressions.blink_and_glance` adds them afterwards.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optax
from flax import nnx
from tqdm import tqdm

from empatheia_jax.dreamtalk import features, training, windows
from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.drawn_face.expressions import perform
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION
from empatheia_jax.dreamtalk.settings import DrawnFace
from empatheia_jax.training.drawn_face.performances import performance
from empatheia_jax.training.drawn_face.phases import average, named, one_device, settings
from empatheia_jax.training.random_batches import RandomBatches
from empatheia_jax.training.trainer import Phase, run_phases

_CLIP_SECONDS = 4.0


def clip(seed: int, config: DenoiserConfig) -> dict[str, np.ndarray]:
    """One performance as the denoiser sees it: audio windows, motion and a style clip."""
    rng = np.random.default_rng([seed, 3])
    intensity = float(rng.uniform(0.6, 1.1))
    wave, motion, emotion = performance(seed, _CLIP_SECONDS, intensity=intensity, idle=False)
    rows = features.log_mel(wave, config.audio_feature_dim)
    audio = windows.audio_windows(rows, radius=config.window_radius, rows_per_frame=config.audio_rows_per_frame)
    if rng.random() < 0.5:  # a speaking style clip, of other words
        _, other, _ = performance(seed + 500_000, config.style_max_len / 25, emotion=emotion, intensity=intensity)
        style = other
    else:
        style = perform(emotion, config.style_max_len, seed=seed + 500_000, intensity=intensity)
    return {"audio": audio, "motion": motion[: len(audio), :EXPRESSION], "style": style[:, :EXPRESSION]}


def coefficient_weights() -> np.ndarray:
    """The jaw and the other named actions count; those that are always zero hardly."""
    weight = np.full(EXPRESSION, 0.2, np.float32)
    weight[list(ACTIONS.values())] = 2.0
    weight[ACTIONS["jaw_open"]] = 6.0
    return weight


def train(config: DrawnFace, folder: Path, deadline: float | None = None) -> Denoiser:
    """Trains to `config.denoiser_steps` or the deadline, in a run's folder of its own; returns the averaged network."""
    values = config.denoiser
    model, weight = Denoiser(values, rngs=nnx.Rngs(config.seed)), coefficient_weights()
    rate, steps = config.denoiser_rate, config.denoiser_steps
    pool: list[dict] = []

    def draw(random: np.random.Generator) -> training.MotionBatch:
        if not pool:
            clips = tqdm(range(config.denoiser_clips), desc="perform", unit="clip")
            pool.extend(clip(seed, values) for seed in clips)
        return _batch(random, pool, config.denoiser_batch, config.denoiser_frames)

    phase = Phase(
        name="denoiser",
        trainable=("*",),
        loss=training.denoiser_objective(null_probability=config.null_style, coefficient_weight=weight),
        coefficients={"loss": 1.0},
        optimizer=optax.adam(optax.warmup_cosine_decay_schedule(0.0, rate, min(50, steps // 2), steps, rate * 0.02)),
        steps=steps,
        data=RandomBatches([config.seed, 4], draw),
        fingerprint=settings(config, "denoiser", "null_style"),
        clip=1.0,
        ema=average(config.average),
        seed=config.seed,
        save_every=200,
        deadline=deadline,
    )
    run_phases([phase], model, folder, one_device(), config=named(config, "drawn-face-denoiser"), log_every=50)
    return model


def _batch(rng: np.random.Generator, pool: list[dict], size: int, frames: int) -> training.MotionBatch:
    chosen = [pool[int(rng.integers(len(pool)))] for _ in range(size)]
    starts = [int(rng.integers(len(c["audio"]) - frames + 1)) for c in chosen]

    def cut(name: str) -> np.ndarray:
        return np.stack([c[name][s : s + frames] for c, s in zip(chosen, starts)])

    return training.MotionBatch(
        motion=cut("motion"),
        audio=cut("audio"),
        frame_weight=np.ones((size, frames), np.float32),
        style_clip=np.stack([c["style"] for c in chosen]).astype(np.float32),
        style_padding=np.zeros((size, len(chosen[0]["style"])), bool),
    )
