"""HuBERT (vectors beside a `NAME.config.json` of model type hubert or wav2vec2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from converters.parity import Result, VectorSet, bound_of, compare, vector_sets
from converters.seeded_network import seeded_network
from converters.tables.hubert import table
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config, normalize

MODEL_TYPES = ("hubert", "wav2vec2")


def matches(folder: Path) -> bool:
    return any(True for _ in vector_sets(folder, *MODEL_TYPES))


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for vectors in vector_sets(folder, *MODEL_TYPES):
        yield from _run(vectors, seed, float64)


def _run(vectors: VectorSet, seed: int, float64: bool) -> Iterator[Result]:
    config = Wav2Vec2Config.from_source(vectors.config)
    model = seeded_network(Wav2Vec2, config, table(config), vectors.manifest, seed, float64)
    dtype = jnp.float64 if float64 else jnp.float32
    arrays, bound = vectors.arrays, bound_of(float64)

    def check(name: str, ours, mask=None) -> Result:
        ours = np.asarray(ours)
        return compare(vectors.file, name, ours if mask is None else ours * mask, arrays[name], bound)

    lengths = jnp.asarray(arrays["lengths"])
    # Normalised here in the precision of the run; the vectors' own values are float32, hence the encoder starts from
    # them.
    yield compare(
        vectors.file,
        "input_values",
        normalize(jnp.asarray(arrays["wave"], dtype), lengths),
        arrays["input_values"],
        bound,
    )
    values = jnp.asarray(arrays["input_values"], dtype)
    yield check("conv_features", model.convolve(values))
    yield check("frame_lengths", model.frames(lengths))
    output = model(values, lengths=lengths if config.masks_padding else None, all_hidden=True)
    mask = np.asarray(arrays["frame_mask"])[..., None] if config.masks_padding else None
    yield check("hidden_states", output.hidden, mask)
    yield check("last_hidden_state", output.last, mask)
    if config.vocabulary is not None:
        yield check("ctc_logits", model.logits(output.last), mask)
    yield check("single0_last_hidden_state", model(values[:1]).last)
    slice_ = arrays["pos_conv_weight_effective_slice"]
    kernel = np.asarray(model.position.kernel()).transpose(2, 1, 0)[: slice_.shape[0], : slice_.shape[1]]
    yield check("pos_conv_weight_effective_slice", kernel)
