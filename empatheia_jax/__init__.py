"""Empatheia (WWW 2025) in JAX and Flax: it reads, hears and sees, and answers in text, speech and a talking face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from empatheia_jax import interrupts

interrupts.before_imports()

import flax  # noqa: E402

if TYPE_CHECKING:
    from empatheia_jax.dialogue.avatar import Empatheia

__all__ = ["Empatheia"]

# Parameters carry *logical* axis names, which `empatheia_jax.parallel` maps to a mesh; without this, flax would look
# for mesh axes of those names whenever a variable is made, and a model could not be built without a mesh.
flax.config.update("flax_always_shard_variable", False)


def __getattr__(name: str) -> Any:
    """`from empatheia_jax import Empatheia`, loaded when it is asked for: parts of the package need no dialogue."""
    if name == "Empatheia":
        from empatheia_jax.dialogue.avatar import Empatheia

        return Empatheia
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
