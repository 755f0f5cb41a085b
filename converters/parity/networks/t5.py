"""Vectors of T5 v1.1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from converters.parity.language import build, greedy, token_loss
from converters.parity.result import Result, bound_of, compare
from converters.parity.vectors import vector_sets
from converters.tables.t5 import table
from empatheia_jax.core.t5 import T5, T5Config

KEPT_ROWS = 18  # the vectors hold every 18th query row of the encoder's position bias


def matches(folder: Path) -> bool:
    return any(True for _ in vector_sets(folder, "t5"))


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for vectors in vector_sets(folder, "t5"):
        config = T5Config.from_source(vectors.config)
        model = build(T5, config, table(config), vectors, seed, float64)
        a, bound = vectors.arrays, bound_of(float64)

        def result(name: str, ours: Any, vectors=vectors, a=a, bound=bound) -> Result:
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
        yield result("encoder_position_bias", model.encoder.position_bias(source, source)[0, :, ::KEPT_ROWS])
        yield result("decoder_position_bias", model.decoder.position_bias(target, target)[0])
        yield greedy(vectors, "greedy", model, a["ids"], a["mask"], bound)
