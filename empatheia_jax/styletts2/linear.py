"""Linear maps and embeddings of StyleTTS 2: those of `nn.linear` with this model's initial values.

Their logical axes are replicated (`"channels"`): these networks are too small to be split over devices.
"""

from __future__ import annotations

from flax import nnx

from empatheia_jax.nn.linear import Embedding, Linear


def linear(features_in: int, features_out: int, *, use_bias: bool = True, **kinds) -> Linear:
    """A linear map, with a bias unless `use_bias` is off. `kinds` are rngs, dtype and param_dtype."""
    init = nnx.initializers.lecun_normal()
    axes = ("channels", "channels")
    return Linear(features_in, features_out, axes=axes, use_bias=use_bias, kernel_init=init, **kinds)


def embedding(count: int, features: int, **kinds) -> Embedding:
    """A table of `count` rows, initially standard normal."""
    return Embedding(count, features, init=nnx.initializers.normal(1.0), axes=("channels", "channels"), **kinds)
