"""ALBERT (Lan et al., 2019, arXiv:1909.11942), as PL-BERT uses it over phonemes: one Transformer layer, applied N
times.

Axis letters: B batch, T tokens, E embedding width, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from empatheia_jax.encoders.source_config import read_fields
from empatheia_jax.encoders.transformer import ACTIVATIONS, Layer, TransformerConfig
from empatheia_jax.errors import UserError
from empatheia_jax.nn.linear import LayerNorm, Linear
from empatheia_jax.nn.parameters import parameter

_REQUIRED = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "num_hidden_layers",
    "type_vocab_size",
    "hidden_act",
    "layer_norm_eps",
)
_FIXED = {"num_hidden_groups": 1, "inner_group_num": 1, "position_embedding_type": "absolute"}
_IGNORED = frozenset(["attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout_prob"])


@dataclasses.dataclass(frozen=True)
class AlbertConfig:
    """Architecture of one network; every value comes from the released configuration.

    Attributes:
      vocabulary, token_types, positions: rows of the three embedding tables.
      embedding: their width E.
      width, heads, mlp: of the shared Transformer layer.
      passes: how often the layer is applied.
      activation: name in `transformer.ACTIVATIONS`.
      eps: of all norms.
    """

    vocabulary: int
    token_types: int
    positions: int
    embedding: int
    width: int
    heads: int
    mlp: int
    passes: int
    activation: str
    eps: float

    @classmethod
    def from_source(cls, source: Mapping[str, Any]) -> AlbertConfig:
        """From a released `config.json`.

        Raises: UserError for a field, or a value of one, that is not implemented.
        """
        fields = read_fields(source, "an albert model", _REQUIRED, _FIXED, _IGNORED, ("albert",))
        if fields["hidden_act"] not in ACTIVATIONS or fields["hidden_size"] % fields["num_attention_heads"]:
            raise UserError(
                f"the configuration of an albert model is not implemented: hidden_act {fields['hidden_act']!r} (expected "
                f"one of {sorted(ACTIVATIONS)}), {fields['num_attention_heads']} heads of {fields['hidden_size']}"
            )
        return cls(
            vocabulary=fields["vocab_size"],
            token_types=fields["type_vocab_size"],
            positions=fields["max_position_embeddings"],
            embedding=fields["embedding_size"],
            width=fields["hidden_size"],
            heads=fields["num_attention_heads"],
            mlp=fields["intermediate_size"],
            passes=fields["num_hidden_layers"],
            activation=fields["hidden_act"],
            eps=fields["layer_norm_eps"],
        )


class Albert(nnx.Module):
    """The encoder and its pooler."""

    def __init__(self, config: AlbertConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        self.config, self.dtype = config, dtype
        kinds: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        normal = jax.nn.initializers.normal(0.02)

        def table(rows):
            return parameter(rngs, normal, (rows, config.embedding), param_dtype, ("vocab", None))

        self.tokens, self.types, self.positions = (
            table(rows) for rows in (config.vocabulary, config.token_types, config.positions)
        )
        self.embedding_norm = LayerNorm(config.embedding, config.eps, **kinds)
        self.projection = Linear(config.embedding, config.width, axes=(None, "embed"), use_bias=True, **kinds)
        transformer = TransformerConfig(
            config.width, config.heads, config.mlp, config.passes, config.eps, config.activation, pre_norm=False
        )
        self.layer = Layer(transformer, **kinds)
        self.pooler = Linear(config.width, config.width, axes=("embed", None), use_bias=True, **kinds)

    def __call__(
        self,
        ids: Int[Array, "B T"],
        *,
        lengths: Int[Array, " B"] | None = None,
        scan: bool = True,
        implementation: str | None = None,
    ) -> Float[Array, "B T D"]:
        """Encodes right-padded token ids, all of token type 0.

        Args:
          ids: token ids.
          lengths: valid tokens per row; None where nothing is padded.
          scan: one compiled body for all passes; otherwise a Python loop.
          implementation: see `nn.attention.attention`.

        Raises: UserError where there are more tokens than positions.
        """
        time = ids.shape[1]
        if time > self.config.positions:
            raise UserError(f"{time} tokens, and the model has {self.config.positions} positions; shorten the text")
        x = jnp.take(self.tokens[...], ids, axis=0, mode="clip") + self.types[...][0] + self.positions[...][:time]
        x = self.projection(self.embedding_norm(x.astype(self.dtype)))
        graph, state = nnx.split(self.layer)

        def one_pass(x, _=None):
            return nnx.merge(graph, state)(x, lengths=lengths, implementation=implementation), None

        if scan:
            return jax.lax.scan(one_pass, x, length=self.config.passes)[0]
        for _ in range(self.config.passes):
            x, _ = one_pass(x)
        return x

    def pool(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B D"]:
        """`tanh` of the pooler's map of the first token."""
        return jnp.tanh(self.pooler(hidden[:, 0]))
