"""The answer that a model learns to write, as one text."""

from __future__ import annotations

from empatheia_jax.conversation.answer import target_parts
from empatheia_jax.conversation.schema import ChainOfEmpathy


def target(chain: ChainOfEmpathy | None, response: str, *, steps: bool = True) -> str:
    return "".join(text for part in target_parts(chain, response, steps=steps) for text, _ in part)
