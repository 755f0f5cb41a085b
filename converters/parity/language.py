"""What the vector sets of all language models have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from converters import interpreter
from converters.parity.result import Result, compare
from converters.parity.seeded import seeded_state_dict
from converters.parity.vectors import VectorSet
from converters.table import Table
from empatheia_jax import weights
from empatheia_jax.core.decoding import DecodingSettings, generate
from empatheia_jax.core.language_model import LanguageModel


def build(network: type[LanguageModel], config: Any, table: Table, vectors: VectorSet, seed: int, float64: bool) -> Any:
    """The network of a vector set with its seeded weights. Raises `UserError` for a config that no network can have."""
    weights.check_values(config)
    dtype = jnp.float64 if float64 else jnp.float32

    def construct():
        return network(config, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=dtype)

    abstract = weights.flatten(weights.abstract(construct))
    state = seeded_state_dict(vectors.manifest, seed)
    flat = interpreter.load(state, table, abstract, np.dtype(dtype))
    return weights.materialize(construct, {path: jnp.asarray(value) for path, value in flat.items()})


def token_loss(logits: Float[Array, "b t v"], labels: Int[Array, "b t"]) -> Float[Array, ""]:
    """Mean cross-entropy over the labels that are not -100."""
    valid = labels != -100
    scores = jax.nn.log_softmax(logits, axis=-1)
    picked = jnp.take_along_axis(scores, jnp.where(valid, labels, 0)[..., None], axis=-1)[..., 0]
    return -jnp.sum(jnp.where(valid, picked, 0.0)) / jnp.sum(valid)


def next_token_loss(logits: Float[Array, "b t v"], labels: Int[Array, "b t"]) -> Float[Array, ""]:
    """`token_loss` of each position's prediction of the next label."""
    return token_loss(logits[:, :-1], labels[:, 1:])


def greedy(
    vectors: VectorSet, array: str, model: LanguageModel, ids: np.ndarray, mask: np.ndarray, bound: float
) -> Result:
    """The greedy continuation of prompts: ours pads on the right, whatever the vectors do; the tokens must be the
    same.
    """
    expected, mask = np.asarray(vectors.arrays[array]), np.asarray(mask).astype(bool)
    prompts = np.zeros(mask.shape, np.int32)
    for row, real in enumerate(mask):
        prompts[row, : real.sum()] = ids[row, real]
    settings = DecodingSettings(max_new_tokens=expected.shape[1])
    ours = generate(model, None, model.embed(jnp.asarray(prompts)), mask.sum(axis=1), settings).tokens
    margin = vectors.arrays.get(f"{array}_min_margin")
    note = "" if margin is None else f"smallest margin {float(margin):.1e}"
    return dataclasses.replace(compare(vectors.file, array, ours, expected, bound), note=note)
