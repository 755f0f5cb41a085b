"""The Transformer encoder that wav2vec 2.0, HuBERT, CLIP and ALBERT share: pre-norm or post-norm, biases everywhere.

Axis letters: B batch, T time or patches, D width.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.nn.attention import attention
from empatheia_jax.nn.linear import LayerNorm, Linear
from empatheia_jax.nn.stack import run_layers

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
}
"""Activation functions by the names of released configurations: exact GELU, its tanh approximation, x·σ(1.702x)."""


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Width D, attention heads, feed-forward width, number of layers, epsilon of the norms, activation by name, and
    where the norms stand: before each sublayer (`pre_norm`) or after its residual sum.
    """

    width: int
    heads: int
    mlp: int
    layers: int
    eps: float
    activation: str
    pre_norm: bool


class Attention(nnx.Module):
    """Multi-head self-attention with biases on all four projections."""

    def __init__(self, config: TransformerConfig, layers: int | None, *, rngs: nnx.Rngs, **dtypes):
        self.heads = config.heads

        def linear(axes):
            return Linear(config.width, config.width, axes=axes, use_bias=True, layers=layers, rngs=rngs, **dtypes)

        self.query = linear(("embed", "heads"))
        self.key = linear(("embed", "heads"))
        self.value = linear(("embed", "heads"))
        self.out = linear(("heads", "embed"))

    def __call__(self, x: Float[Array, "B T D"], **restrictions) -> Float[Array, "B T D"]:
        batch, time, width = x.shape
        q, k, v = (p(x).reshape(batch, time, self.heads, -1) for p in (self.query, self.key, self.value))
        return self.out(attention(q, k, v, **restrictions).reshape(batch, time, width))


class Mlp(nnx.Module):
    """`down(activation(up(x)))`, both with biases."""

    def __init__(self, config: TransformerConfig, layers: int | None, *, rngs: nnx.Rngs, **dtypes):
        self.activation = config.activation
        common = dict(use_bias=True, layers=layers, rngs=rngs, **dtypes)
        self.up = Linear(config.width, config.mlp, axes=("embed", "mlp"), **common)
        self.down = Linear(config.mlp, config.width, axes=("mlp", "embed"), **common)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return self.down(ACTIVATIONS[self.activation](self.up(x)))


class Layer(nnx.Module):
    """One layer; with `layers` given, the stacked parameters of so many (see `nn.stack`)."""

    def __init__(self, config: TransformerConfig, layers: int | None = None, *, rngs: nnx.Rngs, **dtypes):
        self.pre_norm = config.pre_norm
        self.attention_norm = LayerNorm(config.width, config.eps, layers=layers, rngs=rngs, **dtypes)
        self.attention = Attention(config, layers, rngs=rngs, **dtypes)
        self.mlp_norm = LayerNorm(config.width, config.eps, layers=layers, rngs=rngs, **dtypes)
        self.mlp = Mlp(config, layers, rngs=rngs, **dtypes)

    def __call__(self, x: Float[Array, "B T D"], **restrictions) -> Float[Array, "B T D"]:
        """`restrictions` (lengths, mask, implementation) go to `nn.attention.attention`."""
        if self.pre_norm:
            x = x + self.attention(self.attention_norm(x), **restrictions)
            return x + self.mlp(self.mlp_norm(x))
        x = self.attention_norm(x + self.attention(x, **restrictions))
        return self.mlp_norm(x + self.mlp(x))


def run(
    layers: Layer,
    count: int,
    x: Float[Array, "B T D"],
    *,
    all_hidden: bool = False,
    scan: bool = True,
    remat: str = "nothing",
    lengths: Int[Array, " B"] | None = None,
    mask: Bool[Array, "B T T"] | None = None,
    implementation: str | None = None,
) -> tuple[Float[Array, "B T D"], Float[Array, "L1 B T D"] | None]:
    """Applies `count` stacked layers.

    Returns: the last output, and with `all_hidden` the input and every layer's output (count + 1, B, T, D), else None.
    """

    def body(layer, _index, carry, _x):
        carry = layer(carry, lengths=lengths, mask=mask, implementation=implementation)
        return carry, carry if all_hidden else None

    last, outputs = run_layers(layers, count, body, x, remat=remat, scan=scan)
    return last, jnp.concatenate([x[None], outputs]) if all_hidden else None
