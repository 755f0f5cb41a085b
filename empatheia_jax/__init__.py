"""Empatheia (WWW 2025) in JAX and Flax: it reads, hears and sees, and answers in text, speech and a talking face."""

import flax

# Parameters carry *logical* axis names, which `empatheia_jax.parallel` maps to a mesh; without this, flax would look
# for mesh axes of those names whenever a variable is made, and a model could not be built without a mesh.
flax.config.update("flax_always_shard_variable", False)
