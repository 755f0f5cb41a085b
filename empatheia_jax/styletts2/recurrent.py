"""Recurrent layers in PyTorch's convention: one direction, and both directions over padded rows."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from empatheia_jax.styletts2.masks import length_mask, masked


class LSTM(nnx.Module):
    """One direction of one recurrent layer, gate order input, forget, cell, output, with PyTorch's two biases.

    Hochreiter and Schmidhuber 1997. Parameters: `kernel_ih` (in, 4·H), `kernel_hh` (H, 4·H), `bias_ih`, `bias_hh`.
    """

    def __init__(self, features_in: int, hidden: int, *, rngs: nnx.Rngs, dtype: DTypeLike, param_dtype: DTypeLike):
        init = nnx.initializers.uniform(2 / math.sqrt(hidden))

        def draw(*shape: int) -> nnx.Param:
            return nnx.Param(init(rngs.params(), shape, param_dtype) - 1 / math.sqrt(hidden))

        self.kernel_ih, self.kernel_hh = draw(features_in, 4 * hidden), draw(hidden, 4 * hidden)
        self.bias_ih, self.bias_hh = draw(4 * hidden), draw(4 * hidden)
        self.hidden, self.dtype = hidden, dtype

    def project(self, x: Float[Array, "B T I"]) -> Float[Array, "B T 4H"]:
        """The part of the gates that does not depend on the state, for all times in one product."""
        bias = (self.bias_ih[...] + self.bias_hh[...]).astype(self.dtype)
        return x.astype(self.dtype) @ self.kernel_ih[...].astype(self.dtype) + bias

    def step(self, gates: Float[Array, "B 4H"], h: Float[Array, "B H"], c: Float[Array, "B H"]):
        """One time step from the projected input: (h, c) → new (h, c)."""
        gates = gates + h @ self.kernel_hh[...].astype(self.dtype)
        return lstm_cell(gates, c)


def lstm_cell(gates: Float[Array, "B 4H"], c: Float[Array, "B H"]) -> tuple[Float[Array, "B H"], Float[Array, "B H"]]:
    """C' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c')."""
    i, f, g, o = jnp.split(gates, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


class BiLSTM(nnx.Module):
    """A bidirectional layer; output (B, T, 2·H), forward then backward.

    With `lengths` the backward direction starts at each row's last valid position (PyTorch's packed sequences); outputs
    at padding are zero. Without, all positions are valid.
    """

    UNROLL = 4  # steps in one loop body: a loop has a cost of its own per step. Not tuned; `benchmarks.styletts2` is the place

    def __init__(self, features_in: int, hidden: int, *, rngs: nnx.Rngs, dtype: DTypeLike, param_dtype: DTypeLike):
        self.forward = LSTM(features_in, hidden, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.backward = LSTM(features_in, hidden, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.hidden, self.dtype = hidden, dtype

    def __call__(self, x: Float[Array, "B T I"], lengths: Int[Array, " B"] | None = None) -> Float[Array, "B T 2H"]:
        batch, time, _ = x.shape
        forward = jnp.moveaxis(self.forward.project(x), 1, 0)
        backward = jnp.moveaxis(reverse(self.backward.project(x), lengths), 1, 0)
        zero = jnp.zeros((batch, self.hidden), self.dtype)

        def step(state, gates):
            (hf, cf), (hb, cb) = state
            hf, cf = self.forward.step(gates[0], hf, cf)
            hb, cb = self.backward.step(gates[1], hb, cb)
            return ((hf, cf), (hb, cb)), (hf, hb)

        start = ((zero, zero), (zero, zero))
        _, (hf, hb) = lax.scan(step, start, (forward, backward), unroll=min(self.UNROLL, time))
        y = jnp.concatenate([jnp.moveaxis(hf, 0, 1), reverse(jnp.moveaxis(hb, 0, 1), lengths)], -1)
        return y if lengths is None else masked(y, length_mask(lengths, time, self.dtype))


def reverse(x: Float[Array, "B T C"], lengths: Int[Array, " B"] | None) -> Float[Array, "B T C"]:
    """Each row's valid part in reverse order; padding stays where it is."""
    if lengths is None:
        return jnp.flip(x, 1)
    time = jnp.arange(x.shape[1])[None]
    index = jnp.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
    return jnp.take_along_axis(x, index[..., None], 1)
