"""Tables between released checkpoints and our parameters, read in both directions."""

import empatheia_jax  # noqa: F401  sees to interrupts while the libraries are loaded
