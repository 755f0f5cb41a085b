"""ALBERT, as PL-BERT uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from converters.parity.result import Result, bound_of, compare
from converters.parity.seeded_network import compiled, seeded_network
from converters.parity.vectors import VectorSet, guarded, is_set_of, vector_sets
from converters.tables.albert import table
from empatheia_jax.encoders.albert import Albert, AlbertConfig


def matches(folder: Path) -> bool:
    return is_set_of(folder, "albert")


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for vectors in vector_sets(folder, "albert"):
        yield from guarded(vectors.file, _run(vectors, seed, float64))


def _run(vectors: VectorSet, seed: int, float64: bool) -> Iterator[Result]:
    config = AlbertConfig.from_source(vectors.config)
    model = seeded_network(Albert, config, table(config), vectors.manifest, seed, float64)
    arrays, bound = vectors.arrays, bound_of(float64)
    ids, mask = jnp.asarray(arrays["ids"]), np.asarray(arrays["mask"])

    def forward(model, ids, lengths):
        hidden = model(ids, lengths=lengths)
        return hidden, model.pool(hidden), model(ids[:1, : arrays["single0"].shape[1]])

    hidden, pooled, single = compiled(model, forward, ids, jnp.asarray(mask.sum(1)))
    masked = np.asarray(hidden) * mask[..., None]
    yield compare(vectors.file, "last_hidden_state", masked, arrays["last_hidden_state"], bound)
    yield compare(vectors.file, "pooler_output", pooled, arrays["pooler_output"], bound)
    yield compare(vectors.file, "single0", single, arrays["single0"], bound)
