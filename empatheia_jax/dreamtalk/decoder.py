"""Disentangled decoder: noisy motion + content + style → clean expression, upper and lower face by separate stacks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.dreamtalk.transformer import Buffer, DecoderLayer, layer_norm, sinusoidal_table, split


class TailMLP(nnx.Module):
    """Three linear layers with ReLU between them."""

    def __init__(self, dim: int, out: int, **options):
        self.linear1 = nnx.Linear(dim, dim // 2, **options)
        self.linear2 = nnx.Linear(dim // 2, dim // 2, **options)
        self.linear3 = nnx.Linear(dim // 2, out, **options)

    def __call__(self, x: Float[Array, "*N D"]) -> Float[Array, "*N O"]:
        return self.linear3(jax.nn.relu(self.linear2(jax.nn.relu(self.linear1(x)))))


class DecoderStack(nnx.Module):
    """Transformer decoder whose query is position + style, and of which only the middle token is read.

    Exact savings over running every layer on every token of every frame: the first layer's self-attention sees only
    positions and style, so it runs once per clip; keys and values of the memory do not depend on the style, so the two
    halves of classifier-free guidance share them; the last layer computes only the middle token.
    """

    def __init__(self, config: DenoiserConfig, **options):
        self.layers = nnx.List(
            DecoderLayer(
                config.d_model,
                config.num_heads,
                config.feedforward_dim,
                config.dropout,
                config.layer_norm_eps,
                config.dynamic_experts,
                config.dynamic_ratio,
                config.dynamic_temperature,
                **options,
            )
            for _ in range(config.decoder_layers)
        )
        self.norm = layer_norm(config.d_model, config.layer_norm_eps, **options)

    def query(self, style: Float[Array, "B D"], position: Float[Array, "W D"]) -> Float[Array, "B 1 U D"]:
        """The first layer's self-attention, which is the same for all frames and all diffusion steps. U = W, or U = 1 where there
        is a single layer, of which only the middle token is needed.
        """
        x = position + style[:, None, None, :]
        only = x.shape[-2] // 2 if len(self.layers) == 1 else None
        return self.layers[0].attend_self(x, only)

    def read_memory(self, memory: Float[Array, "B L W D"]) -> list[list[Array]]:
        """Keys and values of every layer."""
        return [layer.read_memory(memory) for layer in self.layers]

    def __call__(
        self, query: Float[Array, "B 1 U D"], memory: list[list[Array]], style: Float[Array, "B D"]
    ) -> Float[Array, "B L D"]:
        """The middle token after all layers; `memory` may have a batch of 1 that several styles share."""
        style = style[:, None]
        x = self.layers[0].attend_memory(query, memory[0], style)
        for index in range(1, len(self.layers)):
            only = x.shape[-2] // 2 if index == len(self.layers) - 1 else None
            x = self.layers[index].attend_self(x, only)
            x = self.layers[index].attend_memory(x, memory[index], style)
        return self.norm(x[..., 0, :])

    def train_step(
        self,
        style: Float[Array, "B D"],
        position: Float[Array, "W D"],
        memory: Float[Array, "B L W D"],
        key: Array | None,
    ) -> Float[Array, "B L D"]:
        """The same function with dropout in every layer (so nothing can be shared between frames)."""
        x = jnp.broadcast_to(position + style[:, None, None, :], memory.shape)
        for layer, layer_key in zip(self.layers, split(key, len(self.layers)), strict=True):
            x = layer(x, memory, style[:, None], layer_key)
        return self.norm(x[..., x.shape[-2] // 2, :])


class DisentangledDecoder(nnx.Module):
    """Two stacks with their own tails; their outputs are scattered to the coefficients they own."""

    def __init__(self, config: DenoiserConfig, *, rngs: nnx.Rngs, dtype, param_dtype):
        options: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.upper = DecoderStack(config, **options)
        self.lower = DecoderStack(config, **options)
        self.position = Buffer(sinusoidal_table(config.window_slots, config.d_model).astype(param_dtype))
        self.upper_tail = TailMLP(config.d_model, len(config.upper_face_indices), **options)
        self.lower_tail = TailMLP(config.d_model, len(config.lower_face_indices), **options)
        # output column i of [upper | lower] belongs to coefficient order[i]; its inverse puts every value in place
        order = np.asarray(config.upper_face_indices + config.lower_face_indices)
        self.gather = tuple(int(i) for i in np.argsort(order))

    def queries(self, style: Float[Array, "B D"]) -> tuple[Array, Array]:
        """What of the decoder depends on the style alone: compute once per clip."""
        position = self.position[...][0].astype(style.dtype)
        return self.upper.query(style, position), self.lower.query(style, position)

    def merge(self, upper: Float[Array, "... D"], lower: Float[Array, "... D"]) -> Float[Array, "... C"]:
        """Tails and scatter."""
        both = jnp.concatenate([self.upper_tail(upper), self.lower_tail(lower)], axis=-1)
        return both[..., np.asarray(self.gather)]

    def decode(
        self, queries: tuple[Array, Array], memory: Float[Array, "#B L W D"], style: Float[Array, "B D"]
    ) -> Float[Array, "B L C"]:
        """Expression of every frame from `queries` and a memory, whose batch may be 1 for several styles."""
        upper = self.upper(queries[0], self.upper.read_memory(memory), style)
        lower = self.lower(queries[1], self.lower.read_memory(memory), style)
        return self.merge(upper, lower)

    def __call__(
        self, memory: Float[Array, "#B L W D"], style: Float[Array, "B D"], key: Array | None = None
    ) -> Float[Array, "B L C"]:
        if key is None:
            return self.decode(self.queries(style), memory, style)
        upper_key, lower_key = split(key, 2)
        position = self.position[...][0].astype(style.dtype)
        upper = self.upper.train_step(style, position, memory, upper_key)
        return self.merge(upper, self.lower.train_step(style, position, memory, lower_key))
