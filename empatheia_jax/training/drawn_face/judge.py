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
from empatheia_jax.files import replacing
from empatheia_jax.training.drawn_face.performances import performance
from empatheia_jax.training.drawn_face.phases import one_device
from empatheia_jax.training.losses import Pair
from empatheia_jax.training.random_batches import RandomBatches
from empatheia_jax.training.trainer import Phase, run_phases

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
                intensity = float(
                    rng.uniform(0.5, 1.1)
                )  # as weak as a listener shows it, and as strong as it was learned
                _, motion, _ = performance(_FIRST + 8 * i + label, 2.0, emotion=emotion, intensity=intensity)
                rows.append(motion[int(rng.integers(len(motion)))])
                labels.append(label)
        frames = draw_many([sample_identity(_FIRST + i // len(EMOTIONS)) for i in range(len(rows))], np.stack(rows))
        with replacing(path) as temporary:
            np.savez(temporary, frames=frames, labels=np.array(labels))
    with np.load(path) as file:
        return file["frames"], file["labels"]


def train(folder: Path, steps: int, people: int = 600, seed: int = 0) -> Judge:
    """Trains a judge on drawings of people whom nobody else sees, in a run's folder of its own; or restores it from there."""
    judge = Judge(rngs=nnx.Rngs(seed))
    lessons: list[tuple[np.ndarray, np.ndarray]] = []

    def draw(random: np.random.Generator) -> dict[str, np.ndarray]:
        if not lessons:
            lessons.append(draw_lessons(folder / "lessons.npz", people))
        frames, labels = lessons[0]
        chosen = random.integers(len(frames), size=_BATCH)
        moved = random.integers(-3, 4, 2)  # people do not hold still
        return {"frames": np.roll(frames[chosen], tuple(moved), (1, 2)), "labels": labels[chosen]}

    phase = Phase(
        name="judge",
        trainable=("*",),
        loss=_loss,
        optimizer=optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-2),
        steps=steps,
        data=RandomBatches(seed, draw),
        fingerprint={"steps": steps, "people": people, "seed": seed},
        seed=seed,
        save_every=1000,
    )
    config = {"name": "drawn-face-judge", "steps": steps, "people": people, "seed": seed}
    run_phases([phase], judge, folder, one_device(), config=config, log_every=min(200, steps))
    return judge


def _loss(judge: Judge, batch: dict[str, jax.Array], key: jax.Array | None) -> dict[str, Pair]:
    losses = optax.softmax_cross_entropy_with_integer_labels(judge(batch["frames"]), batch["labels"])
    return {"cross_entropy": (losses.sum(), jnp.asarray(float(len(losses))))}


class Reader:
    """Reads the emotion of clips: the mean of the frames' log-probabilities, the highest wins."""

    def __init__(self, judge: Judge):
        graph, state = nnx.split(judge)
        self._call = jax.jit(lambda frames: jax.nn.log_softmax(nnx.merge(graph, state)(frames)))

    def read(self, clip: UInt8[np.ndarray, "frames 128 128 3"]) -> str:
        """The emotion of one clip (its last `len % 8` frames are left out, so that few shapes are compiled)."""
        score = sum(np.asarray(self._call(clip[i : i + 8])).sum(0) for i in range(0, len(clip) - 7, 8))
        return EMOTIONS[int(np.argmax(score))]
