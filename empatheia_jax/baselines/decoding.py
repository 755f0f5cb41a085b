"""Greedy decoding of a text baseline, as the three papers evaluate theirs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from empatheia_jax.baselines.batch import TextBatch
from empatheia_jax.baselines.networks import Network
from empatheia_jax.baselines.words import EOS, MARKS, PAD, SOS

_NEVER = np.asarray([number for number in range(len(MARKS)) if number != EOS])


def greedy(network: Network, batch: TextBatch, length: int) -> tuple[Int[Array, "B length"], Int[Array, " B"]]:
    """The best words of each reply (`words.PAD` behind the end) and the best emotion.

    Marks are never written, nor is the end before a first word: a reply has words.
    """
    memory = network.encode(batch)
    size = batch.context.shape[0]

    def going(carry: tuple[Any, Array, Array]) -> Array:
        place, _, ended = carry
        return (place < length) & ~jnp.all(ended)

    def step(carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        place, written, ended = carry
        states, scores = network.states(memory, written)
        here = [jax.lax.dynamic_slice_in_dim(each, place, 1, axis=1) for each in (states, scores)]
        found = network.log_probabilities(memory, *here)[:, 0].at[:, _NEVER].set(-jnp.inf)
        found = found.at[:, EOS].set(jnp.where(place == 0, -jnp.inf, found[:, EOS]))
        word = jnp.where(ended, PAD, jnp.argmax(found, axis=-1)).astype(written.dtype)
        written = jax.lax.dynamic_update_slice_in_dim(written, word[:, None], place + 1, axis=1)
        return place + 1, written, ended | (word == EOS)

    start = jnp.full((size, length + 1), PAD, jnp.int32).at[:, 0].set(SOS)
    _, written, _ = jax.lax.while_loop(going, step, (0, start, jnp.zeros(size, bool)))
    return written[:, 1:], jnp.argmax(memory["emotion"], axis=-1)


class Decoder:
    """A network with its compiled decoding."""

    def __init__(self, network: Network, length: int):
        graph, self._state = nnx.split(network)
        self._run = jax.jit(lambda state, batch: greedy(nnx.merge(graph, state), batch, length))

    def __call__(self, batch: TextBatch) -> tuple[np.ndarray, np.ndarray]:
        """`greedy` for a batch of NumPy arrays on the host."""
        words, emotions = self._run(self._state, batch)
        return np.asarray(words), np.asarray(emotions)
