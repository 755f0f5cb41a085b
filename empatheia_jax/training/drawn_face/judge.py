"""A judge of emotions: a small convolutional network that has seen true drawings only, to read rendered faces with."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, UInt8

from empatheia_jax.dreamtalk.drawn_face.drawing import draw_many
from empatheia_jax.dreamtalk.drawn_face.expressions import EMOTIONS
from empatheia_jax.dreamtalk.drawn_face.identity import sample_identity
from empatheia_jax.training.drawn_face import checkpoint
from empatheia_jax.training.drawn_face.performances import performance

_BATCH = 32
_FIRST = 700_000  # seeds of the judge's people and sounds: neither trained on nor held out elsewhere


class Judge(nnx.Module):
    """Four convolutions of stride 2, the mean over the picture's quarters, and a linear layer to eight emotions."""

    def __init__(self, *, rngs: nnx.Rngs):
        widths = (3, 12, 24, 48, 64)
        self.convs = nnx.List(nnx.Conv(a, b, (3, 3), strides=2, rngs=rngs) for a, b in zip(widths, widths[1:]))
        self.out = nnx.Linear(64 * 16, len(EMOTIONS), rngs=rngs)

    def __call__(self, frames: UInt8[Array, "B 128 128 3"]) -> Float[Array, "B 8"]:
        x = frames.astype(jnp.float32) / 255.0 - 0.5
        x = x.reshape(len(x), 64, 2, 64, 2, 3).mean((2, 4))
        x = x - x.mean((1, 2), keepdims=True)
        for conv in self.convs:
            x = jax.nn.relu(conv(x))
        return self.out(x.reshape(len(x), -1))  # 4 × 4 places of 64 channels


def draw_lessons(path: Path, people: int) -> tuple[np.ndarray, np.ndarray]:
    """True drawings with their emotions, from a file or drawn into it: every person speaks once in each of the emotions.

    (In all of them, so that who it is says nothing about the emotion.)
    """
    if not path.exists():
        rows, labels = [], []
        for i in range(people):
            rng = np.random.default_rng([i, 5])
            for label, emotion in enumerate(EMOTIONS):
                intensity = float(rng.uniform(0.8, 1.1))
                _, motion, _ = performance(_FIRST + 8 * i + label, 2.0, emotion=emotion, intensity=intensity)
                rows.append(motion[int(rng.integers(len(motion)))])
                labels.append(label)
        frames = draw_many([sample_identity(_FIRST + i // len(EMOTIONS)) for i in range(len(rows))], np.stack(rows))
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, frames=frames, labels=np.array(labels))
        temporary.rename(path)
    with np.load(path) as file:
        return file["frames"], file["labels"]


def train(folder: Path, steps: int, people: int = 600, seed: int = 0) -> Judge:
    """Trains a judge on drawings of people whom nobody else sees, or restores the one in `folder`."""
    graph, params, rest = nnx.split(Judge(rngs=nnx.Rngs(seed)), nnx.Param, ...)
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-2)
    done, params = checkpoint.restore(folder / "judge.npz", params)
    if done:
        return nnx.merge(graph, params, rest)
    frames, labels = draw_lessons(folder / "lessons.npz", people)

    @jax.jit
    def update(params, state, batch, label):
        def loss(p):
            logits = nnx.merge(graph, p, rest)(batch)
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        change, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, change), state, value

    state, rng, recent = optimizer.init(params), np.random.default_rng(seed), []
    for step in range(steps):
        chosen = rng.integers(len(frames), size=_BATCH)
        batch = frames[chosen]
        moved = rng.integers(-3, 4, 2)  # people do not hold still
        batch = np.roll(batch, tuple(moved), (1, 2))
        params, state, value = update(params, state, batch, labels[chosen])
        recent.append(float(value))
        if (step + 1) % 200 == 0:
            print({"step": step + 1, "judge_loss": round(float(np.mean(recent[-200:])), 4)}, flush=True)
    checkpoint.save(folder / "judge.npz", steps, params)
    return nnx.merge(graph, params, rest)


class Reader:
    """Reads the emotion of clips: the mean of the frames' log-probabilities, the highest wins."""

    def __init__(self, judge: Judge):
        graph, state = nnx.split(judge)
        self._call = jax.jit(lambda frames: jax.nn.log_softmax(nnx.merge(graph, state)(frames)))

    def read(self, clip: UInt8[np.ndarray, "frames 128 128 3"]) -> str:
        """The emotion of one clip (its last `len % 8` frames are left out, so that few shapes are compiled)."""
        score = sum(np.asarray(self._call(clip[i : i + 8])).sum(0) for i in range(0, len(clip) - 7, 8))
        return EMOTIONS[int(np.argmax(score))]
