"""Vectors of T5 v1.1."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from converters.parity.language import build, greedy, token_loss
from converters.parity.result import Result, bound_of, compare
from converters.parity.vectors import VectorSet, guarded, is_set_of, part, vector_sets
from converters.tables.t5 import table
from empatheia_jax.core.t5 import T5, T5Config


def matches(folder: Path) -> bool:
    return is_set_of(folder, "t5")


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for vectors in vector_sets(folder, "t5"):
        yield from guarded(vectors.file, _run(vectors, seed, float64))


def _run(vectors: VectorSet, seed: int, float64: bool) -> Iterator[Result]:
    config = T5Config.from_source(vectors.config)
    model = build(T5, config, table(config), vectors, seed, float64)
    a, bound = vectors.arrays, bound_of(float64)

    def result(name: str, ours: Any) -> Result:
        return compare(vectors.file, name, ours, a[name], bound)

    mask = jnp.asarray(a["mask"]).astype(bool)
    embeds = model.embed(jnp.asarray(a["ids"]))
    yield result("encoder_last", model.encode(embeds, mask=mask).hidden * mask[..., None])
    out = model(embeds, mask=mask, decoder_embeds=model.embed(jnp.asarray(a["decoder_input_ids"])))
    logits = model.logits(out.hidden)
    yield result("decoder_last", out.hidden)
    yield result("logits", logits)
    yield result("loss", token_loss(logits, jnp.asarray(a["labels"])))

    source, target = jnp.arange(mask.shape[1])[None], jnp.arange(a["labels"].shape[1])[None]
    yield _encoder_bias(vectors, np.asarray(model.encoder.position_bias(source, source)[0]), bound)
    yield result("decoder_position_bias", model.decoder.position_bias(target, target)[0])
    yield greedy(vectors, "greedy", model, a["ids"], a["mask"], bound)


def _encoder_bias(vectors: VectorSet, bias: np.ndarray, bound: float) -> Result:
    """The encoder's position bias (heads, queries, keys). A set may hold every k-th query row only: k is what its
    `set.json` says, else the one of the k that give as many rows whose rows are nearest.
    """
    name = "encoder_position_bias"
    expected = vectors.arrays[name]
    if name in vectors.settings.get("slices", {}):
        return compare(vectors.file, name, bias[part(vectors.settings, name, ":")], expected, bound)
    rows, kept = bias.shape[1], expected.shape[1]
    steps = [k for k in range(1, rows + 1) if len(range(0, rows, k)) == kept]
    found = [(compare(vectors.file, name, bias[:, ::k], expected, bound), k) for k in steps]
    if not found:
        return compare(vectors.file, name, bias, expected, bound)
    best, step = min(found, key=lambda each: each[0].max_abs)
    return best if step == 1 else dataclasses.replace(best, note=f"every {step}th query row")
