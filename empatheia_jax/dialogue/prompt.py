"""The former place of `empatheia_jax.conversation.prompt`: scripts that import it from here go on working until version 1.0."""

from empatheia_jax.conversation.prompt import *  # noqa: F403
