"""Vectors of ChatGLM3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from converters.parity.language import build, greedy, next_token_loss
from converters.parity.result import Result, bound_of, compare
from converters.parity.vectors import VectorSet, guarded, is_set_of, vector_sets
from converters.tables.chatglm import table
from empatheia_jax.core.chatglm import ChatGLM, ChatGLMConfig
from empatheia_jax.nn.rotary import inverse_frequencies, rotary_tables, rotate_pairs


def matches(folder: Path) -> bool:
    return is_set_of(folder, "chatglm")


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for vectors in vector_sets(folder, "chatglm"):
        yield from guarded(vectors.file, _run(vectors, seed, float64))


def _run(vectors: VectorSet, seed: int, float64: bool) -> Iterator[Result]:
    config = ChatGLMConfig.from_source(vectors.config)
    model = build(ChatGLM, config, table(config), vectors, seed, float64)
    a, bound = vectors.arrays, bound_of(float64)

    def result(name: str, ours: Any) -> Result:
        return compare(vectors.file, name, ours, a[name], bound)

    out = model(model.embed(jnp.asarray(a["ids"])), all_hidden=True)
    logits = model.logits(out.hidden)
    yield result("logits", logits)
    yield result("loss", next_token_loss(logits, jnp.asarray(a["labels"])))
    yield result("hidden_states", out.all_hidden)
    yield result("last_hidden_state", out.hidden)

    mask = jnp.asarray(a["left_mask"]).astype(bool)
    hidden = model(model.embed(jnp.asarray(a["left_ids"])), mask=mask).hidden
    yield result("left_logits", model.logits(hidden) * mask[..., None])
    yield greedy(vectors, "left_greedy", model, a["left_ids"], a["left_mask"], bound)

    half = config.head_dim // 2
    x = jnp.asarray(a["rope_in"], model.dtype)[None]
    frequencies = inverse_frequencies(half, config.rope_theta)
    tables = rotary_tables(jnp.arange(x.shape[1])[None], *frequencies, model.dtype)
    rotated = jnp.concatenate([rotate_pairs(x[..., :half], *tables), x[..., half:]], axis=-1)
    yield result("rope_out", rotated[0])
