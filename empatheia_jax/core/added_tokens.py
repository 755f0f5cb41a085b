"""Tokens added to a frozen vocabulary: their rows are parameters of their own, so only they train.

The base tables keep their shapes and bits; id `base_vocab + i` is row i here. This is what makes the signal tokens
trainable without optimizer state, or drift, for the other rows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from empatheia_jax.nn.linear import head_product
from empatheia_jax.nn.parameters import parameter


class AddedTokens(nnx.Module):
    """Extra rows of the embedding and of the output head.

    embedding, head: (count, features). tied: the head uses the embedding rows (for a base with a tied head, so that
    the resized checkpoint stays tied).
    """

    def __init__(
        self,
        base_vocab: int,
        count: int,
        features: int,
        *,
        tied: bool,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
    ):
        self.base_vocab, self.count, self.tied, self.dtype = base_vocab, count, tied, dtype
        init = jax.nn.initializers.normal(0.02)
        self.embedding = parameter(rngs, init, (count, features), param_dtype, (None, "embed"))
        self.head = None if tied else parameter(rngs, init, (count, features), param_dtype, (None, "embed"))

    @classmethod
    def for_model(cls, model, count: int, *, rngs: nnx.Rngs, param_dtype=jnp.float32) -> AddedTokens:
        """Rows for `model`, started at the mean of its own rows plus a little noise, so that no token stands out at
        first.
        """
        vocab, features = model.embed_tokens.count, model.embed_tokens.features
        tied = model.lm_head is None
        added = cls(vocab, count, features, tied=tied, rngs=rngs, dtype=model.dtype, param_dtype=param_dtype)
        tables = [(added.embedding, model.embed_tokens.embedding[...])]
        if added.head is not None:
            tables.append((added.head, model.lm_head.kernel[...].T))
        for rows, base in tables:
            base = base.astype(param_dtype)
            noise = jax.random.normal(rngs.params(), rows.shape, param_dtype)
            rows[...] = base.mean(axis=0) + 0.1 * base.std() * noise
        return added

    @property
    def vocab_size(self) -> int:
        return self.base_vocab + self.count

    def embed(self, model, ids: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """Embeddings of base and added ids; the base rows get no gradient from added ids and vice versa."""
        is_added = ids >= self.base_vocab
        base = model.embed(jnp.where(is_added, 0, ids))
        rows = jnp.take(self.embedding[...], jnp.where(is_added, ids - self.base_vocab, 0), axis=0, mode="clip")
        return jnp.where(is_added[..., None], rows.astype(base.dtype), base)

    def logits(self, model, hidden: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
        """Scores of the base vocabulary followed by those of the added tokens."""
        base = model.logits(hidden)
        rows = self.embedding if self.head is None else self.head
        extra = head_product(hidden.astype(self.dtype), jnp.asarray(rows[...]).T)
        return jnp.concatenate([base, extra.astype(base.dtype)], axis=-1)
