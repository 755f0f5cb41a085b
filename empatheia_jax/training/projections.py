"""Teaches the projections of a starter what drawn faces show: `python -m empatheia_jax.training.projections`.

    python -m empatheia_jax.training.projections --start=starter --output=FOLDER [--people=200]

A language model reads a projected frame as the word whose embedding lies near it. So a frame is projected onto words: onto the
mean embedding of the labels whose emotion the face shows (`labels.emotion7`), times how strongly it shows it; a face at rest onto
nothing. The projection that does so best is a ridge regression of the frozen encoder's features, in closed form. No answer is
trained on, and the adapters and added rows stay as they are. LLaVA (Liu et al., 2023) aligns its projection with the words first,
too, there by gradients through the language model.

The small speech encoder does not tell feelings apart (`docs/starter.md`). Its projection becomes that of a new line, whatever is
heard: of the constants that were tried the one beside which faces are read as if there were no recording of the voice.

Of the people who are drawn, a fifth is held out: on them the command reports how much of the words the projection explains, and
how often the emotion with the nearest words is the one that is shown.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict
from tqdm import tqdm

from empatheia_jax import assemble, settings, weights
from empatheia_jax.conversation import labels
from empatheia_jax.dreamtalk.drawn_face import EMOTIONS, sample_identity
from empatheia_jax.dreamtalk.drawn_face.drawing import draw_many
from empatheia_jax.encoders.towers import VideoTower
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.parallel.mesh import local_mesh
from empatheia_jax.tokens import SLOTS
from empatheia_jax.training.drawn_face.performances import performance

RIDGE = 1.0
"""Weight of the penalty on the standardised features' coefficients, beside the sum over all frames."""
EMPHASIS = 1.4
"""Factor on the projection, since a regression gives less than the whole: 0.7 of the words of a strong expression. Chosen on
dialogues that are not held out, among 1, 1.4 and 2."""
SILENCE = "\n"
"""What a voice is projected onto."""
SIZE = 64
"""Pixels of the drawn films."""
SECONDS = 2.0


def draw_lessons(
    tower: VideoTower, people: int, seed: int
) -> tuple[Float[np.ndarray, "clips 24 C"], Int[np.ndarray, " clips"], Float[np.ndarray, " clips"]]:
    """Every person speaks once in each expression: features, the emotion's number in `EMOTIONS`, how strongly it is shown."""
    features, shown, strength = [], [], []
    for person in tqdm(range(people), desc="draw people", unit="person"):
        rng = np.random.default_rng([seed, person, 12])
        identity, motions = sample_identity(int(rng.integers(2**31))), []
        for number, emotion in enumerate(EMOTIONS):
            intensity = float(rng.uniform(0.3, 1.1))
            _, motion, _ = performance(int(rng.integers(2**31)), SECONDS, emotion=emotion, intensity=intensity)
            motions.append(motion[np.linspace(0, len(motion) - 1, SLOTS).round().astype(int)])
            shown.append(number)
            strength.append(0.0 if emotion == "neutral" else min(intensity, 1.0))
        frames = draw_many([identity] * (SLOTS * len(EMOTIONS)), np.concatenate(motions), SIZE)
        cropped = np.stack([tower.crop(frame) for frame in frames])
        features += tower.many(list(cropped.reshape(len(EMOTIONS), SLOTS, *cropped.shape[1:])))
    return np.stack(features), np.asarray(shown), np.asarray(strength)


def embedding(assembly: assemble.Assembly, text: str) -> Float[np.ndarray, " H"]:
    """The mean embedding of a text's tokens."""
    model, ids = assembly.model, jnp.asarray(assembly.tokenizer.encode(text), jnp.int32)
    return np.asarray(model.added.embed(model.core, ids[None])[0].mean(0), np.float64)


def words(assembly: assemble.Assembly) -> Float[np.ndarray, "emotions H"]:
    """The mean embedding of the labels of each emotion of `EMOTIONS`, all of the same length; zeros of neutral, which has none.

    A mean over many labels is shorter than one over few, and would be heard less.
    """
    groups = [[label for label in labels.EMOTIONS_32 if labels.emotion7(label) == emotion] for emotion in EMOTIONS]
    means = [np.mean([embedding(assembly, " " + each) for each in of], 0) for of in groups if of]
    lengths = np.linalg.norm(means, axis=1)
    scaled = iter(means / lengths[:, None] * lengths.mean())
    return np.stack([next(scaled) if of else np.zeros(len(means[0])) for of in groups])


def fit(
    features: Float[np.ndarray, "N C"], targets: Float[np.ndarray, "N H"]
) -> tuple[Float[np.ndarray, "C H"], Float[np.ndarray, " H"]]:
    """Kernel and bias of the ridge regression; the penalty is on standardised features, and not on the bias."""
    features = features.astype(np.float64)
    mean, spread = features.mean(0), np.maximum(features.std(0), 1e-6)
    x, y = (features - mean) / spread, targets - targets.mean(0)
    kernel = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y) / spread[:, None]
    return kernel, targets.mean(0) - mean @ kernel


def report(
    kernel: Float[np.ndarray, "C H"],
    bias: Float[np.ndarray, " H"],
    lessons: tuple[np.ndarray, np.ndarray, np.ndarray],
    vectors: Float[np.ndarray, "emotions H"],
) -> dict[str, float]:
    """Of clips that nothing was fitted to: how much of the words is explained, how often the nearest emotion is the shown one."""
    features, shown, strength = lessons
    projected = features.mean(1) @ kernel + bias
    wanted = strength[:, None] * vectors[shown]
    nearest = np.square(projected[:, None] - 0.7 * vectors[None]).sum(-1).argmin(1)  # 0.7: a middle strength
    explained = 1 - np.square(projected - wanted).sum() / np.square(wanted - wanted.mean(0)).sum()
    return {"explained": float(explained), "emotion": float((nearest == shown).mean())}


def teach(start: str, people: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Leaves and facts of a start with new projections.

    Raises:
      UserError: fewer than five people, or weights are missing.
    """
    if people < 5:
        raise UserError(f"--people={people}; expected at least 5, of whom a fifth is held out")
    begun = weights.open_start(start)
    config = settings.resolve(ConfigDict({**begun.config, "start": ""}))
    tower, assembly = assemble.towers(config).see, assemble.empatheia(config, local_mesh(*config.mesh.sizes))
    lessons, vectors = draw_lessons(tower, people, seed), words(assembly)
    features, shown, strength = lessons
    kept = len(EMOTIONS) * (people - people // 5)
    targets = np.repeat(strength[:, None] * vectors[shown], SLOTS, axis=0)
    kernel, bias = fit(features[:kept].reshape(-1, features.shape[-1]), targets[: kept * SLOTS])
    found = report(kernel, bias, (features[kept:], shown[kept:], strength[kept:]), vectors)
    leaves: dict[str, Any] = dict(begun.leaves())
    silence = {"kernel": np.zeros_like(leaves["speech_projection.kernel"]), "bias": embedding(assembly, SILENCE)}
    leaves |= {f"speech_projection.{name}": value for name, value in silence.items()}
    leaves |= {"video_projection.kernel": EMPHASIS * kernel, "video_projection.bias": EMPHASIS * bias}
    fitted = {"by": "empatheia_jax.training.projections", "people": people, "seed": seed, "held_out": found}
    frozen = {**begun.weights, "video_encoder": assembly.hashes["video_encoder"]}
    return leaves, {**begun.facts, "weights": frozen, "projections": fitted}


@main_guard
def main(argv: list[str]) -> int:
    """Writes the folder and says what the projection reads."""
    options = argparse.ArgumentParser(
        prog="python -m empatheia_jax.training.projections", description=__doc__.split("\n")[0]
    )
    options.add_argument("--start", default="starter", help="folder of trained leaves, or the name of one that ships")
    options.add_argument("--output", type=Path, required=True, help="folder to write")
    options.add_argument("--people", type=int, default=200, help="people to draw")
    options.add_argument("--seed", type=int, default=13)
    given = options.parse_args(argv)
    leaves, facts = teach(given.start, given.people, given.seed)
    weights.write_start(given.output, leaves, facts)
    held = facts["projections"]["held_out"]
    explained, read = held["explained"], held["emotion"]
    print(
        f"{given.output}: of held-out people, {explained:.0%} of the words is explained and {read:.0%} of emotions is read"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
