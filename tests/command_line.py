"""A command line as the launcher reads it."""

from __future__ import annotations

import launch
from empatheia_jax import settings


def parse(argv):
    """Flags and settings; `UserError` with a line for everything that is wrong with them."""
    given, lines = launch.read_flags(argv)
    return given, settings.read(launch.settings_class(given.config), given.config, lines)
