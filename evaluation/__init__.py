"""Metrics of the paper's tables and figures. They read replies and recordings, and know no network that made them."""

import empatheia_jax  # noqa: F401  sees to interrupts while the libraries are loaded
