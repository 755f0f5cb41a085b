"""AvaMERG in every form, from the released layout to typed batches."""

import empatheia_jax  # noqa: F401  sees to interrupts while the libraries are loaded
