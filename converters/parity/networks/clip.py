"""CLIP's vision tower and its preprocessing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from converters.parity.result import Result, bound_of, compare
from converters.parity.seeded_network import compiled, seeded_network
from converters.parity.vectors import VectorSet, guarded, is_set_of, vector_sets
from converters.tables.clip import table
from empatheia_jax.encoders.clip_image import ClipPreprocessor
from empatheia_jax.encoders.clip_vision import ClipVision, ClipVisionConfig

# Of OpenAI's release, in the preprocessor_config.json of every CLIP.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def matches(folder: Path) -> bool:
    return is_set_of(folder, "clip_vision_model")


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for vectors in vector_sets(folder, "clip_vision_model"):
        yield from guarded(vectors.file, _run(vectors, seed, float64))


def _run(vectors: VectorSet, seed: int, float64: bool) -> Iterator[Result]:
    config = ClipVisionConfig.from_source(vectors.config)
    model = seeded_network(ClipVision, config, table(config), vectors.manifest, seed, float64)
    arrays, bound = vectors.arrays, bound_of(float64)

    def check(name: str, ours) -> Result:
        return compare(vectors.file, name, ours, arrays[name], bound)

    mean, std = (tuple(vectors.settings.get(key, known)) for key, known in (("mean", MEAN), ("std", STD)))
    preprocessor = ClipPreprocessor(config.image, config.image, mean, std)
    count = sum(name.startswith("image") for name in arrays)
    for i in range(count):  # bytes: exactly equal
        crop = preprocessor.crop_images(arrays[f"image{i}"])
        yield compare(vectors.file, f"crop{i}", crop, arrays[f"crop{i}"], 0.0)
    pixels = np.stack([preprocessor(arrays[f"image{i}"]) for i in range(count)])
    yield check("pixel_values", pixels.transpose(0, 3, 1, 2))
    given = jnp.asarray(arrays["pixel_values"].transpose(0, 2, 3, 1), jnp.float64 if float64 else jnp.float32)

    def forward(model, pixels):
        output = model(pixels, all_hidden=True)
        return {
            "hidden_states": output.hidden,
            "last_hidden_state": output.last,
            "pooler_output": output.pooled,
            "llava_patch_features": model.patch_features(pixels, layer=-2),
        }

    for name, ours in compiled(model, forward, given).items():
        yield check(name, ours)
