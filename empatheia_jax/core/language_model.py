"""What every language model here offers, whichever family it is of: what training, decoding and adapters may rely on."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.nn.linear import Embedding, Linear, head_product


class LanguageModel(nnx.Module):
    """A language model: `CausalLM` and its families, or `T5`. `config` has `vocab_size` and `hidden_size` at least."""

    config: Any
    dtype: Any
    embed_tokens: Embedding
    lm_head: Linear | None

    def embed(self, ids: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """Embeddings of token ids."""
        return self.embed_tokens(ids)

    def logits(self, hidden: Float[Array, "*batch t d"]) -> Float[Array, "*batch t v"]:
        """Scores of the base vocabulary, in float32 or better. `hidden` is after the final norm."""
        if self.lm_head is None:
            return self.embed_tokens.attend(hidden)
        return head_product(hidden.astype(self.dtype), self.lm_head.kernel[...])

    def teacher_forced(
        self,
        embeds: Float[Array, "b t d"],
        answers: Bool[Array, "b t"],
        *,
        lengths: Int[Array, " b"] | None = None,
        segment_ids: Int[Array, "b t"] | None = None,
        positions: Int[Array, "b t"] | None = None,
        rng: jax.Array | None = None,
    ) -> Float[Array, "b t d"]:
        """Final-norm states of rows that hold a prompt and the answer behind it; `answers` marks the answer's tokens."""
        raise NotImplementedError(f"{type(self).__name__} must say how it reads a prompt with its answer")
