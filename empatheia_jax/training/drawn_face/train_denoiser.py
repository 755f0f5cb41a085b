"""Trains the drawn face's denoiser: log-mel features and a style clip → expression coefficients.

Speech is babble, which gives the mouth its ground truth; the style clip is another performance of the same emotion and
intensity. Blinks and glances are left out of the targets, since nothing in speech or style tells of them and frames are
denoised apart from one another; `expressions.blink_and_glance` adds them afterwards.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from empatheia_jax.dreamtalk import features, training, windows
from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.drawn_face.expressions import perform
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION
from empatheia_jax.dreamtalk.settings import DrawnFace
from empatheia_jax.training.drawn_face import checkpoint
from empatheia_jax.training.drawn_face.performances import performance

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


def train(config: DrawnFace, folder: Path, minutes: float) -> None:
    """Trains for `minutes` (or `config.denoiser_steps`), from the folder's last checkpoint if there is one."""
    values = config.denoiser
    graph, params, rest = nnx.split(Denoiser(values, rngs=nnx.Rngs(config.seed)), nnx.Param, ...)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.denoiser_rate, 50, config.denoiser_steps, config.denoiser_rate * 0.02
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    average, state = params, optimizer.init(params)
    step, (params, average, state) = checkpoint.restore(folder / "denoiser.npz", (params, average, state))
    weight = coefficient_weights()

    @jax.jit
    def update(params, average, state, step, batch, key):
        def loss(p):
            parts = training.denoiser_loss(
                nnx.merge(graph, p, rest), batch, key, null_probability=config.null_style, coefficient_weight=weight
            )
            return parts["loss"].mean

        value, gradient = jax.value_and_grad(loss)(params)
        change, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, change)
        keep = jnp.minimum(config.average, (1.0 + step) / (10.0 + step))
        average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, average, params)
        return params, average, state, value

    started = time.monotonic()
    log = (folder / "denoiser.jsonl").open("a")
    pool = [clip(seed, values) for seed in range(config.denoiser_clips)]
    rng = np.random.default_rng([config.seed, step, 4])
    recent = []
    while step < config.denoiser_steps and time.monotonic() - started < minutes * 60:
        batch = _batch(rng, pool, config.denoiser_batch, config.denoiser_frames)
        params, average, state, value = update(params, average, state, step, batch, jax.random.key(step))
        recent.append(float(value))
        step += 1
        if step % 50 == 0:
            line = {
                "step": step,
                "seconds": round(time.monotonic() - started, 1),
                "loss": round(float(np.mean(recent)), 4),
            }
            recent = []
            print(json.dumps(line), file=log, flush=True)
            print(line, flush=True)
        if step % 200 == 0:
            checkpoint.save(folder / "denoiser.npz", step, (params, average, state))
    checkpoint.save(folder / "denoiser.npz", step, (params, average, state))


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
